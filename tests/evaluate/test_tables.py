"""A comparison in its four forms."""

from __future__ import annotations

import json

import pytest

from trialigngr.evaluate.tables import FORMATS, METRICS, Comparison, Line, Versus
from trialigngr.metrics.intervals import Estimate

PROTOCOL = {
    "test_targets": 1234, "test_users": 617, "split": "leave-last-2", "k_core": 5, "history_cap": 20,
    "seen_items": "not masked (masked beside)", "beams": 20, "normalisation": "vocabulary",
    "selection": "validation NDCG@10", "interval": "95 %, bootstrap over users",
}  # fmt: skip
FIGURES = {name: Estimate(0.25, 0.2, 0.3) for name in METRICS}
LESS = {name: Estimate(-0.01, -0.02, 0.005) for name in METRICS}
SEEDS = {name: {"mean": 0.24, "spread": 0.011, "values": [0.25, 0.23]} for name in METRICS}


@pytest.fixture
def found() -> Comparison:
    lines = (Line("ours_50%|x", FIGURES, SEEDS), Line("popularity", FIGURES))
    return Comparison(PROTOCOL, lines, (Versus("popularity", LESS, dict.fromkeys(METRICS, 0.0004)),))


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_tells_the_protocol_and_every_system(found: Comparison, form: str) -> None:
    text = FORMATS[form](found)
    assert "leave-last-2" in text
    assert "popularity" in text
    assert "0.25" in text


def test_text(found: Comparison) -> None:
    lines = FORMATS["text"](found).splitlines()
    assert "1,234 test targets of 617 users" in lines[0]
    assert "0.2500 [0.2000, 0.3000]" in lines[5]
    assert "0.2400 ± 0.0110 (2 seeds)" in lines[7]
    assert "-0.0100 [-0.0200, +0.0050]" in lines[-2]
    assert lines[-1].split() == ["p", "<", ".001"] * 4


def test_markdown_cells_stay_cells(found: Comparison) -> None:
    rows = [line for line in FORMATS["markdown"](found).splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {6}
    assert "| ours_50%/x |" in rows[2]


def test_latex_is_escaped_and_marks_what_differs(found: Comparison) -> None:
    text = FORMATS["latex"](found)
    assert r"ours\_50\%|x & 0.2500 {\scriptsize" in text
    assert "popularity & 0.2500$^{*}$" in text


def test_json_holds_everything(found: Comparison) -> None:
    body = json.loads(FORMATS["json"](found))
    assert body["versus"][0]["p"]["HR@10"] == 0.0004
    assert body["lines"][0]["seeds"]["HR@5"]["values"] == [0.25, 0.23]
