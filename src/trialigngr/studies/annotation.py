"""Filled sheets, added up with their key: the mean of each question's grades, by run and by who wrote there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trialigngr.foundation.errors import ArtifactError
from trialigngr.studies.annotation_sheet import GRADE_COLUMNS, KEY_COLUMNS, SHOWN_COLUMNS, locate_key

WRITER_COLUMNS = {name: "captions by" if name.startswith("caption") else "interests by" for name in GRADE_COLUMNS[:-1]}
"""Question → the column of the key that says who wrote what it is about."""
VALID_GRADES = {str(grade): grade for grade in range(1, 6)}
CSV_SEPARATORS = ",;\t"
"""What spreadsheets put between cells, by language."""

AnswerRows = dict[str, dict[str, str]]


@dataclass(frozen=True)
class GradeSummary:
    """The mean of ``num_graded`` grades of one question about the answers of a run; None before there are any."""

    question: str
    run: str
    writer: str
    mean: float | None
    num_graded: int
    num_blank: int


def summarize_grades(sheets: Sequence[Path], key_path: Path | None = None) -> list[GradeSummary]:
    """Return the mean grades of one or more filled copies of a sheet, by question and run, in the key's order.

    ``key_path`` lies beside the first sheet, if it is not given. Raises `ArtifactError` for what is no sheet of this
    key.
    """
    key_path = key_path or locate_key(sheets[0])
    key_rows = _read_answers(key_path, KEY_COLUMNS)
    filled = [_read_answers(sheet, (*SHOWN_COLUMNS, *GRADE_COLUMNS)) for sheet in sheets]
    for sheet, rows in zip(sheets, filled, strict=True):
        if rows.keys() != key_rows.keys():
            raise ArtifactError(f"{sheet} and {key_path} are not about the same answers; take the key of this sheet.")
        _check_grades(sheet, rows)
    if not any(row[question].strip() for rows in filled for row in rows.values() for question in WRITER_COLUMNS):
        raise ArtifactError(f"{' and '.join(map(str, sheets))} hold no grades yet; fill the columns that end in (1-5).")
    runs = dict.fromkeys(row["run"] for row in key_rows.values())
    return [_summarize_question(question, run, key_rows, filled) for question in WRITER_COLUMNS for run in runs]


def _summarize_question(question: str, run: str, key: AnswerRows, filled_sheets: Iterable[AnswerRows]) -> GradeSummary:
    mine = [answer for answer, row in key.items() if row["run"] == run]
    cells = [rows[answer][question].strip() for rows in filled_sheets for answer in mine]
    grades = [VALID_GRADES[cell] for cell in cells if cell]
    by = key[mine[0]][WRITER_COLUMNS[question]]
    mean = sum(grades) / len(grades) if grades else None
    return GradeSummary(question, run, by, mean, len(grades), len(cells) - len(grades))


def _check_grades(sheet: Path, rows: AnswerRows) -> None:
    for answer, row in rows.items():
        for question in WRITER_COLUMNS:
            if row[question].strip() not in ("", *VALID_GRADES):
                raise ArtifactError(
                    f"{sheet}: answer {answer} has {row[question]!r} under {question!r}; a grade is a whole number "
                    "from 1 to 5, or nothing."
                )


def _read_answers(path: Path, columns: Sequence[str]) -> AnswerRows:
    """Return the rows of a CSV file by their answer's number; raise `ArtifactError` when it has not these columns."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError:
        raise ArtifactError(f"There is no file {path}; the key lies beside the sheet, or name it with --key.") from None
    except UnicodeDecodeError:
        raise ArtifactError(f"{path} is not UTF-8; save it as CSV in UTF-8.") from None
    separator = max(CSV_SEPARATORS, key=text.partition("\n")[0].count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lost = [name for name in columns if name not in (table.fieldnames or ())]
    if lost:
        raise ArtifactError(f"{path} has no column {lost[0]!r}; it must keep those it was written with.")
    return _index_by_answer(path, table)


def _index_by_answer(path: Path, table: csv.DictReader[str]) -> AnswerRows:
    rows: AnswerRows = {}
    try:
        for row in table:
            answer = (row["answer"] or "").strip()
            if answer in rows or None in row or None in row.values():
                raise ArtifactError(f"{path}: the row of answer {answer!r} is not whole or stands there twice.")
            rows[answer] = row
    except csv.Error as error:
        raise ArtifactError(f"{path} is no CSV file ({error}).") from None
    return rows


def format_grades(grades: Sequence[GradeSummary]) -> Iterator[str]:
    """Yield the grades as a table for people."""
    rows = [("question", "run", "by", "mean", "graded", "blank")]
    for one in grades:
        mean = "none" if one.mean is None else f"{one.mean:.2f}"
        rows.append((one.question, one.run, one.writer, mean, f"{one.num_graded:,}", f"{one.num_blank:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        words = zip(row[:3], widths[:3], strict=True)
        figures = zip(row[3:], widths[3:], strict=True)
        yield "  ".join([f"{cell:{w}}" for cell, w in words] + [f"{cell:>{w}}" for cell, w in figures])
