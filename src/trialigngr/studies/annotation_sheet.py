"""A sheet for people to grade captions and tags blindly: who wrote what stands in a key file of its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trialigngr.foundation.errors import ArtifactError, CatalogError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.seeds import derive_seed
from trialigngr.recipes.written import read_run_recipe
from trialigngr.runs.artifacts import RunArtifacts

SHOWN_COLUMNS = ("answer", "item", "title", "picture", "caption", "tags", "lifestyle")
GRADE_COLUMNS = (
    "caption is true (1-5)",
    "caption is useful (1-5)",
    "tags fit (1-5)",
    "tags are specific (1-5)",
    "remarks",
)
KEY_COLUMNS = ("answer", "run", "item_id", "captions by", "interests by")
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula."""


@dataclass(frozen=True)
class AnnotationSheet:
    """The rows that are graded, and the rows that say what each of them is."""

    rows: Sequence[tuple[str, ...]]
    key_rows: Sequence[tuple[str, ...]]


def open_artifacts(run: Path) -> RunArtifacts:
    """Return the stages of a run folder; raise `ArtifactError` when it is none."""
    return RunArtifacts(read_run_recipe(run), run)


def draw_annotation_sheet(runs: Sequence[Path], num_items: int, seed: int) -> AnnotationSheet:
    """Return a sheet on ``num_items`` items that all runs have, in shuffled order, and on each item every run's answer,
    in shuffled order too.

    Title and picture are those of the first run, so that they tell nothing. Raises `CatalogError` when the runs have no
    item in common.
    """
    every = [open_artifacts(run) for run in runs]
    common = set(every[0].catalog.item_ids).intersection(*(parts.catalog.item_ids for parts in every[1:]))
    if not common:
        raise CatalogError(f"{' and '.join(map(str, runs))} have no item in common; take runs on the same data.")
    dice = np.random.default_rng(derive_seed(seed, "sheet"))
    chosen = dice.permutation(sorted(common))[:num_items].tolist()
    rows: list[tuple[str, ...]] = []
    key: list[tuple[str, ...]] = []
    for number, item_id in enumerate(chosen, 1):
        for place in dice.permutation(len(runs)).tolist():
            answer = str(len(rows) + 1)
            rows.append((answer, str(number), *_item_cells(every[0], item_id), *_answer_cells(every[place], item_id)))
            key.append((answer, str(runs[place]), item_id, *_writer_names(every[place])))
    return AnnotationSheet(rows, key)


def _item_cells(artifacts: RunArtifacts, item_id: str) -> tuple[str, str]:
    row = artifacts.catalog.find_row(item_id)
    item, path = artifacts.catalog[row], artifacts.catalog.image_file(row)
    return item.display_name, "" if path is None else item.image_url or str(path.absolute())


def _answer_cells(artifacts: RunArtifacts, item_id: str) -> tuple[str, str, str]:
    row = artifacts.catalog.find_row(item_id)
    interests = artifacts.interests[row]
    return artifacts.captions[row] or "", "; ".join(interests.tag_names), interests.lifestyle or ""


def _writer_names(artifacts: RunArtifacts) -> tuple[str, str]:
    captions, interests = artifacts.recipe.captions, artifacts.recipe.interests
    return f"{captions.generator} {captions.model}".strip(), f"{interests.generator} {interests.model}".strip()


def write_annotation_sheet(sheet: AnnotationSheet, out: Path) -> Path:
    """Write the sheet to ``out`` and its key beside it; return the key's path.

    What is there already is not touched: it may hold grades. Raises `ArtifactError` instead.
    """
    key = locate_key(out)
    for path in (out, key):
        if path.exists():
            raise ArtifactError(f"{path} is there already, perhaps with grades in it; name another file.")
    blank = ("",) * len(GRADE_COLUMNS)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(key, _format_csv(KEY_COLUMNS, sheet.key_rows))
    write_text_atomically(out, _format_csv((*SHOWN_COLUMNS, *GRADE_COLUMNS), ((*row, *blank) for row in sheet.rows)))
    return key


def locate_key(sheet: Path) -> Path:
    """Return where the key of a sheet lies."""
    return sheet.with_name(f"{sheet.stem}.key{sheet.suffix}")


def _format_csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    held = io.StringIO()
    held.write("\ufeff")  # without it a spreadsheet takes UTF-8 for something else
    writer = csv.writer(held)
    writer.writerow(header)
    writer.writerows([escape_formula(cell) for cell in row] for row in rows)
    return held.getvalue()


def escape_formula(cell: str) -> str:
    """Return text on one line that no spreadsheet takes for a formula: an apostrophe stands before what might be."""
    line = "".join(letter if letter.isprintable() else " " for letter in cell).strip()
    return f"'{line}" if line.startswith(FORMULA_PREFIXES) else line
