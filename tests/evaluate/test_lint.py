"""`lint-table` on the paper's Table 2, on other forms of tables, and on files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Done
from trialigngr.evaluate.table_lint import lint_table
from trialigngr.foundation.errors import TriAlignError

Cli = Callable[..., Done]
TABLE_2 = Path(__file__).parent / "tables" / "paper_table_2.csv"
"""Figures of TriAlignGR, arXiv 2605.05249, Table 2."""


def test_table_2_of_the_paper() -> None:
    rows, found = lint_table(TABLE_2)
    assert rows == 18 * 3
    blamed = {sentence.split(":")[0] for sentence in found}
    assert blamed == {
        f"{system}, {data}" for system in ("LETTER", "ETEGRec") for data in ("Beauty", "Sports", "Instruments")
    }


BROKEN = "ours: (NDCG@10 − NDCG@5) / (HR@10 − HR@5) = 0.0500 / 0.1000 = 0.500 lies outside [0.289, 0.356]"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "model,HR@5,NDCG@5,HR@10,NDCG@10\nours,.2000,.1000,.3000,.1500\n"),
        ("t.tsv", "model\tR@5\tN@5\tR@10\tN@10\nours\t20.00\t10.00\t30.00\t15.00\n"),
        (
            "t.md",
            "| model | Recall@5 | ndcg@5 | Hit@10 | NDCG@10 |\n|---|--:|:-:|---|---|\n"
            "| **ours** | .2000 | **.1000** | .3000 | .1500* |\n",
        ),
        ("t.json", json.dumps([{"model": "ours", "HR@5": 0.2, "NDCG@5": 0.1, "HR@10": 0.3, "NDCG@10": 0.15}])),
    ],
)
def test_the_forms_of_a_table(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    rows, found = lint_table(tmp_path / name)
    assert rows == 1
    assert [BROKEN[:20] in sentence and "lies outside [0.289, 0.356]" in sentence for sentence in found] == [True]


def test_rounding_is_allowed_for(tmp_path: Path) -> None:
    exact = "model,HR@5,NDCG@5,HR@10,NDCG@10\nours,.040{0},.030{0},.050{0},.034{0}\n"
    (tmp_path / "rough.csv").write_text(exact.format(""), encoding="utf-8")
    (tmp_path / "fine.csv").write_text(exact.format("00000"), encoding="utf-8")
    assert lint_table(tmp_path / "rough.csv")[1] == [], "0.004 / 0.010 may have been 0.003 / 0.010"
    assert len(lint_table(tmp_path / "fine.csv")[1]) == 1


def test_our_own_figures_are_possible(cli: Cli, tiny_run: Path) -> None:
    done = cli("lint-table", tiny_run / "metrics.json")
    assert (done.code, done.err) == (0, "")
    assert "all possible" in done.out


def test_the_command_fails_on_a_broken_law(cli: Cli) -> None:
    done = cli("lint-table", TABLE_2)
    assert done.code == 1
    assert "LETTER, Beauty: (NDCG@10 − NDCG@5)" in done.out
    assert "54 rows looked at" in done.out


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.csv", None, "There is no file"),
        ("words.csv", b"a,b\n1,2\n", "no column of figures"),
        ("empty.csv", b"", "no column of figures"),
        ("picture.csv", b"\x89PNG\xff\xfe", "cannot be read"),
        ("cut.json", b'[{"HR@5": 0.1', "cannot be read"),
        ("number.json", b"7", "no column of figures"),
        ("nought.csv", b"m,HR@0,NDCG@0\na,.1,.1\n", "no column of figures"),
        ("nought.md", b"|m|MRR@0|\n|-|-|\n|a|.1|\n", "no column of figures"),
        ("deep.json", b"[" * 100_000, "cannot be read as a table: it is nested too deeply"),
        (
            "long.json",
            b'[{"HR@5": ' + b"9" * 5000 + b"}]",
            "cannot be read as a table: it holds a number of 5,000 digits",
        ),
        ("twice.json", b'[{"m": "a", "HR@5": 0.1, "HR@5": 0.2}]', "an object has 'HR@5' more than once"),
        ("uneven.csv", b"m,HR@5,HR@5,NDCG@5\na,.1,.2,.3\n", "2 columns of HR@5 and 1 of NDCG@5"),
        ("commas.csv", b"m,HR@5,HR@10\nours,0,05,0,04\n", "row 'ours' has 5 cells, but there are 3 columns"),
        ("few.csv", b"m,HR@5,HR@10,NDCG@5,NDCG@10\nours,0,05,0,04\n", "'05' can be read in more than one way"),
        ("both.csv", b"m;HR@5\nours;1.234,5\n", "'1.234,5' can be read in more than one way"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TriAlignError, match=sentence):
        lint_table(tmp_path / name)


def told(tmp_path: Path, text: str, name: str = "t.csv") -> tuple[list[str], list[str], int]:
    """Return the broken laws of a table, what was left out, and how many rows were looked at."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    left_out: list[str] = []
    rows, found = lint_table(tmp_path / name, left_out.append)
    return found, left_out, rows


@pytest.mark.parametrize(
    "sets", ["HR@5,HR@10,HR@5,HR@10\nours,.30,.20,.10,.20\n", "HR@5,HR@5,HR@10,HR@10\nours,.30,.10,.20,.20\n"]
)
def test_columns_of_one_name_are_all_checked(tmp_path: Path, sets: str) -> None:
    found, left_out, rows = told(tmp_path, f"model,{sets}")
    assert (found, left_out, rows) == (["ours: HR@5 = 0.3000 is above HR@10 = 0.2000"], [], 2)
    turned = sets.replace(".30", ".00").replace(".10", ".30")
    assert told(tmp_path, f"model,{turned}")[0] == ["ours, set 2: HR@5 = 0.3000 is above HR@10 = 0.2000"]


@pytest.mark.parametrize("name", ["Beauty_NDCG", "Beauty NDCG", "Beauty/nDCG"])
def test_a_data_set_before_the_metric(tmp_path: Path, name: str) -> None:
    found, left_out, _ = told(tmp_path, f"model,Beauty HR@5,{name}@5\nours,.100,.200\n")
    assert (found, left_out) == (["ours, Beauty: NDCG@5 = 0.2000 is above HR@5 = 0.1000"], [])


@pytest.mark.parametrize("name", ["Hits", "hit", "HitRate", "Hit Rate", "hit_ratio", "H", "HR", "Recall", "R"])
def test_names_of_the_hit_rate(tmp_path: Path, name: str) -> None:
    found, left_out, _ = told(tmp_path, f"model,{name}@5,NDCG@5\nours,.100,.200\n")
    assert (found, left_out) == (["ours: NDCG@5 = 0.2000 is above HR@5 = 0.1000"], [])


def test_columns_that_are_not_known_are_named(tmp_path: Path, cli: Cli) -> None:
    found, left_out, _ = told(tmp_path, "model,HR@5,F1@5,HR@0,Precision@10\nours,.2,.9,.9,.9\n")
    assert found == []
    assert left_out == ["Columns not checked, since their names are not known: F1@5, HR@0, Precision@10"]
    assert left_out[0] in cli("lint-table", tmp_path / "t.csv").out


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("m,HR@5,HR@10\nours,.2,.3\nbest %,+12.3%,+8.1%\n", "best %"),
        ("m,HR@5,HR@10\nours,.2,.3\nversus TIGER,+12.3,-8.1\n", "versus TIGER"),
        ("m,HR@5,HR@10\nours,.2,.3\nImprov.,12.3%,8.1%\n", "Improv."),
        ("m,HR@5,HR@10,Improv. HR@5\nours,.20,.30,120\n", "ours, Improv"),
    ],
)
def test_rows_of_differences_are_passed_over_and_named(tmp_path: Path, text: str, row: str) -> None:
    assert told(tmp_path, text) == ([], [f"Rows not checked, since they hold differences: {row}"], 1)


def test_a_negative_figure_is_no_difference(tmp_path: Path) -> None:
    assert told(tmp_path, "m,HR@5\nImproved SASRec,-.1\n")[0] == [
        "Improved SASRec: HR@5 = -0.1000 is no share between 0 and 1"
    ]


def test_percent_are_a_matter_of_most_figures(tmp_path: Path) -> None:
    shares = "m,HR@5,HR@10\na,.2,1.2\nb,.2,.3\n"
    assert told(tmp_path, shares)[0] == ["a: HR@10 = 1.2000 is no share between 0 and 1"]
    assert told(tmp_path, "m,HR@5,HR@10\na,20,30\nb,.2,1.2\n")[0] == []
    assert told(tmp_path, "m,HR@5,HR@10\na,2%,120%\nb,.2,.3\n")[0] == ["a: HR@10 = 1.2000 is no share between 0 and 1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "m;HR@5;HR@10\nours;0,050;0,040\n"),
        ("t.csv", 'm,HR@5,HR@10\nours,"0,050","0,040"\n'),
        ("t.tsv", "m\tHR@5\tHR@10\nours\t0,050\t,040\n"),
        ("t.md", "|m|HR@5|HR@10|\n|-|-|-|\n|ours|**0,050**|0,040|\n"),
    ],
)
def test_decimal_commas(tmp_path: Path, name: str, text: str) -> None:
    assert told(tmp_path, text, name)[0] == ["ours: HR@5 = 0.0500 is above HR@10 = 0.0400"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('m,HR@5,HR@10\n"ours,.1,.2\ntheirs",.3,.1\n', "line 2: a quote opens"),
        ('m,HR@5,HR@10\nours,.1,.2\n"a" b,.3,.1\n', "line 3: a quote opens"),
        ('m,HR@5,HR@10\n"a \\"b\\"",.3,.1\n', "line 2: a backslash"),
    ],
)
def test_quotes_swallow_no_row(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TriAlignError, match=sentence):
        lint_table(tmp_path / "t.csv")


def test_inch_marks_are_letters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('m,HR@5,HR@10\nten 10",.1,.2\nfive 5",.3,.1\n', encoding="utf-8")
    rows, found = lint_table(tmp_path / "t.csv")
    assert rows == 2
    assert [sentence.partition(":")[0] for sentence in found] == ['five 5"']
