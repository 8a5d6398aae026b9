"""Interests (MDIM, Eq. 6): what kind of life an item fits into, as 2–4 tags with a confidence and one lifestyle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import polars as pl

from trialigngr.catalog.items import Catalog
from trialigngr.enrich.journal import Journal
from trialigngr.enrich.text import ItemText, item_text
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import ArtifactError, RecipeError, did_you_mean

FILE = "interests.parquet"
CHUNK = 512
SAMPLE = 600
"""Most items from which a generator learns what is usual in the catalogue."""
Confidence = Literal["high", "medium", "low"]


class InterestSettings(Settings):
    """How interests are mined."""

    generator: str = "lexicon"
    """Who mines them; `MINERS` lists the names, and ``none`` mines none ("without MDIM")."""
    drop_low: bool = True
    """Leave out tags of low confidence."""
    use_captions: bool = True
    """Let the miner read the captions (false: "without CMSA")."""
    device: str = "auto"
    """Where the generator's networks run."""


class Tag(NamedTuple):
    """One interest, and how sure the generator is of it."""

    tag: str
    confidence: Confidence


@dataclass(frozen=True)
class Interests:
    """The interests of one item, the surest first. ``lifestyle`` is None when there is nothing to tell it from."""

    tags: tuple[Tag, ...] = ()
    lifestyle: str | None = None

    @property
    def names(self) -> list[str]:
        """The tags without their confidence."""
        return [tag.tag for tag in self.tags]


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
"""Generator name → how to start it, knowing a sample of the catalogue's texts."""


def start_miner(settings: InterestSettings, sample: Sequence[ItemText]) -> InterestMiner:
    """Return the generator that the settings name; raise `RecipeError` when there is none of that name."""
    if settings.generator not in MINERS:
        hint = did_you_mean(settings.generator, MINERS)
        raise RecipeError(f"interests.generator = {settings.generator!r}: known are {', '.join(sorted(MINERS))}.{hint}")
    return MINERS[settings.generator](settings, sample)


def sample_texts(settings: InterestSettings, catalog: Catalog, captions: Sequence[str | None]) -> list[ItemText]:
    """Return an evenly spaced sample of what a generator reads: what is usual in this catalogue."""
    rows = range(0, len(catalog), len(catalog) // SAMPLE + 1)
    return [item_text(catalog[row], captions[row] if settings.use_captions else None) for row in rows]


def write_interests(
    settings: InterestSettings,
    catalog: Catalog,
    captions: Sequence[str | None],
    out: Path,
    usual: Sequence[ItemText] | None = None,
) -> dict[str, Any]:
    """Write ``interests.parquet`` (item_id, tags, lifestyle, generator) and return the facts.

    ``usual`` is the `sample_texts` of the catalogue that these items join, if it is not their own. Finished chunks
    survive a kill in ``interests.jsonl`` until the table is written.
    """
    if len(captions) != len(catalog):
        raise ArtifactError(f"There are {len(captions)} captions for {len(catalog)} items; run the captions again.")

    def texts(rows: range) -> list[ItemText]:
        return [item_text(catalog[row], captions[row] if settings.use_captions else None) for row in rows]

    # The same sample whenever a stage goes on, so that it ends as unbroken.
    miner = start_miner(settings, sample_texts(settings, catalog, captions) if usual is None else usual)
    journal = Journal(out / "interests.jsonl", CHUNK)

    def mine(rows: range) -> list[dict[str, Any]]:
        return [_row(interests, settings.drop_low) for interests in miner.mine(texts(rows))]

    rows = journal.complete(len(catalog), "Mining interests", mine)
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "tags": pl.List(pl.Struct({"tag": pl.String, "confidence": pl.String})),
        "lifestyle": pl.String,
    }
    table = pl.DataFrame(rows, schema=schema).with_columns(
        item_id=pl.Series(catalog.ids, dtype=pl.String), generator=pl.lit(miner.name)
    )
    table.select("item_id", "tags", "lifestyle", "generator").write_parquet(out / FILE)
    journal.remove()
    return _facts(miner.name, rows)


def _row(interests: Interests, drop_low: bool) -> dict[str, Any]:
    kept = [tag._asdict() for tag in interests.tags if not (drop_low and tag.confidence == "low")]
    return {"tags": kept, "lifestyle": interests.lifestyle}


def _facts(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    tags = Counter(tag["tag"] for row in rows for tag in row["tags"])
    confidences = Counter(tag["confidence"] for row in rows for tag in row["tags"])
    return {
        "generator": name,
        "items_without_tags": sum(not row["tags"] for row in rows),
        "tags": tags.total(),
        "distinct_tags": len(tags),
        "most_frequent": dict(tags.most_common(10)),
        "confidence": dict(confidences.most_common()),
    }


def load_interests(folder: Path) -> list[Interests]:
    """Return the interests in row order."""
    table = pl.read_parquet(folder / FILE, columns=["tags", "lifestyle"])
    return [
        Interests(tuple(Tag(tag["tag"], tag["confidence"]) for tag in row["tags"]), row["lifestyle"])
        for row in table.iter_rows(named=True)
    ]
