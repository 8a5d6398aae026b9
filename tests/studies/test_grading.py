"""A filled sheet is added up with its key, and one that is not whole is refused in a sentence."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.commands import Done
from trialigngr.foundation.errors import ArtifactError
from trialigngr.studies.annotation import WRITER_COLUMNS, GradeSummary, summarize_grades
from trialigngr.studies.annotation_sheet import GRADE_COLUMNS, AnnotationSheet, locate_key, write_annotation_sheet

ANSWERS = 6
TRUE, USEFUL, FIT, SPECIFIC = WRITER_COLUMNS


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A sheet on three items by two runs; the odd answers are of run a."""
    rows = [(str(n), str((n + 1) // 2), "a mug", "", "red, round", "tea; home", "calm") for n in range(1, ANSWERS + 1)]
    runs = {1: ("runs/a", "measured", "lexicon"), 0: ("runs/b", "openai vl", "openai chat")}
    key = [(str(n), runs[n % 2][0], f"i{(n + 1) // 2}", *runs[n % 2][1:]) for n in range(1, ANSWERS + 1)]
    write_annotation_sheet(AnnotationSheet(rows, key), tmp_path / "sheet.csv")
    return tmp_path / "sheet.csv"


def filled(sheet: Path, *grades: Sequence[str], name: str = "sheet.csv", separator: str = ",") -> Path:
    """Write the grades (true, useful, fit, specific) of each answer into a copy of the sheet; return it."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, some in zip(rows, grades, strict=True):
        row |= dict(zip(GRADE_COLUMNS, some, strict=False))
    copy = sheet.with_name(name)
    with copy.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return copy


ONE = [
    ("5", "4", "1", "2", 'red;\n"or" pink?\u2028'), ("1", "1", "5", "5"), ("4", "", "1", "2"),
    ("2", "1", " 4 ", "5"), ("3", "5", "1", ""), ("", "", "", ""),
]  # fmt: skip


def test_means_worked_by_hand(sheet: Path) -> None:
    assert summarize_grades([filled(sheet, *ONE)]) == [
        GradeSummary(TRUE, "runs/a", "measured", 4.0, 3, 0),  # 5, 4, 3
        GradeSummary(TRUE, "runs/b", "openai vl", 1.5, 2, 1),  # 1, 2
        GradeSummary(USEFUL, "runs/a", "measured", 4.5, 2, 1),  # 4, 5
        GradeSummary(USEFUL, "runs/b", "openai vl", 1.0, 2, 1),
        GradeSummary(FIT, "runs/a", "lexicon", 1.0, 3, 0),
        GradeSummary(FIT, "runs/b", "openai chat", 4.5, 2, 1),
        GradeSummary(SPECIFIC, "runs/a", "lexicon", 2.0, 2, 1),
        GradeSummary(SPECIFIC, "runs/b", "openai chat", 5.0, 2, 1),
    ]


def test_several_people_fill_copies_whatever_their_spreadsheet_puts_between_cells(sheet: Path) -> None:
    blank = [("", "", "", "")] * 5
    copies = [
        filled(sheet, *ONE),
        filled(sheet, ("1", "1", "1", "1"), *blank, name="anna.csv", separator=";"),
        filled(sheet, ("2", "", "", ""), *blank, name="ben.csv", separator="\t"),
    ]
    first = summarize_grades(copies)[0]
    assert (first.mean, first.num_graded, first.num_blank) == (3.0, 5, 4)  # 5, 4, 3, 1, 2


def test_the_command_prints_a_table_and_json(cli: Callable[..., Done], sheet: Path, tmp_path: Path) -> None:
    moved = locate_key(sheet).rename(tmp_path / "hidden.csv")
    words = ("enrich", "grade", filled(sheet, *ONE), "--key", moved)
    done = cli(*words)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["question", "run", "by", "mean", "graded", "blank"]
    assert lines[1].split()[-5:] == ["runs/a", "measured", "4.00", "3", "0"]
    assert len({len(line) for line in lines}) == 1
    assert json.loads(cli(*words, "--json").out)[1]["mean"] == 1.5
    done = cli("enrich", "grade", sheet)
    assert done.code == 2
    assert "There is no file" in done.err


@pytest.mark.parametrize("grade", ["6", "0", "4.5", "good", "4/5"])
def test_a_grade_that_is_none(sheet: Path, grade: str) -> None:
    with pytest.raises(ArtifactError, match=r"answer 2 has '.*' under 'tags fit \(1-5\)'; a grade is a whole number"):
        summarize_grades([filled(sheet, ONE[0], ("1", "1", grade, "1"), *ONE[2:])])


def test_a_sheet_that_is_not_whole(sheet: Path) -> None:
    whole = sheet.read_text("utf-8-sig")
    with pytest.raises(ArtifactError, match="hold no grades yet"):
        summarize_grades([sheet])
    lines = filled(sheet, ONE[0][:4], *ONE[1:]).read_text("utf-8").splitlines()
    broken = {
        "not about the same answers": lines[:-1],
        "stands there twice": [*lines, lines[-1]],
        "is not whole": [*lines[:-1], "6,3,a mug"],
        "has no column 'tags fit": [line.replace("tags fit (1-5)", "tags") for line in lines],
        "has no column 'answer'": [],
        "is no CSV file": [*lines[:-1], lines[-1] + '"x'],
    }
    for said, some in broken.items():
        sheet.write_text("\n".join(some), "utf-8")
        with pytest.raises(ArtifactError, match=said):
            summarize_grades([sheet])
    sheet.write_bytes(whole.replace("calm", "cälm").encode("latin-1"))
    with pytest.raises(ArtifactError, match="save it as CSV in UTF-8"):
        summarize_grades([sheet])
