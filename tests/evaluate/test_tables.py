"""A comparison in its four forms."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from trialigngr.evaluate.comparison import DEFAULT_METRICS, Comparison, PairedComparison, SliceRows, SystemRow
from trialigngr.evaluate.comparison_formats import COMPARISON_FORMATS
from trialigngr.evaluate.paper_results import find_paper_rows
from trialigngr.evaluate.table import TABLE_FORMATS, Table
from trialigngr.metrics.intervals import Estimate

PROTOCOL = {
    "test_targets": 1234, "test_users": 617, "split": "leave-last-2", "k_core": 5, "max_history": 20,
    "max_history_beside": "",
    "seen_items": "not masked (masked beside)", "num_beams": 20, "score_softmax": "full",
    "selection": "validation NDCG@10", "interval": "95 %, bootstrap over users", "valid_users": 500, "seeds": [0, 1],
    "test_history": "contains the validation items", "candidates": "the whole catalogue, 99 items",
    "task": "sids_to_sid", "invalid_rate": 0.0,
}  # fmt: skip
FIGURES = {name: Estimate(0.25, 0.2, 0.3) for name in (*DEFAULT_METRICS, "MRR@10")}
LISTS = {"Coverage@10": 0.5, "Novelty@10": 9.25, "PopularityBias@10": -0.125, "invalid": 0.0, "short": 0.0}
LESS = {name: Estimate(-0.01, -0.02, 0.005) for name in DEFAULT_METRICS}
SEEDS = {name: {"mean": 0.24, "spread": 0.011, "values": [0.25, 0.23]} for name in DEFAULT_METRICS}


@pytest.fixture
def found() -> Comparison:
    lines = (
        SystemRow("ours_50%|x", FIGURES, SEEDS, LISTS, {"seconds": 1234.4, "parameters": 877_760}),
        SystemRow("popularity", FIGURES, None, LISTS, {"seconds": 0.1}),
    )
    versus = (PairedComparison("popularity", LESS, dict.fromkeys(DEFAULT_METRICS, 0.0004)),)
    part = SliceRows("cold items", "never in training", 17, {"ours": FIGURES})
    paper = find_paper_rows({"users": 22363, "items": 12101, "interactions": 198502})
    ways = (SystemRow("ours_50%|x, SID level", {name: Estimate(0.31, 0.3, 0.32) for name in DEFAULT_METRICS}),)
    return Comparison(
        PROTOCOL, lines, versus, DEFAULT_METRICS, {"other": {"num_beams": 50}}, paper, (part,), alternative_rows=ways
    )


@pytest.mark.parametrize("form", COMPARISON_FORMATS)
def test_every_form_tells_the_protocol_and_every_system(found: Comparison, form: str) -> None:
    text = COMPARISON_FORMATS[form](found)
    assert "leave-last-2" in text
    assert "popularity" in text
    assert "0.25" in text
    assert "the whole catalogue, 99 items" in text
    assert "other differs: num beams 50" in text or '"num_beams": 50' in text
    assert "0.1089" in text, "the paper's row"
    assert "not ours" in text


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_what_fits_no_column_stands_below(found: Comparison, form: str) -> None:
    text = COMPARISON_FORMATS[form](found).replace(r"\%", "%")
    heads = ("ours_50%|x minus", "other ways to count", "lists", "training", "slice")
    assert [text.replace(r"\_", "_").replace("%/x", "%|x").count(f"{head} ") for head in heads] == [1] * 5
    assert "-0.0100 [-0.0200, +0.0050]" in text
    assert "0.3100 [0.3000, 0.3200]" in text
    assert "a hit is the right SID, not the right item" in text
    assert "50.00%" in text
    assert "never in training" in text
    assert "invalid" in text


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_the_table_of_lists_has_the_columns_that_are_asked_for(found: Comparison, form: str) -> None:
    lines = (replace(found.rows[0], list_figures={"Coverage@3": 0.125, "invalid": 0.0}),)
    text = COMPARISON_FORMATS[form](replace(found, rows=lines, list_metrics=("MRR@10", "Coverage@3", "invalid")))
    assert "12.50" in text
    assert "Coverage@10" not in text


def test_papers_rows_are_for_data_of_that_size_alone() -> None:
    assert find_paper_rows({"users": 22363, "items": 12101, "interactions": 198501}) is None
    sports = find_paper_rows({"users": 35598, "items": 18357, "interactions": 296337})
    assert sports is not None
    assert list(sports.rows) == ["SASRec", "TIGER", "TriAlignGR"]
    beside = find_paper_rows({"users": 35598, "items": 18357, "interactions": 296337}, ["HSTU", "Popularity"])
    assert beside is not None
    assert list(beside.rows) == ["SASRec", "TIGER", "HSTU", "TriAlignGR"]
    assert (sports.data_name, sports.rows["SASRec"]["HR@5"]) == ("Amazon Sports", 0.0248)


def test_text(found: Comparison) -> None:
    lines = COMPARISON_FORMATS["text"](found).splitlines()
    assert "1,234 test targets of 617 users" in lines[0]
    ours, *_, spread, cost = (line for line in lines if line.startswith("ours_50%|x"))
    assert "0.2500 [0.2000, 0.3000]" in ours
    assert any("0.2400 ± 0.0110 (2 seeds)" in line for line in lines)
    place = next(place for place, line in enumerate(lines) if "-0.0100 [-0.0200, +0.0050]" in line)
    assert lines[place + 1].split() == ["p", *["<", ".001"] * 4]
    assert spread.split()[-5:] == ["0.2500", "50.00%", "9.25", "-0.12", "0.00%"]
    assert cost.split()[-2:] == ["1,234", "877,760"]


def test_markdown_cells_stay_cells(found: Comparison) -> None:
    rows = [line for line in COMPARISON_FORMATS["markdown"](found).splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4, 6, 7}
    assert "| ours_50%/x |" in rows[2]


def test_latex_is_escaped_and_marks_what_differs(found: Comparison) -> None:
    text = COMPARISON_FORMATS["latex"](found)
    assert r"ours\_50\%|x & 0.2500 {\scriptsize" in text
    assert "popularity & 0.2500$^{*}$" in text


def test_latex_has_a_tabular_for_each_table(found: Comparison) -> None:
    systems, *others = COMPARISON_FORMATS["latex"](found).split("\n\n")
    assert systems.startswith("% 1,234 test targets")
    assert others[1].startswith("% seen masked")
    assert [table.count(r"\begin{tabular}") for table in (systems, *others)] == [1] * 6
    assert r"p & $<$ .001 & $<$ .001" in others[0]


def test_latex_has_the_spread_over_seeds(found: Comparison) -> None:
    row = " & ".join([r"ours\_50\%|x, over seeds", *[r"0.2400 $\pm$ 0.0110 (2 seeds)"] * 4])
    assert rf"{row} \\" in COMPARISON_FORMATS["latex"](found).splitlines()


@pytest.mark.parametrize("form", COMPARISON_FORMATS)
def test_how_much_sasrec_sees_is_told(found: Comparison, form: str) -> None:
    text = COMPARISON_FORMATS[form](replace(found, protocol=PROTOCOL | {"max_history_beside": "sasrec 50"}))
    assert "history ≤ 20 (sasrec 50), which" in text or '"max_history_beside": "sasrec 50"' in text
    assert "sasrec" not in COMPARISON_FORMATS[form](found)


def test_a_run_without_a_slice_has_a_dash(found: Comparison) -> None:
    part = replace(found.slices[0], figures={"ours": FIGURES, "other": {}})
    text = COMPARISON_FORMATS["markdown"](replace(found, slices=(part,)))
    assert "| cold items (never in training) | 17 | other | – | – |" in text


def test_json_holds_everything(found: Comparison) -> None:
    body = json.loads(COMPARISON_FORMATS["json"](found))
    assert body["paired_comparisons"][0]["p_values"]["HR@10"] == 0.0004
    assert body["rows"][0]["seed_figures"]["HR@5"]["values"] == [0.25, 0.23]


def test_one_table_alone() -> None:
    block = Table(("", "BLEU-4 & co"), (("run_1", "41.2%"),), note="First.\nSecond.")
    assert TABLE_FORMATS["text"](block).splitlines() == [
        "        BLEU-4 & co", "run_1         41.2%", "First.", "Second.",
    ]  # fmt: skip
    assert TABLE_FORMATS["markdown"](block).endswith("| run_1 | 41.2% |\n\nFirst.  \nSecond.")
    latex = TABLE_FORMATS["latex"](block).splitlines()
    assert latex[:3] == ["% First.", "% Second.", r"\begin{tabular}{lc}"]
    assert [latex[4], latex[6]] == [r" & BLEU-4 \& co \\", r"run\_1 & 41.2\% \\"]
