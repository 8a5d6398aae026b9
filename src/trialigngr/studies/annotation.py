"""Filled sheets, added up with their key: the mean of each question's grades, by run and by who wrote there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trialigngr.foundation.errors import ArtifactError
from trialigngr.studies.annotation_sheet import GRADED, KEY, SHOWN, key_of

QUESTIONS = {name: "captions by" if name.startswith("caption") else "interests by" for name in GRADED[:-1]}
"""Question → the column of the key that says who wrote what it is about."""
GRADES = {str(grade): grade for grade in range(1, 6)}
SEPARATORS = ",;\t"
"""What spreadsheets put between cells, by language."""

Rows = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Grade:
    """The mean of ``graded`` grades of one question about the answers of a run; None before there are any."""

    question: str
    run: str
    by: str
    mean: float | None
    graded: int
    blank: int


def add_up(sheets: Sequence[Path], key: Path | None = None) -> list[Grade]:
    """Return the mean grades of one or more filled copies of a sheet, by question and run, in the key's order.

    ``key`` lies beside the first sheet, if it is not given. Raises `ArtifactError` for what is no sheet of this key.
    """
    key = key or key_of(sheets[0])
    told = _read(key, KEY)
    filled = [_read(sheet, (*SHOWN, *GRADED)) for sheet in sheets]
    for sheet, rows in zip(sheets, filled, strict=True):
        if rows.keys() != told.keys():
            raise ArtifactError(f"{sheet} and {key} are not about the same answers; take the key of this sheet.")
        _refuse_odd(sheet, rows)
    if not any(row[question].strip() for rows in filled for row in rows.values() for question in QUESTIONS):
        raise ArtifactError(f"{' and '.join(map(str, sheets))} hold no grades yet; fill the columns that end in (1-5).")
    runs = dict.fromkeys(row["run"] for row in told.values())
    return [_grade(question, run, told, filled) for question in QUESTIONS for run in runs]


def _grade(question: str, run: str, told: Rows, filled: Iterable[Rows]) -> Grade:
    mine = [answer for answer, row in told.items() if row["run"] == run]
    cells = [rows[answer][question].strip() for rows in filled for answer in mine]
    grades = [GRADES[cell] for cell in cells if cell]
    by = told[mine[0]][QUESTIONS[question]]
    mean = sum(grades) / len(grades) if grades else None
    return Grade(question, run, by, mean, len(grades), len(cells) - len(grades))


def _refuse_odd(sheet: Path, rows: Rows) -> None:
    for answer, row in rows.items():
        for question in QUESTIONS:
            if row[question].strip() not in ("", *GRADES):
                raise ArtifactError(
                    f"{sheet}: answer {answer} has {row[question]!r} under {question!r}; a grade is a whole number "
                    "from 1 to 5, or nothing."
                )


def _read(path: Path, columns: Sequence[str]) -> Rows:
    """Return the rows of a CSV file by their answer's number; raise `ArtifactError` when it has not these columns."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError:
        raise ArtifactError(f"There is no file {path}; the key lies beside the sheet, or name it with --key.") from None
    except UnicodeDecodeError:
        raise ArtifactError(f"{path} is not UTF-8; save it as CSV in UTF-8.") from None
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lost = [name for name in columns if name not in (table.fieldnames or ())]
    if lost:
        raise ArtifactError(f"{path} has no column {lost[0]!r}; it must keep those it was written with.")
    return _by_answer(path, table)


def _by_answer(path: Path, table: csv.DictReader[str]) -> Rows:
    rows: Rows = {}
    try:
        for row in table:
            answer = (row["answer"] or "").strip()
            if answer in rows or None in row or None in row.values():
                raise ArtifactError(f"{path}: the row of answer {answer!r} is not whole or stands there twice.")
            rows[answer] = row
    except csv.Error as error:
        raise ArtifactError(f"{path} is no CSV file ({error}).") from None
    return rows


def grade_lines(grades: Sequence[Grade]) -> Iterator[str]:
    """Yield the grades as a table for people."""
    rows = [("question", "run", "by", "mean", "graded", "blank")]
    for one in grades:
        mean = "none" if one.mean is None else f"{one.mean:.2f}"
        rows.append((one.question, one.run, one.by, mean, f"{one.graded:,}", f"{one.blank:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        words = zip(row[:3], widths[:3], strict=True)
        figures = zip(row[3:], widths[3:], strict=True)
        yield "  ".join([f"{cell:{w}}" for cell, w in words] + [f"{cell:>{w}}" for cell, w in figures])
