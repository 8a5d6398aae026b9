"""Who mines interests: rules, or a language model told by a prompt; how one is started, and looked at beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

from trialigngr.enrich.interests import Interests, InterestSettings
from trialigngr.enrich.prompts import read_prompt
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.llm.backends import MODELS, look
from trialigngr.llm.generator import Batches, CallSettings, Form, Generator, ItemText, Question

CHUNK = 512


class InterestMiner(Protocol):
    """Reads items and tells interests. ``name`` is recorded with every row."""

    name: str

    def mine(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return the interests of each text, in order; none depends on the others (but for rounding)."""
        ...


def _lexicon(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    from trialigngr.enrich.lexicon import LexiconMiner

    return LexiconMiner(sample, settings.device)


class NoMiner:
    """Tells no interests."""

    name = "none"

    def mine(self, texts: Sequence[ItemText]) -> list[Interests]:
        """Return no interests for each text."""
        return [Interests((), None) for _ in texts]


def _none(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    return NoMiner()


MINERS: dict[str, Callable[[InterestSettings, Sequence[ItemText]], InterestMiner]] = {
    "lexicon": _lexicon,
    "none": _none,
}
"""Name of a miner by rule → how to start it, knowing a sample of the catalogue's texts."""


def start_miner(settings: InterestSettings, sample: Sequence[ItemText], calls: CallSettings) -> Generator:
    """Return the generator that the settings name; raise `RecipeError` when there is none of that name."""
    if settings.generator in MODELS:
        return MODELS[settings.generator](settings, calls, _form(settings))
    _refuse_unfit(settings)
    miner = MINERS[settings.generator](settings, sample)

    def mine(questions: list[Question]) -> list[str]:
        return [json.dumps(one._asdict()) for one in miner.mine([question.item for question in questions])]

    usual = sha256(json.dumps(sample).encode()).hexdigest()
    return Batches(miner.name, {"usual": usual}, CHUNK, mine)


def check_miner(settings: InterestSettings, calls: CallSettings, here: bool, ask: bool = True) -> None:
    """Raise a sentence when interests cannot be mined as the settings say; nothing is paid, no weights are loaded.

    ``here`` is False where workers elsewhere load the models: then only what they are told is looked at. ``ask`` is
    False as long as no server may be asked.
    """
    if settings.generator not in MODELS:
        return _refuse_unfit(settings)
    form = _form(settings)
    if here or settings.generator == "openai":
        look(settings, calls, form, pictures=False, ask=ask)


def _refuse_unfit(settings: InterestSettings) -> None:
    """Raise `RecipeError` for a miner that is not known, or that cannot do what the settings ask for."""
    if settings.generator not in MINERS:
        known = sorted([*MINERS, *MODELS])
        hint = did_you_mean(settings.generator, known)
        raise RecipeError(f"interests.generator = {settings.generator!r}: known are {', '.join(known)}.{hint}")
    if settings.choose_from != "anything":
        raise RecipeError(
            f"interests.choose_from is for language models, and interests.generator = {settings.generator!r} is none; "
            f"set it to one of {', '.join(MODELS)}."
        )
    if settings.prompt != "interests" and settings.generator != "none":
        raise RecipeError(
            f"interests.prompt = {settings.prompt!r} is for language models, and interests.generator = "
            f"{settings.generator!r} reads no prompt; set it to one of {', '.join(MODELS)}."
        )


def _form(settings: InterestSettings) -> Form:
    prompt = read_prompt(settings.prompt)
    if settings.choose_from != "anything" and not (prompt.answer == "interests" and prompt.choices):
        raise RecipeError(
            f"interests.choose_from = {settings.choose_from!r} needs a prompt that asks for interests and says what to "
            f"choose from (answer and choices in its file); interests.prompt = {settings.prompt!r} does not. "
            f'Leave the prompt or choose from "anything".'
        )
    return prompt.answer
