"""Captions (CMSA, Eq. 5): every picture is described in words, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from PIL import Image

from trialigngr.catalog.items import Catalog
from trialigngr.catalog.pictures import count_reasons, open_picture
from trialigngr.enrich.journal import Journal
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import PictureError, RecipeError, did_you_mean

FILE = "captions.parquet"
CHUNK = 64


class CaptionSettings(Settings):
    """How pictures are described."""

    generator: str = "measured"
    """Who writes the captions; `CAPTIONERS` lists the names, and ``none`` writes none ("without CMSA")."""
    device: str = "auto"
    """Where the generator's networks run."""


NOBODY = "none"
"""The generator that describes nothing."""
UNDESCRIBED: dict[str, Any] = {"caption": None, "generator": None, "problem": None}


class Captioner(Protocol):
    """Describes pictures. ``name`` is recorded with every caption it writes."""

    name: str

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Return one caption a picture, in their order."""
        ...


def _measured(settings: CaptionSettings) -> Captioner:
    from trialigngr.enrich.measured import MeasuredCaptioner

    return MeasuredCaptioner(settings.device)


CAPTIONERS: dict[str, Callable[[CaptionSettings], Captioner]] = {"measured": _measured}
"""Generator name → how to start it."""


def start_captioner(settings: CaptionSettings) -> Captioner:
    """Return the generator that the settings name; raise `RecipeError` when there is none of that name."""
    if settings.generator not in CAPTIONERS:
        hint = did_you_mean(settings.generator, CAPTIONERS)
        raise RecipeError(
            f"captions.generator = {settings.generator!r}: known are {', '.join(sorted(CAPTIONERS))}, {NOBODY}.{hint}"
        )
    return CAPTIONERS[settings.generator](settings)


def write_captions(settings: CaptionSettings, catalog: Catalog, out: Path) -> dict[str, Any]:
    """Write ``captions.parquet`` (item_id, caption, generator, problem) and return the facts.

    An item without a picture, or with one that cannot be used, has no caption; ``problem`` says why the picture failed.
    Finished chunks survive a kill in ``captions.jsonl`` until the table is written.
    """
    captioner = None if settings.generator == NOBODY else start_captioner(settings)
    journal = Journal(out / "captions.jsonl", CHUNK)

    def describe(rows: range) -> list[dict[str, Any]]:
        return _describe_rows(captioner, catalog, rows) if captioner is not None else [UNDESCRIBED for _ in rows]

    rows = journal.complete(len(catalog), "Describing pictures", describe)
    schema = {"caption": pl.String, "generator": pl.String, "problem": pl.String}
    table = pl.DataFrame(rows, schema=schema).with_columns(item_id=pl.Series(catalog.ids, dtype=pl.String))
    table.select("item_id", *schema).write_parquet(out / FILE)
    journal.remove()
    return _facts(settings.generator if captioner is None else captioner.name, catalog, table)


def _describe_rows(captioner: Captioner, catalog: Catalog, rows: range) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [dict(UNDESCRIBED) for _ in rows]
    pictures: dict[int, Image.Image] = {}
    for place, row in enumerate(rows):
        path = catalog.picture(row)
        if path is None:
            continue
        try:
            pictures[place] = open_picture(path)
        except PictureError as error:
            made[place]["problem"] = error.reason
    captions = captioner.describe(list(pictures.values())) if pictures else []
    for place, caption in zip(pictures, captions, strict=True):
        made[place].update(caption=caption, generator=captioner.name)
    return made


def _facts(name: str, catalog: Catalog, table: pl.DataFrame) -> dict[str, Any]:
    return {
        "generator": name,
        "captions": table["caption"].count(),
        "distinct_captions": table["caption"].drop_nulls().n_unique(),
        "without_picture": sum(catalog.picture(row) is None for row in range(len(catalog))),
        "failed_pictures": count_reasons(table["problem"]),
    }


def load_captions(folder: Path) -> list[str | None]:
    """Return the captions in row order; None where there is none."""
    captions: list[str | None] = pl.read_parquet(folder / FILE, columns=["caption"])["caption"].to_list()
    return captions
