"""What the page's figures mean, a sentence each, for a reader who meets them for the first time."""

from __future__ import annotations

from collections.abc import Iterable

TASK_DESCRIPTIONS: dict[str, tuple[str, str, str]] = {
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

_PROTOCOL_ENTRIES: dict[str, tuple[str, str]] = {
    "data.users": ("users", "Shoppers in the data, after the k-core."),
    "data.items": ("items", "Items in the data, after the k-core."),
    "data.interactions": ("interactions", "How often a shopper took an item, after the k-core."),
    "split": ("split", "Which part of each history is kept back for validation and test."),
    "k_core": ("k-core", "Shoppers and items with fewer interactions are left out; 0 leaves all in."),
    "max_history_beside": ("history caps beside", "How many last items the systems beside the model look at."),
    "max_history": ("history cap", "At most this many last items are shown to the model."),
    "test_history": ("test history", "What a prompt at test may show of the history."),
    "seen_items": ("seen items", "Whether items that a shopper already has may be recommended."),
    "level": ("level", "Whether a hit is counted on items or on SID strings. Items are stricter."),
    "candidates": ("candidates", "What may be recommended; all items, never a small sample."),
    "task": ("task", "Which task's prompt asked for the recommendations."),
    "num_beams": ("beams", "How many unfinished SIDs the search keeps at each step."),
    "score_softmax": ("softmax", "Over which tokens the model's scores are made into probabilities."),
    "prior": ("prior", "What is mixed with the model's probabilities inside the search."),
    "precision": ("precision", "Of the model's numbers at the test; auto takes bf16 where the hardware is fast at it."),
    "test_users": ("test users", "Shoppers that are tested."),
    "test_targets": ("test targets", "Single predictions that are tested."),
    "valid_users": ("validation users", "Shoppers whose validation items chose between checkpoints and settings."),
    "selection": ("selection", "What the checkpoint was chosen by; test figures chose nothing."),
    "seeds": ("seeds", "The numbers that all randomness starts from."),
    "interval": ("interval", "How the intervals were made."),
    "invalid_rate": (
        "invalid",
        "Share of listed places that name no item, or one for the second time. The trie makes it 0.",
    ),
}
"""Entry → what it is called, and a sentence."""

_METRIC_MEANINGS: dict[str, str] = {
    "HR": "Hit rate: how often the item that was really taken is among the first {k} suggestions.",
    "NDCG": "A hit rate that looks at the place: 1 for a hit at the top, less with every rank to {k}, 0 for a miss.",
    "MRR": "Mean of 1 ÷ rank of the item that was really taken, 0 beyond rank {k}.",
    "COVERAGE": "Share of the catalogue that is suggested to somebody within the first {k}.",
}


def describe_protocol_entry(name: str) -> tuple[str, str]:
    """Return what a protocol entry is called, and its sentence; the bare name and nothing for one that is not known."""
    return _PROTOCOL_ENTRIES.get(name, (name.replace("_", " ").replace(".", " "), ""))


def _split_metric(metric: str) -> tuple[str, str]:
    name, _, k = metric.partition("@")
    return name.upper(), k


def describe_metric(metric: str) -> str:
    """Return what a metric like ``HR@10`` counts, or an empty string when it is not known."""
    name, k = _split_metric(metric)
    return _METRIC_MEANINGS.get(name, "").format(k=k)


def build_glossary(metrics: Iterable[str]) -> list[tuple[str, str]]:
    """Return (``HR@5, HR@10``, sentence) for each known family of metrics, in order."""
    families: dict[str, list[str]] = {}
    for metric in metrics:
        families.setdefault(_split_metric(metric)[0], []).append(metric)
    depths = {name: " or ".join(_split_metric(metric)[1] for metric in members) for name, members in families.items()}
    return [
        (", ".join(members), _METRIC_MEANINGS[name].format(k=depths[name]))
        for name, members in families.items()
        if name in _METRIC_MEANINGS
    ]
