"""Who mines interests: rules, or a language model told by a prompt; how one is started, and looked at beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

from trialigngr.enrich.interests import Interests, InterestSettings
from trialigngr.enrich.prompts import read_prompt
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.llm.backends import LANGUAGE_MODELS, check_language_model, refuse_offline_engine
from trialigngr.llm.generator import BatchGenerator, CallSettings, GenerationRequest, Generator, ItemText, ResponseForm

BATCH_SIZE = 512


class InterestMiner(Protocol):
    """Reads items and tells interests. ``name`` is recorded with every row."""

    name: str

    def mine_interests(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return the interests of each text, in order; none depends on the others (but for rounding)."""
        ...


def _make_lexicon_miner(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    from trialigngr.enrich.lexicon import LexiconMiner

    return LexiconMiner(sample, settings.device)


class NoMiner:
    """Tells no interests."""

    name = "none"

    def mine_interests(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return no interests for each text."""
        return [Interests((), None) for _ in texts]


def _make_no_miner(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    return NoMiner()


MINERS: dict[str, Callable[[InterestSettings, Sequence[ItemText]], InterestMiner]] = {
    "lexicon": _make_lexicon_miner,
    "none": _make_no_miner,
}
"""Name of a miner by rule → how to start it, knowing a sample of the catalogue's texts."""


def start_miner(settings: InterestSettings, sample: Sequence[ItemText], calls: CallSettings) -> Generator:
    """Return the generator that the settings name; raise `RecipeError` when there is none of that name."""
    if settings.generator in LANGUAGE_MODELS:
        return LANGUAGE_MODELS[settings.generator](settings, calls, _read_response_form(settings))
    _check_settings(settings)
    miner = MINERS[settings.generator](settings, sample)

    def mine_batch(questions: list[GenerationRequest]) -> list[str]:
        return [json.dumps(one._asdict()) for one in miner.mine_interests([question.item for question in questions])]

    usual = sha256(json.dumps(sample).encode()).hexdigest()
    return BatchGenerator(miner.name, {"usual": usual}, BATCH_SIZE, mine_batch)


def check_miner(settings: InterestSettings, calls: CallSettings, is_local: bool, ask: bool = True) -> None:
    """Raise a sentence when interests cannot be mined as the settings say; nothing is paid, no weights are loaded.

    ``is_local`` is False where workers elsewhere load the models: then only what they are told is looked at. ``ask`` is
    False as long as no server may be asked.
    """
    if settings.generator not in LANGUAGE_MODELS:
        return _check_settings(settings)
    form = _read_response_form(settings)
    if is_local or settings.generator == "openai":
        check_language_model(settings, calls, form, with_images=False, ask=ask)


def _check_settings(settings: InterestSettings) -> None:
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


def _read_response_form(settings: InterestSettings) -> ResponseForm:
    prompt = read_prompt(settings.prompt_template)
    if settings.tag_vocabulary != "open" and not (prompt.response_form == "interests" and prompt.choices):
        raise RecipeError(
            f"interests.tag_vocabulary = {settings.tag_vocabulary!r} needs a prompt that asks for interests and says "
            f"what to choose from (answer and choices in its file); interests.prompt_template = "
            f"{settings.prompt_template!r} does not. "
            f'Leave the prompt or set it to "open".'
        )
    return prompt.response_form
