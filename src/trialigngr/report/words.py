"""What the page's figures mean, a sentence each, for a reader who meets them for the first time."""

from __future__ import annotations

from collections.abc import Iterable

TASKS: dict[str, tuple[str, str, str]] = {
    "T1": ("translation", "title → SID", "Name an item: read its title, write its Semantic ID."),
    "T2": ("translation", "SID → title", "The way back: read the codes, write the title they stand for."),
    "T3": (
        "recommendation",
        "SIDs → next SID",
        "The task that recommends: a history in codes, the next item in codes.",
    ),
    "T4": ("recommendation", "titles → next SID", "A history in words, the next item in codes."),
    "T5": ("recommendation", "SIDs → next title", "A history in codes, the next item in words."),
    "T6": ("recommendation", "titles → next title", "A history in words, the next item in words."),
    "T7": ("visual", "look → SID", "Recognise an item by how it looks."),
    "T8": ("visual", "look → title", "Say what an item is from how it looks."),
}
"""Number → kind, what goes in and out, and a sentence (paper §3.3)."""

_PROTOCOL: dict[str, str] = {
    "split": "Which part of each history is kept back for validation and test.",
    "history_cap": "At most this many last items are shown to the model.",
    "seen": "Whether items that a shopper already has may be recommended.",
    "seen_items": "Whether items that a shopper already has may be recommended.",
    "candidates": "What may be recommended; all items, never a small sample.",
    "beams": "How many unfinished SIDs the search keeps at each step.",
    "normalisation": "Over which tokens the model's scores are made into probabilities.",
    "level": "Whether a hit is counted on items or on SID strings. Items are stricter.",
    "ties": "How items that share a SID are ordered: every order counts alike.",
    "seed": "The number that all randomness starts from.",
    "seeds": "The numbers that all randomness starts from.",
    "users": "Shoppers that are tested.",
    "targets": "Single predictions that are tested.",
    "intervals": "How the 95 % intervals were made.",
    "bootstrap": "How often the users were drawn anew for the intervals.",
    "invalid_rate": "Share of listed places that name no item, or one for the second time. The trie makes it 0.",
    "task": "Which task's prompt asked for the recommendations.",
    "test_history": "What a prompt at test may show of the history.",
}

_METRICS: dict[str, str] = {
    "HR": "Hit rate: how often the item that was really taken is among the first {k} suggestions.",
    "NDCG": "A hit rate that looks at the place: 1 for a hit at the top, less with every rank to {k}, 0 for a miss.",
    "MRR": "Mean of 1 ÷ rank of the item that was really taken, 0 beyond rank {k}.",
    "COVERAGE": "Share of the catalogue that is suggested to somebody within the first {k}.",
}


def protocol_meaning(name: str) -> str:
    """Return the sentence for a protocol entry, or an empty string when there is none."""
    return _PROTOCOL.get(name.lower().replace(" ", "_").replace("-", "_"), "")


def _parts(metric: str) -> tuple[str, str]:
    name, _, k = metric.partition("@")
    return name.upper(), k


def metric_meaning(metric: str) -> str:
    """Return what a metric like ``HR@10`` counts, or an empty string when it is not known."""
    name, k = _parts(metric)
    return _METRICS.get(name, "").format(k=k)


def glossary(metrics: Iterable[str]) -> list[tuple[str, str]]:
    """Return (``HR@5, HR@10``, sentence) for each known family of metrics, in order."""
    families: dict[str, list[str]] = {}
    for metric in metrics:
        families.setdefault(_parts(metric)[0], []).append(metric)
    depths = {name: " or ".join(_parts(metric)[1] for metric in members) for name, members in families.items()}
    return [
        (", ".join(members), _METRICS[name].format(k=depths[name]))
        for name, members in families.items()
        if name in _METRICS
    ]
