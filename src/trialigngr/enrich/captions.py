"""Captions (CMSA, Eq. 5): every picture is described in words, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import polars as pl
from PIL import Image

from trialigngr.catalog.items import Catalog
from trialigngr.enrich.caption_table import CAPTIONS_FILE, CAPTIONS_SCHEMA
from trialigngr.enrich.parsing import check_script, parse_text
from trialigngr.enrich.prompts import read_prompt
from trialigngr.enrich.response_schemas import make_response_schema
from trialigngr.enrich.settings import CallSettings, CaptionSettings
from trialigngr.enrich.table import build_table, save_table
from trialigngr.enrich.text import make_item_text
from trialigngr.foundation.chunks import make_json_store, map_chunks, split_rows
from trialigngr.foundation.errors import ImageError, RecipeError, did_you_mean
from trialigngr.foundation.executor import LOCAL_EXECUTION, RaySettings
from trialigngr.images.image_open import FAILURE_REASONS, count_reasons
from trialigngr.llm.backends import LANGUAGE_MODELS, check_language_model, refuse_offline_engine
from trialigngr.llm.generator import GenerationRequest
from trialigngr.llm.jobs import JobContext, has_cache, open_cache, run_job, summarize_usage
from trialigngr.llm.parallel import parallelize_generator
from trialigngr.llm.response_cache import ResponseOrigin
from trialigngr.llm.settings import BackendSettings

BATCH_SIZE = 64
"""Items whose pictures a captioner by rule is given together."""
DESCRIPTION = "Describing pictures"
VISUAL_TOKEN_SIDE = 28
"""Pixels of a visual token's side, in Qwen's models."""


NO_GENERATOR = "none"
"""The generator that describes nothing ("without CMSA")."""


class Captioner(Protocol):
    """Describes pictures by rule."""

    def describe_images(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one caption a picture, in their order."""
        ...


def _make_measured_captioner(settings: CaptionSettings) -> Captioner:
    from trialigngr.enrich.measured_captioner import MeasuredCaptioner

    return MeasuredCaptioner(settings.device)


CAPTIONERS: dict[str, Callable[[CaptionSettings], Captioner]] = {"measured": _make_measured_captioner}
"""Name of a captioner by rule, as recorded with every caption → how to start it."""


class Caption(NamedTuple):
    """The caption of an item, or the problem for which there is none; neither for an item without a picture."""

    text: str | None = None
    problem: str | None = None


def check_captioner(settings: CaptionSettings, backend: BackendSettings, is_local: bool, ask: bool = True) -> None:
    """Raise a sentence when captions cannot be written as the settings say; nothing is paid, no weights are loaded.

    ``is_local`` is False where workers elsewhere load the models: then only what they are told is looked at. ``ask`` is
    False as long as no server may be asked.
    """
    if settings.generator not in LANGUAGE_MODELS:
        return _check_generator_name(settings)
    read_prompt(settings.prompt_template)
    if is_local or settings.generator == "openai":
        check_language_model(settings, backend, with_images=True, ask=ask)


def _check_generator_name(settings: CaptionSettings) -> None:
    refuse_offline_engine("captions", settings.generator)
    if settings.generator not in (*CAPTIONERS, NO_GENERATOR):
        known = sorted([*CAPTIONERS, *LANGUAGE_MODELS])
        hint = did_you_mean(settings.generator, known)
        raise RecipeError(
            f"captions.generator = {settings.generator!r}: known are {', '.join(known)}, {NO_GENERATOR}.{hint}"
        )


class CaptionJob:
    """The requests about the pictures of a catalogue to a language model (a `GenerationJob`)."""

    def __init__(self, settings: CaptionSettings, catalog: Catalog, generator: str) -> None:
        self.settings, self.catalog = settings, catalog
        self.prompt = read_prompt(settings.prompt_template)
        self.origin = ResponseOrigin("captions", generator, self.prompt.content_hash)
        self._response_schema = make_response_schema(self.prompt.response_form)

    @property
    def overhead_characters(self) -> int:
        """How many letters the system message has."""
        return len(self.prompt.system)

    @property
    def image_tokens(self) -> float:
        """How many visual tokens a picture has, about, where it is square."""
        return (self.settings.longest_edge / VISUAL_TOKEN_SIDE) ** 2

    def key_contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...] | None]:
        """Yield what the caption of each item depends on; None without a picture."""
        for number in numbers:
            image_hash = self.catalog.hash_image(number)
            yield None if image_hash is None else (self._fill_prompt(number), image_hash)

    def make_request(self, number: int) -> GenerationRequest:
        """Return the request about an item's picture; raise `ImageError` when it cannot be used."""
        image = self.catalog.open_image(number)
        if image is not None:
            image.thumbnail((self.settings.longest_edge,) * 2, Image.Resampling.LANCZOS)
        return GenerationRequest(number, self.prompt.system, self._fill_prompt(number), image, self._response_schema)

    def _fill_prompt(self, number: int) -> str:
        return self.prompt.fill_item(make_item_text(self.catalog[number], None))

    def check_response(self, answer: str) -> None:
        """Raise `ResponseError` when an answer is no caption."""
        check_script([self.parse_response(answer)], self.settings.script)

    def parse_response(self, answer: str) -> str:
        """Return the caption in an answer."""
        return parse_text(answer, self.settings.max_characters)


def write_captions(
    settings: CaptionSettings,
    catalog: Catalog,
    out: Path,
    calls: CallSettings | None = None,
    cache_path: Path | None = None,
    ray: RaySettings = LOCAL_EXECUTION,
) -> dict[str, Any]:
    """Write ``captions.parquet`` (item_id, caption, generator, problem) and return the facts.

    An item without a picture, with one that cannot be used, or about which no usable answer came, has no caption;
    ``problem`` says why. What a language model wrote is kept in ``cache_path``, so that it is paid for once; captions
    by rule are kept in ``chunks/`` until the whole is written.
    """
    if settings.generator in LANGUAGE_MODELS:
        return _write_by_language_model(settings, catalog, out, calls or CallSettings(), cache_path, ray)
    _check_generator_name(settings)
    if settings.generator == NO_GENERATOR:
        return _write_table(catalog, repeat(Caption(), len(catalog)), NO_GENERATOR, out)
    return _write_by_rule(settings, catalog, out, ray)


def _write_by_language_model(
    settings: CaptionSettings,
    catalog: Catalog,
    out: Path,
    calls: CallSettings,
    cache_path: Path | None,
    ray: RaySettings,
) -> dict[str, Any]:
    name, _ = settings.identify_model(settings.generator)
    job = CaptionJob(settings, catalog, name)
    has_responses = has_cache(out, cache_path)
    with (
        closing(parallelize_generator(settings, calls.captions, ray, has_responses)) as generator,
        open_cache(out, cache_path) as cache,
    ):
        responses = run_job(job, generator, JobContext(cache, calls), len(catalog), DESCRIPTION)
        captions = (
            Caption(response.text and job.parse_response(response.text), response.problem) if response else Caption()
            for response in responses
        )
        return _write_table(catalog, captions, name, out) | summarize_usage(cache, job)


def _write_by_rule(settings: CaptionSettings, catalog: Catalog, out: Path, ray: RaySettings) -> dict[str, Any]:
    # A worker elsewhere stands in another folder than this process.
    catalog_for_workers = replace(catalog, root=catalog.root.absolute())
    store = make_json_store(out / "chunks", lambda row: Caption(*row))
    start = partial(_make_describe_function, settings, catalog_for_workers)
    chunks = map_chunks(start, split_rows(len(catalog), BATCH_SIZE), lambda rows: rows, store, ray, DESCRIPTION)
    facts = _write_table(catalog, chain.from_iterable(chunks), settings.generator, out)
    store.remove()
    return facts


def _make_describe_function(settings: CaptionSettings, catalog: Catalog) -> Callable[[range], list[Caption]]:
    """Return what describes the pictures of some rows; the captioner is loaded here."""
    return partial(_describe_rows, CAPTIONERS[settings.generator](settings), catalog)


def _describe_rows(captioner: Captioner, catalog: Catalog, rows: range) -> list[Caption]:
    captions, images = dict.fromkeys(rows, Caption()), dict[int, Image.Image]()
    for row in rows:
        try:
            image = catalog.open_image(row)
        except ImageError as error:
            captions[row] = Caption(None, error.reason)
        else:
            images |= {} if image is None else {row: image}
    texts = captioner.describe_images(list(images.values()))
    captions |= {row: Caption(text) for row, text in zip(images, texts, strict=True)}
    return list(captions.values())


def _write_table(catalog: Catalog, captions: Iterable[Caption], generator_name: str, out: Path) -> dict[str, Any]:
    failed_before = catalog.image_records.problems
    rows = (
        (item_id, text, text and generator_name, problem if text or problem else failed_before.get(item_id))
        for item_id, (text, problem) in zip(catalog.table["item_id"], captions, strict=True)
    )
    table = build_table(rows, CAPTIONS_SCHEMA, partial(pl.DataFrame, schema=CAPTIONS_SCHEMA, orient="row"))
    save_table(table, out / CAPTIONS_FILE)
    unusable = pl.col("problem").is_in(list(FAILURE_REASONS))
    return {
        "generator": generator_name,
        "captions": table["caption"].count(),
        "distinct_captions": table["caption"].drop_nulls().n_unique(),
        "items_without_image": catalog.table["image_path"].null_count() - len(failed_before),
        "failed_images": count_reasons(table.filter(unusable)["problem"]),
        "failed_items": count_reasons(table.filter(~unusable)["problem"]),
    }
