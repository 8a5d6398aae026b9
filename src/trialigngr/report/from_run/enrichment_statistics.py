"""What captions and tags of a run are like, to be looked at: figures, and a few items as they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trialigngr.enrich.captions import FILE as CAPTIONS
from trialigngr.enrich.interests import FILE as INTERESTS
from trialigngr.enrich.statistics import Counts, Written, figures
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.seeds import child
from trialigngr.foundation.tables import scan_table
from trialigngr.report.page import Described, Interest, Seen, Tile
from trialigngr.runs.artifacts import Parts

SHOWN = 12
"""Items that the page shows."""


def written(parts: Parts) -> Written:
    """Return the figures of what a run wrote about its items."""
    return figures(parts.catalog, parts.captions, parts.tags)


def seen(parts: Parts) -> Seen:
    """Return the page's section on captions and tags; its items are drawn with a fixed seed among all."""
    catalog = parts.catalog
    rows = np.random.default_rng(child(0, "seen")).permutation(len(catalog))[:SHOWN]
    return Seen(written(parts), tuple(_described(parts, row) for row in sorted(rows.tolist())))


def _described(parts: Parts, row: int) -> Described:
    item, interests = parts.catalog[row], parts.interests[row]
    problems = [
        scan_table(check_file(parts.out / stage / name)).slice(row, 1).select("problem").collect().item()
        for stage, name in (("captions", CAPTIONS), ("interests", INTERESTS))
    ]
    return Described(
        Tile(item.name, parts.catalog.picture(row), item.categories[-1] if item.categories else None),
        parts.captions[row],
        tuple(Interest(tag.tag, tag.confidence) for tag in interests.tags),
        interests.lifestyle,
        *(problem or "" for problem in problems),
    )


def written_lines(told: Written) -> Iterator[str]:
    """Yield the figures as text."""
    captions, tags = told.captions, told.tags
    yield f"{told.items:,} items, {told.pictures:,} with a picture"
    yield (
        f"captions: {captions.captions:,}; without one {_percent(captions.items_without)} of all items, "
        f"{_percent(captions.pictured_without)} of those with a picture"
    )
    if captions.captions:
        yield f"  words: {captions.mean_words:.1f} on average, {captions.fewest_words} to {captions.most_words}"
        yield (
            f"  distinct {_percent(captions.distinct)}; among {captions.sampled:,} of them distinct-1 "
            f"{_number(captions.distinct_1)}, distinct-2 {_number(captions.distinct_2)}"
        )
    yield f"tags: {tags.tags:,}, {tags.mean_per_item:.2f} an item; {_percent(tags.items_without)} of items have none"
    if tags.tags:
        yield f"  distinct: {tags.distinct:,}, as varied as {tags.effective:,.0f} equally frequent ones"
        yield f"  words: {tags.mean_words:.1f} on average; {_percent(tags.repeat_title)} only repeat the title"
        yield f"  most frequent: {_counted(tags.most_frequent)}"
    for one in tags.by_category:
        yield f"  {one.category} ({one.items:,} items): {_counted(one.tags) or 'none'}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _counted(counts: Counts) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts)
