"""`write_interests`: the interests of a catalogue's items, asked of whoever mines them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialigngr.catalog.items import Catalog
from trialigngr.enrich.answers import Tag, generic, parse_interests, parse_tags, parse_text, refuse_other_script
from trialigngr.enrich.interests import Interests, InterestSettings, save_interests
from trialigngr.enrich.miners import start_miner
from trialigngr.enrich.prompts import Prompt, read_prompt
from trialigngr.enrich.text import item_text
from trialigngr.foundation.crew import HERE, RaySettings
from trialigngr.foundation.errors import ArtifactError
from trialigngr.llm.answers import AnswerError
from trialigngr.llm.backends import MODELS
from trialigngr.llm.generator import CallSettings, ItemText, Question
from trialigngr.llm.jobs import Desk, ask_about, has_ledger, ledger_for, paid_facts
from trialigngr.llm.parallel import spread
from trialigngr.llm.response_cache import Origin

if TYPE_CHECKING:
    from trialigngr.enrich.vocabulary import Vocabulary

SAMPLE = 600
"""Most items from which a generator learns what is usual in the catalogue."""


def sample_texts(settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None]) -> list[ItemText]:
    """Return an evenly spaced sample of what a generator reads: what is usual in this catalogue."""
    rows = range(0, len(catalog), len(catalog) // SAMPLE + 1)
    return [item_text(catalog[row], captions[row] if settings.use_captions else None) for row in rows]


class Mining:
    """What is asked about the texts of a catalogue (an `Inquiry`)."""

    def __init__(
        self, settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None], generator: str
    ) -> None:
        self.settings, self.catalog, self.captions = settings, catalog, captions
        self.prompt: Prompt | None = read_prompt(settings.prompt) if settings.generator in MODELS else None
        self.origin = Origin("interests", generator, self.prompt.hash if self.prompt else "")
        self.vocabulary = self._vocabulary() if settings.choose_from == "lexicon" else None

    def _vocabulary(self) -> Vocabulary:
        from trialigngr.enrich.vocabulary import Vocabulary

        # A map spreads the language model alone; what chooses for it is small.
        device = "auto" if self.settings.device == "map" else self.settings.device
        return Vocabulary(self._item, len(self.catalog), self.settings.choices, device)

    @property
    def letters(self) -> int:
        """How many letters the system message has, about."""
        if self.prompt is None:
            return 0
        chosen = len(self.prompt.choices) + self.vocabulary.letters if self.vocabulary else 0
        return len(self.prompt.system) + chosen

    def contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...]]:
        """Yield the text that the interests of each item depend on."""
        told = self.prompt.filled if self.prompt else json.dumps
        chosen = (self.vocabulary.identity, self.prompt.choices) if self.prompt and self.vocabulary else ()
        for number, item in zip(numbers, self.catalog.some(numbers), strict=True):
            yield (told(item_text(item, self._caption(number))), *chosen)

    def question(self, number: int) -> Question:
        """Return the question about an item's text."""
        text = self._item(number)
        if self.prompt is None:
            return Question(number, text)
        choices = self.vocabulary.choices(number) if self.vocabulary else None
        system = self.prompt.offering(choices) if choices else self.prompt.system
        return Question(number, text, None, system, self.prompt.filled(text), choices)

    def _item(self, number: int) -> ItemText:
        return item_text(self.catalog[number], self._caption(number))

    def _caption(self, number: int) -> str | None:
        return self.captions[number] if self.settings.use_captions else None

    def check(self, answer: str) -> None:
        """Raise `AnswerError` when an answer is not what the prompt asked for."""
        if self.prompt is None:
            return
        said = self.said(answer)
        for text in (*said.names, said.lifestyle or ""):
            refuse_other_script([text], self.settings.script)
        if self.prompt.answer == "interests" and not said.lifestyle:
            raise AnswerError('"lifestyle" must be one lifestyle of one to four words')
        if said.lifestyle and generic(said.lifestyle):
            raise AnswerError("a lifestyle that does not fit every item is needed")

    def said(self, answer: str) -> Interests:
        """Return the interests in an answer; plain tags and running text stand in their place, with high confidence."""
        if self.prompt is None:
            body = json.loads(answer)
            return Interests(tuple(Tag(*tag) for tag in body["tags"]), body["lifestyle"])
        if self.prompt.answer == "interests":
            return self._listed(*parse_interests(answer))
        plain = parse_tags(answer) if self.prompt.answer == "tags" else [parse_text(answer, self.settings.longest)]
        return Interests(tuple(Tag(tag, "high") for tag in plain))

    def _listed(self, tags: list[Tag], lifestyle: str | None) -> Interests:
        """Return the interests, spelled as in the vocabulary, if there is one; `AnswerError` when not all are in it."""
        if self.vocabulary is None:
            return Interests(tuple(tags), lifestyle)
        listed = self.vocabulary.listed
        spelled = tuple(Tag(listed("interests", one.tag), one.confidence) for one in tags)
        return Interests(spelled, lifestyle and listed("lifestyles", lifestyle))


def write_interests(
    settings: InterestSettings,
    catalog: Catalog,
    captions: Sequence[str | None],
    out: Path,
    usual: Sequence[ItemText] | None = None,
    calls: CallSettings | None = None,
    ledger: Path | None = None,
    ray: RaySettings = HERE,
) -> dict[str, Any]:
    """Write ``interests.parquet`` (item_id, tags, lifestyle, generator, problem) and return the facts.

    ``usual`` is the `sample_texts` of the catalogue that these items join, if it is not their own. An item about which
    no usable answer came has no tags, and a ``problem``. What a language model wrote is kept in ``ledger``, so that it
    is paid for once.
    """
    if len(captions) != len(catalog):
        raise ArtifactError(f"There are {len(captions)} captions for {len(catalog)} items; run the captions again.")
    calls = calls or CallSettings()
    # The same sample whenever a stage goes on, so that it ends as unbroken.
    sample = sample_texts(settings, catalog, captions) if usual is None else usual
    start = partial(start_miner, settings, sample, calls)
    with closing(spread(start, settings, calls, ray, kept=has_ledger(out, ledger))) as generator:
        inquiry = Mining(settings, catalog, captions, generator.name)
        with ledger_for(out, ledger if inquiry.prompt else None) as book:
            kept = ask_about(inquiry, generator, Desk(book, calls), len(catalog), "Mining interests")
            said = (
                (inquiry.said(one.text) if one and one.text else Interests(), one.problem if one else None)
                for one in kept
            )
            facts = save_interests(settings, catalog.table["item_id"], said, generator.name, out)
            return facts | paid_facts(book, inquiry) if inquiry.prompt else facts
