"""Titles that a model wrote against the true ones: BLEU-4 and attribute recall (paper Table 7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from trialigngr.catalog.items import Item
from trialigngr.foundation.errors import TriAlignError
from trialigngr.images.colors import COLOR_NAMES
from trialigngr.metrics.intervals import Estimate, bootstrap_intervals

BLEU_RESAMPLES = 200
_WORD = re.compile(r"[^\W_]{3,}")


def extract_words(text: str | None) -> set[str]:
    """Return the words of a text, small, of three letters or digits at least."""
    return set(_WORD.findall((text or "").casefold()))


@cache
def load_attribute_words() -> frozenset[str]:
    """Return the materials and colours that are looked for in an item's text."""
    listed = files(__package__).joinpath("materials_and_colours.txt").read_text(encoding="utf-8")
    return frozenset(extract_words(f"{listed} {' '.join(COLOR_NAMES)}"))


def extract_attributes(items: Sequence[Item]) -> list[set[str]]:
    """Return each item's attribute words: of brand and categories, and materials and colours its own text names.

    Category words that every item has say nothing and are left out.
    """
    by_category = [extract_words(" ".join(item.categories)) for item in items]
    named = load_attribute_words()
    common = set.intersection(*by_category) if len(items) > 1 else set()
    return [
        (own - common) | extract_words(item.brand) | (extract_words(f"{item.title} {item.description}") & named)
        for item, own in zip(items, by_category, strict=True)
    ]


def compute_attribute_recall(generated: Sequence[str], attributes: Sequence[AbstractSet[str]]) -> Estimate:
    """Return the share of all items' attribute words that stand in the title written for the item, and its interval
    over items."""
    pairs = [
        (item, word in extract_words(title))
        for item, (title, own) in enumerate(zip(generated, attributes, strict=True))
        for word in sorted(own)
    ]
    if not pairs:
        return Estimate(0.0, 0.0, 0.0)
    items_M, found_M = np.array(pairs).T
    return bootstrap_intervals({"recall": found_M.astype(np.float64)}, items_M)["recall"]


def load_bleu() -> Any:
    """Return sacrebleu's BLEU-4; raise `TriAlignError` when the package is not there."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise TriAlignError(
            "BLEU-4 needs the package sacrebleu; install it with `pip install trialigngr[diagnostics]`."
        ) from None
    return BLEU()


def compute_bleu_4(generated: Sequence[str], titles: Sequence[str]) -> tuple[Estimate, str]:
    """Return BLEU-4 of the whole, 0 … 1, its interval over titles, and sacrebleu's signature."""
    metric, written, true = load_bleu(), np.array(generated, dtype=object), np.array(titles, dtype=object)
    random = np.random.default_rng(0)
    draws = [np.arange(len(true)), *random.integers(len(true), size=(BLEU_RESAMPLES, len(true)))]
    value, *others = [float(metric.corpus_score(written[rows].tolist(), [true[rows].tolist()]).score) for rows in draws]
    low, high = np.quantile(others, [0.025, 0.975])
    return Estimate(value / 100, float(low) / 100, float(high) / 100), str(metric.get_signature())


def normalize_title(title: str) -> str:
    """Return a title in the form in which titles are compared: small, white space as single blanks."""
    return " ".join(title.casefold().split())
