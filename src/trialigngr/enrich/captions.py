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
from trialigngr.enrich.answers import parse_text, refuse_other_script
from trialigngr.enrich.prompts import Prompt, read_prompt
from trialigngr.enrich.table import save_table, table_of
from trialigngr.enrich.text import item_text
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.crew import HERE, RaySettings
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.foundation.tables import read_table
from trialigngr.images.pictures import REASONS, count_reasons
from trialigngr.llm.backends import MODELS, look
from trialigngr.llm.generator import Batches, CallSettings, Generator, GeneratorSettings, ItemText, Question
from trialigngr.llm.jobs import Desk, ask_about, has_ledger, ledger_for, paid_facts
from trialigngr.llm.parallel import spread
from trialigngr.llm.response_cache import Kept, Origin

FILE = "captions.parquet"
SCHEMA = {"item_id": pl.String, "caption": pl.String, "generator": pl.String, "problem": pl.String}
CHUNK = 64


class CaptionSettings(GeneratorSettings):
    """How pictures are described."""

    generator: str = "measured"
    """Who writes the captions: `measured`, or a language model by `openai`, `transformers` or `vllm`; `none` writes
    none."""
    prompt: str = "caption"
    """What a language model is told: a packaged prompt or a .toml file."""
    longest: int = Field(default=800, ge=1)
    """Characters kept of a language model's caption, whole sentences where it can be."""


NOBODY = "none"
"""The generator that describes nothing ("without CMSA")."""


class Captioner(Protocol):
    """Describes pictures by rule. ``name`` is recorded with every caption it writes."""

    name: str

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Return one caption a picture, in their order."""
        ...


def _measured(settings: CaptionSettings) -> Captioner:
    from trialigngr.enrich.measured import MeasuredCaptioner

    return MeasuredCaptioner(settings.device)


CAPTIONERS: dict[str, Callable[[CaptionSettings], Captioner]] = {"measured": _measured}
"""Name of a captioner by rule → how to start it."""


def start_captioner(settings: CaptionSettings, calls: CallSettings) -> Generator:
    """Return the generator that the settings name; raise `RecipeError` when there is none of that name."""
    if settings.generator in MODELS:
        return MODELS[settings.generator](settings, calls, read_prompt(settings.prompt).answer)
    _refuse_unknown(settings)
    captioner = CAPTIONERS[settings.generator](settings)

    def describe(questions: list[Question]) -> list[str]:
        return captioner.describe([one.picture for one in questions if one.picture is not None])

    return Batches(captioner.name, {}, CHUNK, describe)


def check_captioner(settings: CaptionSettings, calls: CallSettings, here: bool, ask: bool = True) -> None:
    """Raise a sentence when captions cannot be written as the settings say; nothing is paid, no weights are loaded.

    ``here`` is False where workers elsewhere load the models: then only what they are told is looked at. ``ask`` is
    False as long as no server may be asked.
    """
    if settings.generator not in MODELS:
        return _refuse_unknown(settings)
    form = read_prompt(settings.prompt).answer
    if here or settings.generator == "openai":
        look(settings, calls, form, pictures=True, ask=ask)


def _refuse_unknown(settings: CaptionSettings) -> None:
    if settings.generator not in (*CAPTIONERS, NOBODY):
        known = sorted([*CAPTIONERS, *MODELS])
        hint = did_you_mean(settings.generator, known)
        raise RecipeError(f"captions.generator = {settings.generator!r}: known are {', '.join(known)}, {NOBODY}.{hint}")


class Captioning:
    """What is asked about the pictures of a catalogue (an `Inquiry`)."""

    def __init__(self, settings: CaptionSettings, catalog: Catalog, generator: str) -> None:
        self.settings, self.catalog = settings, catalog
        self.prompt: Prompt | None = read_prompt(settings.prompt) if settings.generator in MODELS else None
        self.origin = Origin("captions", generator, self.prompt.hash if self.prompt else "")

    @property
    def letters(self) -> int:
        """How many letters the system message has."""
        return len(self.prompt.system) if self.prompt else 0

    def contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...] | None]:
        """Yield what the caption of each item depends on; None without a picture."""
        for number in numbers:
            picture = self.catalog.picture_content(number)
            yield None if picture is None else (self._text(number), picture)

    def question(self, number: int) -> Question:
        """Return the question about an item's picture; raise `PictureError` when it cannot be used."""
        picture = self.catalog.open_picture(number)
        system = self.prompt.system if self.prompt else ""
        return Question(number, ItemText(""), picture, system, self._text(number))

    def _text(self, number: int) -> str:
        return self.prompt.filled(item_text(self.catalog[number], None)) if self.prompt else ""

    def check(self, answer: str) -> None:
        """Raise `AnswerError` when an answer is no caption."""
        if self.prompt is not None:
            refuse_other_script([self.said(answer)], self.settings.script)

    def said(self, answer: str) -> str:
        """Return the caption in an answer."""
        return answer if self.prompt is None else parse_text(answer, self.settings.longest)


def write_captions(
    settings: CaptionSettings,
    catalog: Catalog,
    out: Path,
    calls: CallSettings | None = None,
    ledger: Path | None = None,
    ray: RaySettings = HERE,
) -> dict[str, Any]:
    """Write ``captions.parquet`` (item_id, caption, generator, problem) and return the facts.

    An item without a picture, with one that cannot be used, or about which no usable answer came, has no caption;
    ``problem`` says why. What a language model wrote is kept in ``ledger``, so that it is paid for once.
    """
    if settings.generator == NOBODY:
        return _write(catalog, repeat(None, len(catalog)), NOBODY, out)
    calls = calls or CallSettings()
    start = partial(start_captioner, settings, calls)
    with closing(spread(start, settings, calls, ray, kept=has_ledger(out, ledger))) as generator:
        inquiry = Captioning(settings, catalog, generator.name)
        with ledger_for(out, ledger if inquiry.prompt else None) as book:
            kept = ask_about(inquiry, generator, Desk(book, calls), len(catalog), "Describing pictures")
            said = (one and one._replace(text=one.text and inquiry.said(one.text)) for one in kept)
            facts = _write(catalog, said, generator.name, out)
            return facts | paid_facts(book, inquiry) if inquiry.prompt else facts


def _write(catalog: Catalog, kept: Iterable[Kept | None], name: str, out: Path) -> dict[str, Any]:
    not_had = catalog.kept.problems
    rows = (
        (item_id, one.text, one.text and name, one.problem) if one else (item_id, None, None, not_had.get(item_id))
        for item_id, one in zip(catalog.table["item_id"], kept, strict=True)
    )
    table = table_of(rows, SCHEMA, partial(pl.DataFrame, schema=SCHEMA, orient="row"))
    save_table(table, out / FILE)
    unusable = pl.col("problem").is_in(list(REASONS))
    return {
        "generator": name,
        "captions": table["caption"].count(),
        "distinct_captions": table["caption"].drop_nulls().n_unique(),
        "without_picture": catalog.table["image_path"].null_count() - len(not_had),
        "failed_pictures": count_reasons(table.filter(unusable)["problem"]),
        "failed_answers": count_reasons(table.filter(~unusable)["problem"]),
    }


def load_captions(folder: Path) -> list[str | None]:
    """Return the captions in row order; None where there is none."""
    captions: list[str | None] = read_table(check_file(folder / FILE), ["caption"])["caption"].to_list()
    return captions
