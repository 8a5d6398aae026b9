"""Captions (CMSA, Eq. 5): every picture is described in words, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from PIL import Image
from pydantic import Field

from trialigngr.catalog.items import Catalog
from trialigngr.enrich.parsing import check_script, parse_text
from trialigngr.enrich.prompts import PromptTemplate, read_prompt
from trialigngr.enrich.table import build_table, save_table
from trialigngr.enrich.text import make_item_text
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.foundation.executor import LOCAL_EXECUTION, RaySettings
from trialigngr.foundation.tables import read_table
from trialigngr.images.image_open import FAILURE_REASONS, count_reasons
from trialigngr.llm.backends import LANGUAGE_MODELS, check_language_model, refuse_offline_engine
from trialigngr.llm.generator import (
    BatchGenerator,
    CallSettings,
    GenerationRequest,
    Generator,
    GeneratorSettings,
    ItemText,
)
from trialigngr.llm.jobs import JobContext, has_cache, open_cache, run_job, summarize_usage
from trialigngr.llm.parallel import parallelize_generator
from trialigngr.llm.response_cache import CachedResponse, ResponseOrigin

CAPTIONS_FILE = "captions.parquet"
CAPTIONS_SCHEMA = {"item_id": pl.String, "caption": pl.String, "generator": pl.String, "problem": pl.String}
BATCH_SIZE = 64


class CaptionSettings(GeneratorSettings):
    """How pictures are described."""

    generator: str = "measured"
    """Who writes the captions: `measured`, or a language model by `openai` or `transformers`; `none` writes none."""
    prompt_template: str = "caption"
    """What a language model is told: a packaged prompt or a .toml file."""
    max_characters: int = Field(default=800, ge=1)
    """Characters kept of a language model's caption, whole sentences where it can be."""


NO_GENERATOR = "none"
"""The generator that describes nothing ("without CMSA")."""


class Captioner(Protocol):
    """Describes pictures by rule. ``name`` is recorded with every caption it writes."""

    name: str

    def describe_images(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one caption a picture, in their order."""
        ...


def _make_measured_captioner(settings: CaptionSettings) -> Captioner:
    from trialigngr.enrich.measured_captioner import MeasuredCaptioner

    return MeasuredCaptioner(settings.device)


CAPTIONERS: dict[str, Callable[[CaptionSettings], Captioner]] = {"measured": _make_measured_captioner}
"""Name of a captioner by rule → how to start it."""


def start_captioner(settings: CaptionSettings, calls: CallSettings) -> Generator:
    """Return the generator that the settings name; raise `RecipeError` when there is none of that name."""
    if settings.generator in LANGUAGE_MODELS:
        return LANGUAGE_MODELS[settings.generator](settings, calls, read_prompt(settings.prompt_template).response_form)
    _check_generator_name(settings)
    captioner = CAPTIONERS[settings.generator](settings)

    def caption_batch(questions: list[GenerationRequest]) -> list[str]:
        return captioner.describe_images([one.image for one in questions if one.image is not None])

    return BatchGenerator(captioner.name, {}, BATCH_SIZE, caption_batch)


def check_captioner(settings: CaptionSettings, calls: CallSettings, is_local: bool, ask: bool = True) -> None:
    """Raise a sentence when captions cannot be written as the settings say; nothing is paid, no weights are loaded.

    ``is_local`` is False where workers elsewhere load the models: then only what they are told is looked at. ``ask`` is
    False as long as no server may be asked.
    """
    if settings.generator not in LANGUAGE_MODELS:
        return _check_generator_name(settings)
    form = read_prompt(settings.prompt_template).response_form
    if is_local or settings.generator == "openai":
        check_language_model(settings, calls, form, with_images=True, ask=ask)


def _check_generator_name(settings: CaptionSettings) -> None:
    refuse_offline_engine("captions", settings.generator)
    if settings.generator not in (*CAPTIONERS, NO_GENERATOR):
        known = sorted([*CAPTIONERS, *LANGUAGE_MODELS])
        hint = did_you_mean(settings.generator, known)
        raise RecipeError(
            f"captions.generator = {settings.generator!r}: known are {', '.join(known)}, {NO_GENERATOR}.{hint}"
        )


class CaptionJob:
    """What is asked about the pictures of a catalogue (an `GenerationJob`)."""

    def __init__(self, settings: CaptionSettings, catalog: Catalog, generator: str) -> None:
        self.settings, self.catalog = settings, catalog
        self.prompt: PromptTemplate | None = (
            read_prompt(settings.prompt_template) if settings.generator in LANGUAGE_MODELS else None
        )
        self.origin = ResponseOrigin("captions", generator, self.prompt.content_hash if self.prompt else "")

    @property
    def overhead_characters(self) -> int:
        """How many letters the system message has."""
        return len(self.prompt.system) if self.prompt else 0

    def key_contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...] | None]:
        """Yield what the caption of each item depends on; None without a picture."""
        for number in numbers:
            picture = self.catalog.hash_image(number)
            yield None if picture is None else (self._fill_prompt(number), picture)

    def make_request(self, number: int) -> GenerationRequest:
        """Return the question about an item's picture; raise `ImageError` when it cannot be used."""
        picture = self.catalog.open_image(number)
        system = self.prompt.system if self.prompt else ""
        return GenerationRequest(number, ItemText(""), picture, system, self._fill_prompt(number))

    def _fill_prompt(self, number: int) -> str:
        return self.prompt.fill_item(make_item_text(self.catalog[number], None)) if self.prompt else ""

    def check_response(self, answer: str) -> None:
        """Raise `ResponseError` when an answer is no caption."""
        if self.prompt is not None:
            check_script([self.parse_response(answer)], self.settings.script)

    def parse_response(self, answer: str) -> str:
        """Return the caption in an answer."""
        return answer if self.prompt is None else parse_text(answer, self.settings.max_characters)


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
    ``problem`` says why. What a language model wrote is kept in ``cache_path``, so that it is paid for once.
    """
    if settings.generator == NO_GENERATOR:
        return _write_table(catalog, repeat(None, len(catalog)), NO_GENERATOR, out)
    calls = calls or CallSettings()
    start = partial(start_captioner, settings, calls)
    with closing(
        parallelize_generator(start, settings, calls, ray, has_responses=has_cache(out, cache_path))
    ) as generator:
        inquiry = CaptionJob(settings, catalog, generator.name)
        with open_cache(out, cache_path if inquiry.prompt else None) as book:
            kept = run_job(inquiry, generator, JobContext(book, calls), len(catalog), "Describing pictures")
            said = (one and one._replace(text=one.text and inquiry.parse_response(one.text)) for one in kept)
            facts = _write_table(catalog, said, generator.name, out)
            return facts | summarize_usage(book, inquiry) if inquiry.prompt else facts


def _write_table(
    catalog: Catalog, responses: Iterable[CachedResponse | None], generator_name: str, out: Path
) -> dict[str, Any]:
    not_had = catalog.image_records.problems
    rows = (
        (item_id, one.text, one.text and generator_name, one.problem)
        if one
        else (item_id, None, None, not_had.get(item_id))
        for item_id, one in zip(catalog.table["item_id"], responses, strict=True)
    )
    table = build_table(rows, CAPTIONS_SCHEMA, partial(pl.DataFrame, schema=CAPTIONS_SCHEMA, orient="row"))
    save_table(table, out / CAPTIONS_FILE)
    unusable = pl.col("problem").is_in(list(FAILURE_REASONS))
    return {
        "generator": generator_name,
        "captions": table["caption"].count(),
        "distinct_captions": table["caption"].drop_nulls().n_unique(),
        "without_picture": catalog.table["image_path"].null_count() - len(not_had),
        "failed_pictures": count_reasons(table.filter(unusable)["problem"]),
        "failed_answers": count_reasons(table.filter(~unusable)["problem"]),
    }


def load_captions(folder: Path) -> list[str | None]:
    """Return the captions in row order; None where there is none."""
    captions: list[str | None] = read_table(check_file(folder / CAPTIONS_FILE), ["caption"])["caption"].to_list()
    return captions
