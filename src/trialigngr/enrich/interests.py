"""Interests (MDIM, Eq. 6): what kind of life an item fits into, as 2–4 tags with a confidence and one lifestyle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from trialigngr.catalog.pictures import count_reasons
from trialigngr.enrich.answers import Tag
from trialigngr.enrich.generator import GeneratorSettings
from trialigngr.enrich.table import save_table, table_of

FILE = "interests.parquet"
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "item_id": pl.String,
    "tags": pl.List(pl.Struct({"tag": pl.String, "confidence": pl.String})),
    "lifestyle": pl.String,
    "generator": pl.String,
    "problem": pl.String,
}


class InterestSettings(GeneratorSettings):
    """How interests are mined."""

    generator: str = "lexicon"
    """Who mines them: `lexicon`, or a language model by `openai`, `transformers`, `vllm` or `smollm2` (packaged,
    small: plumbing); `none` mines none."""
    prompt: str = "interests"
    """What a language model is told: a packaged prompt (the controls of Table 9 are `keywords`, `summary`, `paraphrase`
    and `generic-tags`) or a .toml file."""
    choose_from: Literal["anything", "lexicon"] = "anything"
    """What a language model may say: `anything`, or the tags and lifestyles of the lexicon alone (for weak models, and
    where tags must be comparable)."""
    choices: int = Field(default=24, ge=8, le=96)
    """How many tags of the lexicon, those nearest to the item, a language model may choose from."""
    drop_low: bool = True
    """Leave out tags of low confidence."""
    use_captions: bool = True
    """Let the miner read the captions (false: "without CMSA")."""
    longest: int = Field(default=600, ge=1)
    """Characters kept of an answer in running text (`summary`, `paraphrase`)."""


@dataclass(frozen=True)
class Interests:
    """The interests of one item, the surest first. ``lifestyle`` is None when there is nothing to tell it from."""

    tags: tuple[Tag, ...] = ()
    lifestyle: str | None = None

    @property
    def names(self) -> list[str]:
        """The tags without their confidence."""
        return [tag.tag for tag in self.tags]


def save_interests(
    settings: InterestSettings, ids: Sequence[str], said: Iterable[tuple[Interests, str | None]], name: str, out: Path
) -> dict[str, Any]:
    """Write what was said about each item, or the problem for which nothing was, and by whom; return the facts."""
    tags, confidences = Counter[str](), Counter[str]()

    def rows() -> Iterator[tuple[Any, ...]]:
        for item_id, (found, problem) in zip(ids, said, strict=True):
            kept = [tag for tag in found.tags if not (settings.drop_low and tag.confidence == "low")]
            tags.update(tag.tag for tag in kept)
            confidences.update(tag.confidence for tag in kept)
            listed = [{"tag": tag, "confidence": confidence} for tag, confidence in kept]
            yield item_id, listed, found.lifestyle, name, problem

    table = table_of(rows(), SCHEMA)
    save_table(table, out / FILE)
    return {
        "generator": name,
        "items_without_tags": int((table["tags"].list.len() == 0).sum()),
        "tags": tags.total(),
        "distinct_tags": len(tags),
        "most_frequent": dict(tags.most_common(10)),
        "confidence": dict(confidences.most_common()),
        "failed_answers": count_reasons(table["problem"]),
    }


def load_interests(folder: Path) -> list[Interests]:
    """Return the interests in row order."""
    table = pl.read_parquet(folder / FILE, columns=["tags", "lifestyle"])
    return [
        Interests(tuple(Tag(tag["tag"], tag["confidence"]) for tag in row["tags"]), row["lifestyle"])
        for row in table.iter_rows(named=True)
    ]
