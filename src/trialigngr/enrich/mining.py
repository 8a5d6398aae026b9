"""`write_interests`: the interests of a catalogue's items, asked of whoever mines them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialigngr.catalog.items import Catalog
from trialigngr.enrich.interests import Interests, InterestSettings, save_interests
from trialigngr.enrich.miners import start_miner
from trialigngr.enrich.parsing import Tag, check_script, is_generic, parse_interests, parse_tags, parse_text
from trialigngr.enrich.prompts import PromptTemplate, read_prompt
from trialigngr.enrich.text import make_item_text
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.executor import LOCAL_EXECUTION, RaySettings
from trialigngr.llm.answers import ResponseError
from trialigngr.llm.backends import LANGUAGE_MODELS
from trialigngr.llm.generator import CallSettings, GenerationRequest, ItemText
from trialigngr.llm.jobs import JobContext, has_cache, open_cache, run_job, summarize_usage
from trialigngr.llm.parallel import parallelize_generator
from trialigngr.llm.response_cache import ResponseOrigin

if TYPE_CHECKING:
    from trialigngr.enrich.tag_vocabulary import TagVocabulary

MAX_SAMPLE_ITEMS = 600
"""Most items from which a generator learns what is usual in the catalogue."""


def sample_texts(settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None]) -> list[ItemText]:
    """Return an evenly spaced sample of what a generator reads: what is usual in this catalogue."""
    rows = range(0, len(catalog), len(catalog) // MAX_SAMPLE_ITEMS + 1)
    return [make_item_text(catalog[row], captions[row] if settings.use_captions else None) for row in rows]


class InterestJob:
    """What is asked about the texts of a catalogue (an `GenerationJob`)."""

    def __init__(
        self, settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None], generator: str
    ) -> None:
        self.settings, self.catalog, self.captions = settings, catalog, captions
        self.prompt: PromptTemplate | None = (
            read_prompt(settings.prompt_template) if settings.generator in LANGUAGE_MODELS else None
        )
        self.origin = ResponseOrigin("interests", generator, self.prompt.content_hash if self.prompt else "")
        self.vocabulary = self._make_vocabulary() if settings.tag_vocabulary == "lexicon" else None

    def _make_vocabulary(self) -> TagVocabulary:
        from trialigngr.enrich.tag_vocabulary import TagVocabulary

        # A map spreads the language model alone; what chooses for it is small.
        device = "auto" if self.settings.device == "map" else self.settings.device
        return TagVocabulary(self._read_item_text, len(self.catalog), self.settings.num_choices, device)

    @property
    def overhead_characters(self) -> int:
        """How many letters the system message has, about."""
        if self.prompt is None:
            return 0
        chosen = len(self.prompt.choices) + self.vocabulary.choice_characters if self.vocabulary else 0
        return len(self.prompt.system) + chosen

    def key_contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...]]:
        """Yield the text that the interests of each item depend on."""
        told = self.prompt.fill_item if self.prompt else json.dumps
        chosen = (self.vocabulary.identity, self.prompt.choices) if self.prompt and self.vocabulary else ()
        for number, item in zip(numbers, self.catalog.iter_items(numbers), strict=True):
            yield (told(make_item_text(item, self._read_caption(number))), *chosen)

    def make_request(self, number: int) -> GenerationRequest:
        """Return the question about an item's text."""
        text = self._read_item_text(number)
        if self.prompt is None:
            return GenerationRequest(number, text)
        choices = self.vocabulary.find_choices(number) if self.vocabulary else None
        system = self.prompt.fill_choices(choices) if choices else self.prompt.system
        return GenerationRequest(number, text, None, system, self.prompt.fill_item(text), choices)

    def _read_item_text(self, number: int) -> ItemText:
        return make_item_text(self.catalog[number], self._read_caption(number))

    def _read_caption(self, number: int) -> str | None:
        return self.captions[number] if self.settings.use_captions else None

    def check_response(self, answer: str) -> None:
        """Raise `ResponseError` when an answer is not what the prompt asked for."""
        if self.prompt is None:
            return
        said = self.parse_response(answer)
        for text in (*said.tag_names, said.lifestyle or ""):
            check_script([text], self.settings.script)
        if self.prompt.response_form == "interests" and not said.lifestyle:
            raise ResponseError('"lifestyle" must be one lifestyle of one to four words')
        if said.lifestyle and is_generic(said.lifestyle):
            raise ResponseError("a lifestyle that does not fit every item is needed")

    def parse_response(self, answer: str) -> Interests:
        """Return the interests in an answer; plain tags and running text stand in their place, with high confidence."""
        if self.prompt is None:
            body = json.loads(answer)
            return Interests(tuple(Tag(*tag) for tag in body["tags"]), body["lifestyle"])
        if self.prompt.response_form == "interests":
            return self._match_vocabulary(*parse_interests(answer))
        plain = (
            parse_tags(answer)
            if self.prompt.response_form == "tags"
            else [parse_text(answer, self.settings.max_characters)]
        )
        return Interests(tuple(Tag(tag, "high") for tag in plain))

    def _match_vocabulary(self, tags: list[Tag], lifestyle: str | None) -> Interests:
        """Return the interests, spelled as in the vocabulary, if there is one; `ResponseError` when not all are in
        it."""
        if self.vocabulary is None:
            return Interests(tuple(tags), lifestyle)
        listed = self.vocabulary.match_spelling
        spelled = tuple(Tag(listed("interests", one.tag), one.confidence) for one in tags)
        return Interests(spelled, lifestyle and listed("lifestyles", lifestyle))


def write_interests(
    settings: InterestSettings,
    catalog: Catalog,
    captions: Sequence[str | None],
    out: Path,
    baseline_texts: Sequence[ItemText] | None = None,
    calls: CallSettings | None = None,
    cache_path: Path | None = None,
    ray: RaySettings = LOCAL_EXECUTION,
) -> dict[str, Any]:
    """Write ``interests.parquet`` (item_id, tags, lifestyle, generator, problem) and return the facts.

    ``baseline_texts`` is the `sample_texts` of the catalogue that these items join, if it is not their own. An item
    about which no usable answer came has no tags, and a ``problem``. What a language model wrote is kept in
    ``cache_path``, so that it is paid for once.
    """
    if len(captions) != len(catalog):
        raise ArtifactError(f"There are {len(captions)} captions for {len(catalog)} items; run the captions again.")
    calls = calls or CallSettings()
    # The same sample whenever a stage goes on, so that it ends as unbroken.
    sample = sample_texts(settings, catalog, captions) if baseline_texts is None else baseline_texts
    start = partial(start_miner, settings, sample, calls)
    with closing(
        parallelize_generator(start, settings, calls, ray, has_responses=has_cache(out, cache_path))
    ) as generator:
        inquiry = InterestJob(settings, catalog, captions, generator.name)
        with open_cache(out, cache_path if inquiry.prompt else None) as book:
            kept = run_job(inquiry, generator, JobContext(book, calls), len(catalog), "Mining interests")
            said = (
                (inquiry.parse_response(one.text) if one and one.text else Interests(), one.problem if one else None)
                for one in kept
            )
            facts = save_interests(settings, catalog.table["item_id"], said, generator.name, out)
            return facts | summarize_usage(book, inquiry) if inquiry.prompt else facts
