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
from trialigngr.foundation.seeds import child
from trialigngr.recipes.written import read_run_recipe
from trialigngr.runs.artifacts import Parts

SHOWN = ("answer", "item", "title", "picture", "caption", "tags", "lifestyle")
GRADED = ("caption is true (1-5)", "caption is useful (1-5)", "tags fit (1-5)", "tags are specific (1-5)", "remarks")
KEY = ("answer", "run", "item_id", "captions by", "interests by")
STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a cell for a formula."""


@dataclass(frozen=True)
class Sheet:
    """The rows that are graded, and the rows that say what each of them is."""

    rows: Sequence[tuple[str, ...]]
    key: Sequence[tuple[str, ...]]


def open_parts(run: Path) -> Parts:
    """Return the stages of a run folder; raise `ArtifactError` when it is none."""
    return Parts(read_run_recipe(run), run)


def draw_sheet(runs: Sequence[Path], items: int, seed: int) -> Sheet:
    """Return a sheet on ``items`` items that all runs have, in shuffled order, and on each item every run's answer, in
    shuffled order too.

    Title and picture are those of the first run, so that they tell nothing. Raises `CatalogError` when the runs have no
    item in common.
    """
    every = [open_parts(run) for run in runs]
    common = set(every[0].catalog.ids).intersection(*(parts.catalog.ids for parts in every[1:]))
    if not common:
        raise CatalogError(f"{' and '.join(map(str, runs))} have no item in common; take runs on the same data.")
    dice = np.random.default_rng(child(seed, "sheet"))
    chosen = dice.permutation(sorted(common))[:items].tolist()
    rows: list[tuple[str, ...]] = []
    key: list[tuple[str, ...]] = []
    for number, item_id in enumerate(chosen, 1):
        for place in dice.permutation(len(runs)).tolist():
            answer = str(len(rows) + 1)
            rows.append((answer, str(number), *_item(every[0], item_id), *_answer(every[place], item_id)))
            key.append((answer, str(runs[place]), item_id, *_writers(every[place])))
    return Sheet(rows, key)


def _item(parts: Parts, item_id: str) -> tuple[str, str]:
    row = parts.catalog.row(item_id)
    item, path = parts.catalog[row], parts.catalog.picture(row)
    return item.name, "" if path is None else item.image_url or str(path.absolute())


def _answer(parts: Parts, item_id: str) -> tuple[str, str, str]:
    row = parts.catalog.row(item_id)
    interests = parts.interests[row]
    return parts.captions[row] or "", "; ".join(interests.names), interests.lifestyle or ""


def _writers(parts: Parts) -> tuple[str, str]:
    captions, interests = parts.recipe.captions, parts.recipe.interests
    return f"{captions.generator} {captions.model}".strip(), f"{interests.generator} {interests.model}".strip()


def write_sheet(sheet: Sheet, out: Path) -> Path:
    """Write the sheet to ``out`` and its key beside it; return the key's path.

    What is there already is not touched: it may hold grades. Raises `ArtifactError` instead.
    """
    key = key_of(out)
    for path in (out, key):
        if path.exists():
            raise ArtifactError(f"{path} is there already, perhaps with grades in it; name another file.")
    blank = ("",) * len(GRADED)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(key, _csv(KEY, sheet.key))
    write_text_atomically(out, _csv((*SHOWN, *GRADED), ((*row, *blank) for row in sheet.rows)))
    return key


def key_of(sheet: Path) -> Path:
    """Return where the key of a sheet lies."""
    return sheet.with_name(f"{sheet.stem}.key{sheet.suffix}")


def _csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    held = io.StringIO()
    held.write("\ufeff")  # without it a spreadsheet takes UTF-8 for something else
    writer = csv.writer(held)
    writer.writerow(head)
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return held.getvalue()


def harmless(cell: str) -> str:
    """Return text on one line that no spreadsheet takes for a formula: an apostrophe stands before what might be."""
    line = "".join(letter if letter.isprintable() else " " for letter in cell).strip()
    return f"'{line}" if line.startswith(STARTS) else line
