"""`Quality` as text for people, one set of SIDs or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trialigngr.sids.quality import Quality


def quality_text(sets: Mapping[str, Quality]) -> str:
    """Return a table, one column a set of SIDs, and below it what could not be computed and why."""
    names = list(sets)
    rows = [("", *names), *_rows(list(sets.values()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names) + 1)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, quality in sets.items():
        lines += [f"{name}: {what} not computed: {why}." for what, why in quality.missing.items()]
    return "\n".join(lines)


def _rows(all_of: Sequence[Quality]) -> list[tuple[str, ...]]:
    return [
        ("items", *(f"{q.items:,}" for q in all_of)),
        ("codebooks", *(" × ".join(map(str, q.sizes)) for q in all_of)),
        ("distinct SIDs", *(f"{q.distinct:,}" for q in all_of)),
        ("items that share a SID", *(_percent(q.collisions_items) for q in all_of)),
        ("unique ratio", *(_percent(q.unique) for q in all_of)),
        ("(items − distinct) / items", *(_percent(q.collisions_sids) for q in all_of)),
        ("test targets whose SID is shared", *(_percent(q.collisions_targets) for q in all_of)),
        ("largest bucket", *(f"{q.largest_bucket} ({q.largest_sid})" for q in all_of)),
        ("codes used, by level", *(_list([level.utilisation for level in q.levels], "{:.1%}") for q in all_of)),
        ("dead codes, by level", *(_list([level.dead for level in q.levels], "{:d}") for q in all_of)),
        ("perplexity, by level", *(_list([level.perplexity for level in q.levels], "{:.0f}") for q in all_of)),
        ("gini, by level", *(_list([level.gini for level in q.levels], "{:.3f}") for q in all_of)),
        ("prefix entropy (nats), by depth", *(_list(q.prefix_entropy, "{:.2f}") for q in all_of)),
        ("fidelity (cosine), by depth", *(_list(q.fidelity, "{:.3f}") for q in all_of)),
        ("fidelity on held-out items", *(_list(q.fidelity_held_out, "{:.3f}") for q in all_of)),
        ("neighbours kept (recall@10)", *(_percent(q.neighbours_kept) for q in all_of)),
        ("category purity of prefixes", *(_list(q.purity, "{:.3f}") for q in all_of)),
        ("purity by chance", *(_list(_one(q.purity_by_chance), "{:.3f}") for q in all_of)),
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _one(value: float | None) -> tuple[float, ...] | None:
    return None if value is None else (value,)


def _list(values: Sequence[float] | None, form: str) -> str:
    return "–" if values is None else " ".join(form.format(value) for value in values)
