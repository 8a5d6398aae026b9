"""What captions and tags are like, in figures that need no judge: how long, how varied, how much they only repeat."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trialigngr.catalog.items import Catalog

MAX_SAMPLE_CAPTIONS = 1000
"""Most captions behind distinct-n, which falls with the amount of text: only figures of as many texts compare."""
MAX_TAGS, MAX_CATEGORIES, MAX_TAGS_PER_CATEGORY = 12, 10, 5
"""How many the lists name."""
_WORD = re.compile(r"\w+")
TermCounts = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class CaptionStatistics:
    """Captions of a catalogue. Shares are None where there is nothing to share.

    ``distinct_share`` is the share of captions that differ from all before them. ``distinct_1`` and ``distinct_2`` are
    distinct words and pairs of words over all of them (Li et al. 2016; distinct-1 is the type-token ratio), among
    ``sample_size`` captions at even distances.
    """

    num_captions: int
    share_without: float
    image_share_without: float | None
    mean_words: float | None
    min_words: int | None
    max_words: int | None
    distinct_share: float | None
    distinct_1: float | None
    distinct_2: float | None
    sample_size: int


@dataclass(frozen=True)
class CategoryTags:
    """The most frequent tags among the items of a category (their last, most special one)."""

    category: str
    num_items: int
    tags: TermCounts


@dataclass(frozen=True)
class TagStatistics:
    """Interest tags of a catalogue. Shares are None where there is nothing to share.

    ``num_effective`` is the number of equally frequent tags that would be as varied (the exponential of the entropy).
    ``title_repeat_share`` is the share of tags that say nothing but words of their item's title.
    """

    num_tags: int
    share_without: float
    mean_per_item: float
    mean_words: float | None
    num_distinct: int
    num_effective: float
    title_repeat_share: float | None
    most_frequent: TermCounts
    tags_by_category: tuple[CategoryTags, ...]


@dataclass(frozen=True)
class EnrichmentStatistics:
    """What was written about the items of a catalogue."""

    num_items: int
    num_images: int
    captions: CaptionStatistics
    tags: TagStatistics


def compute_statistics(
    catalog: Catalog, captions: Sequence[str | None], tags: Sequence[Sequence[str]]
) -> EnrichmentStatistics:
    """Return the figures of what was written, in row order, about a catalogue; it must not be empty."""
    pictured = [path is not None for path in catalog.table["image_path"]]
    return EnrichmentStatistics(
        len(catalog),
        sum(pictured),
        _compute_caption_statistics(pictured, captions),
        _compute_tag_statistics(catalog, tags),
    )


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters, digits and underscores in any script."""
    return _WORD.findall(text.casefold())


def _compute_caption_statistics(pictured: Sequence[bool], captions: Sequence[str | None]) -> CaptionStatistics:
    texts = [caption for caption in captions if caption is not None]
    bare = sum(caption is None for caption, has in zip(captions, pictured, strict=True) if has)
    lengths = [len(split_words(text)) for text in texts]
    sample = [split_words(text) for text in texts[:: len(texts) // MAX_SAMPLE_CAPTIONS + 1]]
    return CaptionStatistics(
        num_captions=len(texts),
        share_without=(len(captions) - len(texts)) / len(captions),
        image_share_without=_share_or_none(bare, sum(pictured)),
        mean_words=_share_or_none(sum(lengths), len(lengths)),
        min_words=min(lengths, default=None),
        max_words=max(lengths, default=None),
        distinct_share=_share_or_none(len(set(texts)), len(texts)),
        distinct_1=_distinct_share([word for text in sample for word in text]),
        distinct_2=_distinct_share([pair for text in sample for pair in pairwise(text)]),
        sample_size=len(sample),
    )


def _compute_tag_statistics(catalog: Catalog, tags: Sequence[Sequence[str]]) -> TagStatistics:
    counts = Counter(tag for some in tags for tag in some)
    titled = [(tag, title) for some, title in zip(tags, catalog.table["title"], strict=True) if title for tag in some]
    return TagStatistics(
        num_tags=counts.total(),
        share_without=sum(not some for some in tags) / len(tags),
        mean_per_item=counts.total() / len(tags),
        mean_words=_share_or_none(sum(n * len(split_words(tag)) for tag, n in counts.items()), counts.total()),
        num_distinct=len(counts),
        num_effective=_count_effective(counts),
        title_repeat_share=_share_or_none(sum(repeats_title(tag, title) for tag, title in titled), len(titled)),
        most_frequent=_top_counts(counts, MAX_TAGS),
        tags_by_category=_count_by_category(catalog, tags),
    )


def repeats_title(tag: str, title: str) -> bool:
    """Return whether a tag has words and all of them stand in the title."""
    return bool(said := set(split_words(tag))) and said <= set(split_words(title))


def _count_effective(counts: Counter[str]) -> float:
    total = counts.total()
    return math.exp(-sum(n / total * math.log(n / total) for n in counts.values())) if total else 0.0


def _count_by_category(catalog: Catalog, tags: Sequence[Sequence[str]]) -> tuple[CategoryTags, ...]:
    sizes, counts = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for categories, some in zip(catalog.table["categories"], tags, strict=True):
        if categories is not None and len(categories):
            sizes[categories[-1]] += 1
            counts[categories[-1]].update(some)
    return tuple(
        CategoryTags(category, n, _top_counts(counts[category], MAX_TAGS_PER_CATEGORY))
        for category, n in _top_counts(sizes, MAX_CATEGORIES)
    )


def _top_counts(counts: Counter[str], max_terms: int) -> TermCounts:
    """Return the most frequent, equally frequent ones by name."""
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:max_terms])


def _distinct_share(grams: Sequence[object]) -> float | None:
    return _share_or_none(len(set(grams)), len(grams))


def _share_or_none(part: float, whole: int) -> float | None:
    return part / whole if whole else None
