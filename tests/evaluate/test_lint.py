"""`lint-table` on the paper's Table 2, on other forms of tables, and on files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Done
from trialigngr.evaluate.lint import lint_table
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
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TriAlignError, match=sentence):
        lint_table(tmp_path / name)
