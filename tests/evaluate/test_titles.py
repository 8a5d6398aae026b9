"""Attribute recall by hand; BLEU-4 against its definition."""

from __future__ import annotations

import math
import sys

import pytest

from trialigngr.catalog.items import Item
from trialigngr.evaluate.title_metrics import (
    compute_attribute_recall,
    compute_bleu_4,
    extract_attributes,
    extract_words,
    normalize_title,
)
from trialigngr.foundation.errors import TriAlignError
from trialigngr.metrics.intervals import Estimate

ITEMS = [
    Item("1", "Red Cotton Shirt", None, "Vero Moda", ("Clothing", "Shirts & Tops")),
    Item("2", "Kettle", "Brushed steel, a blue handle.", "Ora", ("Clothing", "Kitchen")),
]


def test_words_are_of_three_letters() -> None:
    assert extract_words("Mug, 450 ml of BLUE_clay – Été") == {"mug", "450", "blue", "clay", "été"}
    assert extract_words(None) == set()


def test_attributes_by_hand() -> None:
    # "clothing" is every item's; red, cotton, steel and blue stand in the items' own text.
    assert extract_attributes(ITEMS) == [
        {"vero", "moda", "shirts", "tops", "red", "cotton"},
        {"ora", "kitchen", "steel", "blue"},
    ]


def test_recall_by_hand() -> None:
    wanted = extract_attributes(ITEMS)
    assert compute_attribute_recall(["A red Vero shirt", "blue steel kettle"], wanted).value == pytest.approx(
        (2 + 2) / 10
    )
    assert compute_attribute_recall(["", ""], wanted) == Estimate(0, 0, 0)
    assert compute_attribute_recall([], []) == Estimate(0, 0, 0)
    uneven = compute_attribute_recall(["vero moda shirts tops red cotton", ""], wanted)
    assert (uneven.low, uneven.value, uneven.high) == (0, pytest.approx(6 / 10), 1), "items are drawn, not words"


def test_bleu_by_hand() -> None:
    pytest.importorskip("sacrebleu")
    score, signature = compute_bleu_4(["the red cotton shirt of summer"], ["the red cotton shirt for summer"])
    # n-grams that match: 5 of 6, 3 of 5, 2 of 4, 1 of 3; lengths are equal.
    assert score.value == score.low == score.high == pytest.approx(math.prod([5 / 6, 3 / 5, 2 / 4, 1 / 3]) ** 0.25)
    assert "tok:13a" in signature
    assert compute_bleu_4(["a b c d e"], ["a b c d e"])[0].value == pytest.approx(1)
    assert compute_bleu_4(["", ""], ["a title here now", "another title here now"])[0].value == pytest.approx(0)
    half = compute_bleu_4(["a b c d e", "v w x y z"], ["a b c d e", "f g h i j"])[0]
    assert half.low < half.value < half.high == pytest.approx(1)


def test_without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(TriAlignError, match=r"pip install trialigngr\[diagnostics\]"):
        compute_bleu_4(["a"], ["a"])


def test_titles_are_compared_without_case_and_white_space() -> None:
    assert normalize_title(" Red  Cotton\nShirt") == normalize_title("red cotton SHIRT")
