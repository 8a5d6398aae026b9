"""`SidQuality` as text for people, one set of SIDs or several side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from trialigngr.sids.quality import CodebookUsage, SidFigures, SidQuality


def format_quality(sets: Mapping[str, SidQuality]) -> str:
    """Return a table, for each set of SIDs a column and one of what it would be by chance, and below it what could not
    be computed and why."""
    columns = [figures for quality in sets.values() for figures in (quality, quality.by_chance)]
    header = ("", *(title for name in sets for title in (name, "by chance")))
    rows = [
        header,
        *((label, *(_format_cell(column, name, form) for column in columns)) for label, name, form in _ROWS),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, quality in sets.items():
        lines += [f"{name}: {what} not computed: {why}." for what, why in quality.not_computed.items()]
    return "\n".join(lines)


def _format_cell(figures: SidFigures, name: str, form: Callable[[Any], str]) -> str:
    """Return a figure as text, a dash where it is not known, nothing where chance has none."""
    if not hasattr(figures, name):
        return ""
    value = getattr(figures, name)
    return "–" if value is None else form(value)


def _format_list(form: str, values: Sequence[float]) -> str:
    return " ".join(form.format(value) for value in values)


def _format_levels(name: str, form: str, levels: Sequence[CodebookUsage]) -> str:
    return _format_list(form, [getattr(level, name) for level in levels])


_count, _percent, _shares = "{:,}".format, "{:.2%}".format, partial(_format_list, "{:.3f}")
_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("items", "num_items", _count),
    ("codebooks", "codebook_sizes", lambda sizes: " × ".join(map(str, sizes))),
    ("distinct SIDs", "num_distinct_sids", _count),
    ("items that share a SID", "collisions_items", _percent),
    ("items that nothing tells apart", "collision_floor", _percent),
    ("unique ratio", "unique_share", _percent),
    ("(items − distinct) / items", "collisions_sids", _percent),
    ("test targets whose SID is shared", "collisions_targets", _percent),
    ("largest bucket", "largest_bucket", _count),
    ("its SID", "largest_sid", str),
    ("codes used, by level", "codebook_usage", partial(_format_levels, "utilization", "{:.1%}")),
    ("dead codes, by level", "codebook_usage", partial(_format_levels, "dead_codes", "{:d}")),
    ("perplexity, by level", "codebook_usage", partial(_format_levels, "perplexity", "{:.0f}")),
    ("gini, by level", "codebook_usage", partial(_format_levels, "gini", "{:.3f}")),
    ("prefix entropy (nats), by depth", "prefix_entropy", partial(_format_list, "{:.2f}")),
    ("fidelity (cosine), by depth", "fidelity", _shares),
    ("fidelity on held-out items", "fidelity_held_out", _shares),
    ("neighbours kept (recall@10)", "neighbor_recall", _percent),
    ("category purity of prefixes", "category_purity", _shares),
    ("taken in a row under one prefix", "cooccurrence", _shares),
    ("taken under a tenth of the prefixes", "busiest_tenth", _shares),
)
