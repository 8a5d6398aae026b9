"""`SidQuality` as text for people, one set of SIDs or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trialigngr.sids.quality import SidQuality


def format_quality(sets: Mapping[str, SidQuality]) -> str:
    """Return a table, one column a set of SIDs, and below it what could not be computed and why."""
    names = list(sets)
    rows = [("", *names), *_table_rows(list(sets.values()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names) + 1)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, quality in sets.items():
        lines += [f"{name}: {what} not computed: {why}." for what, why in quality.not_computed.items()]
    return "\n".join(lines)


def _table_rows(qualities: Sequence[SidQuality]) -> list[tuple[str, ...]]:
    return [
        ("items", *(f"{q.num_items:,}" for q in qualities)),
        ("codebooks", *(" × ".join(map(str, q.codebook_sizes)) for q in qualities)),
        ("distinct SIDs", *(f"{q.num_distinct_sids:,}" for q in qualities)),
        ("items that share a SID", *(_format_percent(q.collisions_items) for q in qualities)),
        ("unique ratio", *(_format_percent(q.unique_share) for q in qualities)),
        ("(items − distinct) / items", *(_format_percent(q.collisions_sids) for q in qualities)),
        ("test targets whose SID is shared", *(_format_percent(q.collisions_targets) for q in qualities)),
        ("largest bucket", *(f"{q.largest_bucket} ({q.largest_sid})" for q in qualities)),
        (
            "codes used, by level",
            *(_format_list([level.utilization for level in q.codebook_usage], "{:.1%}") for q in qualities),
        ),
        (
            "dead codes, by level",
            *(_format_list([level.dead_codes for level in q.codebook_usage], "{:d}") for q in qualities),
        ),
        (
            "perplexity, by level",
            *(_format_list([level.perplexity for level in q.codebook_usage], "{:.0f}") for q in qualities),
        ),
        ("gini, by level", *(_format_list([level.gini for level in q.codebook_usage], "{:.3f}") for q in qualities)),
        ("prefix entropy (nats), by depth", *(_format_list(q.prefix_entropy, "{:.2f}") for q in qualities)),
        ("fidelity (cosine), by depth", *(_format_list(q.fidelity, "{:.3f}") for q in qualities)),
        ("fidelity on held-out items", *(_format_list(q.fidelity_held_out, "{:.3f}") for q in qualities)),
        ("neighbours kept (recall@10)", *(_format_percent(q.neighbor_recall) for q in qualities)),
        ("category purity of prefixes", *(_format_list(q.category_purity, "{:.3f}") for q in qualities)),
        ("purity by chance", *(_format_list(_as_tuple(q.chance_purity), "{:.3f}") for q in qualities)),
    ]


def _format_percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _as_tuple(value: float | None) -> tuple[float, ...] | None:
    return None if value is None else (value,)


def _format_list(values: Sequence[float] | None, form: str) -> str:
    return "–" if values is None else " ".join(form.format(value) for value in values)
