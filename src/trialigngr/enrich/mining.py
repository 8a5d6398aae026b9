"""`write_interests`: the interests of a catalogue's items, asked of whoever mines them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialigngr.catalog.items import Catalog
from trialigngr.enrich import miners
from trialigngr.enrich.interests import Interests, save_interests
from trialigngr.enrich.miners import check_rule_settings, read_interest_prompt
from trialigngr.enrich.parsing import Tag, check_script, is_generic, parse_interests, parse_tags, parse_text
from trialigngr.enrich.response_schemas import make_response_schema
from trialigngr.enrich.settings import CallSettings, InterestSettings
from trialigngr.enrich.text import ItemText, make_item_text
from trialigngr.foundation.chunks import make_json_store, map_chunks, split_rows
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.executor import LOCAL_EXECUTION, RaySettings
from trialigngr.llm.answers import ResponseError
from trialigngr.llm.backends import LANGUAGE_MODELS
from trialigngr.llm.generator import GenerationRequest
from trialigngr.llm.jobs import JobContext, has_cache, open_cache, run_job, summarize_usage
from trialigngr.llm.parallel import parallelize_generator
from trialigngr.llm.response_cache import ResponseOrigin

if TYPE_CHECKING:
    from trialigngr.enrich.tag_vocabulary import TagVocabulary

MAX_SAMPLE_ITEMS = 600
"""Most items from which a generator learns what is usual in the catalogue."""
DESCRIPTION = "Mining interests"


def sample_texts(settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None]) -> list[ItemText]:
    """Return an evenly spaced sample of what a generator reads: what is usual in this catalogue."""
    rows = range(0, len(catalog), len(catalog) // MAX_SAMPLE_ITEMS + 1)
    return list(_iter_item_texts(settings, catalog, captions, rows))


def _iter_item_texts(
    settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None], rows: Sequence[int]
) -> Iterator[ItemText]:
    """Yield what is read of the items in these rows."""
    for row, item in zip(rows, catalog.iter_items(rows), strict=True):
        yield make_item_text(item, captions[row] if settings.use_captions else None)


class InterestJob:
    """The requests about the texts of a catalogue to a language model (a `GenerationJob`)."""

    image_tokens = 0.0

    def __init__(
        self, settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None], generator: str
    ) -> None:
        self.settings, self.catalog, self.captions = settings, catalog, captions
        self.prompt = read_interest_prompt(settings)
        self.origin = ResponseOrigin("interests", generator, self.prompt.content_hash)
        self.vocabulary = self._make_vocabulary() if settings.tag_vocabulary == "lexicon" else None

    def _make_vocabulary(self) -> TagVocabulary:
        from trialigngr.enrich.tag_vocabulary import TagVocabulary

        # A map spreads the language model alone; what chooses for it is small.
        device = "auto" if self.settings.device == "map" else self.settings.device
        return TagVocabulary(self._read_item_text, len(self.catalog), self.settings.num_choices, device)

    @property
    def overhead_characters(self) -> int:
        """How many letters the system message has, about."""
        choices = len(self.prompt.choices) + self.vocabulary.choice_characters if self.vocabulary else 0
        return len(self.prompt.system) + choices

    def key_contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...]]:
        """Yield the text that the interests of each item depend on."""
        choices = (self.vocabulary.identity, self.prompt.choices) if self.vocabulary else ()
        for text in _iter_item_texts(self.settings, self.catalog, self.captions, numbers):
            yield (self.prompt.fill_item(text), *choices)

    def make_request(self, number: int) -> GenerationRequest:
        """Return the request about an item's text."""
        choices = self.vocabulary.find_choices(number) if self.vocabulary else None
        system = self.prompt.fill_choices(choices) if choices else self.prompt.system
        schema = make_response_schema(self.prompt.response_form, choices)
        return GenerationRequest(number, system, self.prompt.fill_item(self._read_item_text(number)), None, schema)

    def _read_item_text(self, number: int) -> ItemText:
        caption = self.captions[number] if self.settings.use_captions else None
        return make_item_text(self.catalog[number], caption)

    def check_response(self, answer: str) -> None:
        """Raise `ResponseError` when an answer is not what the prompt asked for."""
        interests = self.parse_response(answer)
        for text in (*interests.tag_names, interests.lifestyle or ""):
            check_script([text], self.settings.script)
        if self.prompt.response_form == "interests" and not interests.lifestyle:
            raise ResponseError('"lifestyle" must be one lifestyle of one to four words')
        if interests.lifestyle and is_generic(interests.lifestyle):
            raise ResponseError("a lifestyle that does not fit every item is needed")

    def parse_response(self, answer: str) -> Interests:
        """Return the interests in an answer; plain tags and running text stand in their place, with high confidence."""
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
        match = self.vocabulary.match_spelling
        spelled = tuple(Tag(match("interests", tag.tag), tag.confidence) for tag in tags)
        return Interests(spelled, lifestyle and match("lifestyles", lifestyle))


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
    ``cache_path``, so that it is paid for once; interests by rule are kept in ``chunks/`` until the whole is written.
    """
    if len(captions) != len(catalog):
        raise ArtifactError(f"There are {len(captions)} captions for {len(catalog)} items; run the captions again.")
    if settings.generator in LANGUAGE_MODELS:
        return _write_by_language_model(settings, catalog, captions, out, calls or CallSettings(), cache_path, ray)
    check_rule_settings(settings)
    # The same sample whenever a stage goes on, so that it ends as unbroken.
    sample = sample_texts(settings, catalog, captions) if baseline_texts is None else baseline_texts
    return _write_by_rule(settings, catalog, captions, sample, out, ray)


def _write_by_language_model(
    settings: InterestSettings,
    catalog: Catalog,
    captions: Sequence[str | None],
    out: Path,
    calls: CallSettings,
    cache_path: Path | None,
    ray: RaySettings,
) -> dict[str, Any]:
    name, _ = settings.identify_model(settings.generator)
    job = InterestJob(settings, catalog, captions, name)
    has_responses = has_cache(out, cache_path)
    with (
        closing(parallelize_generator(settings, calls.interests, ray, has_responses)) as generator,
        open_cache(out, cache_path) as cache,
    ):
        responses = run_job(job, generator, JobContext(cache, calls), len(catalog), DESCRIPTION)
        interests = (
            (job.parse_response(response.text) if response.text else Interests(), response.problem)
            if response
            else (Interests(), None)
            for response in responses
        )
        facts = save_interests(settings, catalog.table["item_id"], interests, name, out)
        return facts | summarize_usage(cache, job)


def _write_by_rule(
    settings: InterestSettings,
    catalog: Catalog,
    captions: Sequence[str | None],
    sample: Sequence[ItemText],
    out: Path,
    ray: RaySettings,
) -> dict[str, Any]:
    def read_texts(rows: range) -> list[ItemText]:
        return list(_iter_item_texts(settings, catalog, captions, rows))

    store, chunks = make_json_store(out / "chunks", _parse_interests), split_rows(len(catalog), miners.BATCH_SIZE)
    start = partial(_make_mine_function, settings, sample)
    mined = map_chunks(start, chunks, read_texts, store, ray, DESCRIPTION)
    interests = zip(chain.from_iterable(mined), repeat(None))
    facts = save_interests(settings, catalog.table["item_id"], interests, settings.generator, out)
    store.remove()
    return facts


def _make_mine_function(
    settings: InterestSettings, sample: Sequence[ItemText]
) -> Callable[[Sequence[ItemText]], list[Interests]]:
    """Return what mines the interests of some texts; the miner is loaded here."""
    return miners.MINERS[settings.generator](settings, sample).mine_interests


def _parse_interests(row: list[Any]) -> Interests:
    tags, lifestyle = row
    return Interests(tuple(Tag(*tag) for tag in tags), lifestyle)
