"""What captions and tags of a run are like, to be looked at: figures, and a few items as they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trialigngr.enrich.caption_table import CAPTIONS_FILE as CAPTIONS
from trialigngr.enrich.interests import INTERESTS_FILE as INTERESTS
from trialigngr.enrich.statistics import EnrichmentStatistics, TermCounts, compute_statistics
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.seeds import derive_seed
from trialigngr.foundation.tables import scan_table
from trialigngr.report.page import EnrichedItem, EnrichmentSection, ItemTile, PageInterest
from trialigngr.runs.artifacts import RunArtifacts

NUM_SHOWN_ITEMS = 12
"""Items that the page shows."""


def compute_enrichment_statistics(artifacts: RunArtifacts) -> EnrichmentStatistics:
    """Return the figures of what a run wrote about its items."""
    return compute_statistics(artifacts.catalog, artifacts.captions, artifacts.interest_tags)


def build_enrichment_section(artifacts: RunArtifacts) -> EnrichmentSection:
    """Return the page's section on captions and tags; its items are drawn with a fixed seed among all."""
    catalog = artifacts.catalog
    rows = np.random.default_rng(derive_seed(0, "seen")).permutation(len(catalog))[:NUM_SHOWN_ITEMS]
    return EnrichmentSection(
        compute_enrichment_statistics(artifacts),
        tuple(_build_enriched_item(artifacts, row) for row in sorted(rows.tolist())),
    )


def _build_enriched_item(artifacts: RunArtifacts, row: int) -> EnrichedItem:
    item, interests = artifacts.catalog[row], artifacts.interests[row]
    problems = [
        scan_table(check_file(artifacts.run_folder / stage / name)).slice(row, 1).select("problem").collect().item()
        for stage, name in (("captions", CAPTIONS), ("interests", INTERESTS))
    ]
    return EnrichedItem(
        ItemTile(
            item.display_name, artifacts.catalog.image_file(row), item.categories[-1] if item.categories else None
        ),
        artifacts.captions[row],
        tuple(PageInterest(tag.tag, tag.confidence) for tag in interests.tags),
        interests.lifestyle,
        *(problem or "" for problem in problems),
    )


def describe_enrichment_statistics(statistics: EnrichmentStatistics) -> Iterator[str]:
    """Yield the figures as text."""
    captions, tags = statistics.captions, statistics.tags
    yield f"{statistics.num_items:,} items, {statistics.num_images:,} with a picture"
    yield (
        f"captions: {captions.num_captions:,}; without one {_format_percent(captions.share_without)} of all items, "
        f"{_format_percent(captions.image_share_without)} of those with a picture"
    )
    if captions.num_captions:
        yield f"  words: {captions.mean_words:.1f} on average, {captions.min_words} to {captions.max_words}"
        yield (
            f"  distinct {_format_percent(captions.distinct_share)}; among {captions.sample_size:,} of them distinct-1 "
            f"{_format_number(captions.distinct_1)}, distinct-2 {_format_number(captions.distinct_2)}"
        )
    without = _format_percent(tags.share_without)
    yield f"tags: {tags.num_tags:,}, {tags.mean_per_item:.2f} an item; {without} of items have none"
    if tags.num_tags:
        yield f"  distinct: {tags.num_distinct:,}, as varied as {tags.num_effective:,.0f} equally frequent ones"
        repeats = _format_percent(tags.title_repeat_share)
        yield f"  words: {tags.mean_words:.1f} on average; {repeats} only repeat the title"
        yield f"  most frequent: {_format_counts(tags.most_frequent)}"
    for one in tags.tags_by_category:
        yield f"  {one.category} ({one.num_items:,} items): {_format_counts(one.tags) or 'none'}"


def _format_percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_counts(counts: TermCounts) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts)
