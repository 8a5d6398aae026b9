"""Who mines interests: rules, or a language model told by a prompt; how one is started, and looked at beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from trialigngr.enrich.interests import Interests
from trialigngr.enrich.prompts import PromptTemplate, read_prompt
from trialigngr.enrich.settings import InterestSettings
from trialigngr.enrich.text import ItemText
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.llm.backends import LANGUAGE_MODELS, check_language_model, refuse_offline_engine
from trialigngr.llm.settings import BackendSettings

BATCH_SIZE = 512
"""Items whose texts a miner by rule is given together."""


class InterestMiner(Protocol):
    """Reads items and tells interests, by rule."""

    def mine_interests(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return the interests of each text, in order; none depends on the others (but for rounding)."""
        ...


def _make_lexicon_miner(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    from trialigngr.enrich.lexicon import LexiconMiner

    return LexiconMiner(sample, settings.device)


class NoMiner:
    """Tells no interests."""

    def mine_interests(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return no interests for each text."""
        return [Interests((), None) for _ in texts]


def _make_no_miner(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    return NoMiner()


MINERS: dict[str, Callable[[InterestSettings, Sequence[ItemText]], InterestMiner]] = {
    "lexicon": _make_lexicon_miner,
    "none": _make_no_miner,
}
"""Name of a miner by rule, as recorded with every row → how to start it, knowing a sample of the catalogue's texts."""


def check_miner(settings: InterestSettings, backend: BackendSettings, is_local: bool, ask: bool = True) -> None:
    """Raise a sentence when interests cannot be mined as the settings say; nothing is paid, no weights are loaded.

    ``is_local`` is False where workers elsewhere load the models: then only what they are told is looked at. ``ask`` is
    False as long as no server may be asked.
    """
    if settings.generator not in LANGUAGE_MODELS:
        return check_rule_settings(settings)
    read_interest_prompt(settings)
    if is_local or settings.generator == "openai":
        check_language_model(settings, backend, with_images=False, ask=ask)


def check_rule_settings(settings: InterestSettings) -> None:
    """Raise `RecipeError` for a miner that is not known, or that cannot do what the settings ask for."""
    refuse_offline_engine("interests", settings.generator)
    if settings.generator not in MINERS:
        known = sorted([*MINERS, *LANGUAGE_MODELS])
        hint = did_you_mean(settings.generator, known)
        raise RecipeError(f"interests.generator = {settings.generator!r}: known are {', '.join(known)}.{hint}")
    if settings.tag_vocabulary != "open":
        raise RecipeError(
            f"interests.tag_vocabulary is for language models, and interests.generator = {settings.generator!r} is "
            f"none; set it to one of {', '.join(LANGUAGE_MODELS)}."
        )
    if settings.prompt_template != "interests" and settings.generator != "none":
        raise RecipeError(
            f"interests.prompt_template = {settings.prompt_template!r} is for language models, and interests.generator "
            f"= {settings.generator!r} reads no prompt; set it to one of {', '.join(LANGUAGE_MODELS)}."
        )


def read_interest_prompt(settings: InterestSettings) -> PromptTemplate:
    """Return the prompt of the settings; raise `RecipeError` when it does not fit their vocabulary."""
    prompt = read_prompt(settings.prompt_template)
    if settings.tag_vocabulary != "open" and not (prompt.response_form == "interests" and prompt.choices):
        raise RecipeError(
            f"interests.tag_vocabulary = {settings.tag_vocabulary!r} needs a prompt that asks for interests and says "
            f"what to choose from (answer and choices in its file); interests.prompt_template = "
            f"{settings.prompt_template!r} does not. "
            f'Leave the prompt or set it to "open".'
        )
    return prompt
