"""What captions and tags are like, in figures that need no judge: how long, how varied, how much they only repeat."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trialigngr.catalog.items import Catalog

SAMPLE = 1000
"""Most captions behind distinct-n, which falls with the amount of text: only figures of as many texts compare."""
MOST_TAGS, MOST_CATEGORIES, TAGS_OF_CATEGORY = 12, 10, 5
"""How many the lists name."""
_WORD = re.compile(r"\w+")
Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class CaptionFigures:
    """Captions of a catalogue. Shares are None where there is nothing to share.

    ``distinct`` is the share of captions that differ from all before them. ``distinct_1`` and ``distinct_2`` are
    distinct words and pairs of words over all of them (Li et al. 2016; distinct-1 is the type-token ratio), among
    ``sampled`` captions at even distances.
    """

    captions: int
    items_without: float
    pictured_without: float | None
    mean_words: float | None
    fewest_words: int | None
    most_words: int | None
    distinct: float | None
    distinct_1: float | None
    distinct_2: float | None
    sampled: int


@dataclass(frozen=True)
class CategoryTags:
    """The most frequent tags among the items of a category (their last, most special one)."""

    category: str
    items: int
    tags: Counts


@dataclass(frozen=True)
class TagFigures:
    """Interest tags of a catalogue. Shares are None where there is nothing to share.

    ``effective`` is the number of equally frequent tags that would be as varied (the exponential of the entropy).
    ``repeat_title`` is the share of tags that say nothing but words of their item's title.
    """

    tags: int
    items_without: float
    mean_per_item: float
    mean_words: float | None
    distinct: int
    effective: float
    repeat_title: float | None
    most_frequent: Counts
    by_category: tuple[CategoryTags, ...]


@dataclass(frozen=True)
class Written:
    """What was written about the items of a catalogue."""

    items: int
    pictures: int
    captions: CaptionFigures
    tags: TagFigures


def figures(catalog: Catalog, captions: Sequence[str | None], tags: Sequence[Sequence[str]]) -> Written:
    """Return the figures of what was written, in row order, about a catalogue; it must not be empty."""
    pictured = [path is not None for path in catalog.table["image_path"]]
    return Written(len(catalog), sum(pictured), _of_captions(pictured, captions), _of_tags(catalog, tags))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters, digits and underscores in any script."""
    return _WORD.findall(text.casefold())


def _of_captions(pictured: Sequence[bool], captions: Sequence[str | None]) -> CaptionFigures:
    texts = [caption for caption in captions if caption is not None]
    bare = sum(caption is None for caption, has in zip(captions, pictured, strict=True) if has)
    lengths = [len(words(text)) for text in texts]
    sample = [words(text) for text in texts[:: len(texts) // SAMPLE + 1]]
    return CaptionFigures(
        captions=len(texts),
        items_without=(len(captions) - len(texts)) / len(captions),
        pictured_without=_share(bare, sum(pictured)),
        mean_words=_share(sum(lengths), len(lengths)),
        fewest_words=min(lengths, default=None),
        most_words=max(lengths, default=None),
        distinct=_share(len(set(texts)), len(texts)),
        distinct_1=_distinct([word for text in sample for word in text]),
        distinct_2=_distinct([pair for text in sample for pair in pairwise(text)]),
        sampled=len(sample),
    )


def _of_tags(catalog: Catalog, tags: Sequence[Sequence[str]]) -> TagFigures:
    counts = Counter(tag for some in tags for tag in some)
    titled = [(tag, title) for some, title in zip(tags, catalog.table["title"], strict=True) if title for tag in some]
    return TagFigures(
        tags=counts.total(),
        items_without=sum(not some for some in tags) / len(tags),
        mean_per_item=counts.total() / len(tags),
        mean_words=_share(sum(n * len(words(tag)) for tag, n in counts.items()), counts.total()),
        distinct=len(counts),
        effective=_effective(counts),
        repeat_title=_share(sum(repeats(tag, title) for tag, title in titled), len(titled)),
        most_frequent=_first(counts, MOST_TAGS),
        by_category=_by_category(catalog, tags),
    )


def repeats(tag: str, title: str) -> bool:
    """Say whether a tag has words and all of them stand in the title."""
    return bool(said := set(words(tag))) and said <= set(words(title))


def _effective(counts: Counter[str]) -> float:
    total = counts.total()
    return math.exp(-sum(n / total * math.log(n / total) for n in counts.values())) if total else 0.0


def _by_category(catalog: Catalog, tags: Sequence[Sequence[str]]) -> tuple[CategoryTags, ...]:
    sizes, counts = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for categories, some in zip(catalog.table["categories"], tags, strict=True):
        if categories is not None and len(categories):
            sizes[categories[-1]] += 1
            counts[categories[-1]].update(some)
    return tuple(
        CategoryTags(category, n, _first(counts[category], TAGS_OF_CATEGORY))
        for category, n in _first(sizes, MOST_CATEGORIES)
    )


def _first(counts: Counter[str], most: int) -> Counts:
    """Return the most frequent, equally frequent ones by name."""
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def _distinct(grams: Sequence[object]) -> float | None:
    return _share(len(set(grams)), len(grams))


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
