"""Mutated tables, as data folders and through every importer: each is taken whole, or refused with file and line."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import polars as pl

from benchmarks.attacks.cases import Outcome, count_ends, try_cases
from benchmarks.attacks.small_run import Said, call
from benchmarks.attacks.table_files import odd_parquet, wrong_files
from benchmarks.attacks.table_forms import FORMS, Case, Form, Reading, make_tables
from benchmarks.attacks.table_lines import odd_lines
from benchmarks.attacks.table_values import case_of, odd_values
from benchmarks.harness import Check, at_least, below
from trialigngr.catalog.dataset import load_dataset

SECONDS = 60.0
GOOD = {"taken whole", "refused"}
WANTED = 200
UNTIL_THE_CATALOGUE = (
    *("--until", "catalog", "--set", "catalog.k_core=0", "--set", "catalog.item_scope=all"),
)  # fmt: skip


def measure(folder: Path) -> list[Check]:
    """Return how many tables were neither taken whole nor refused as they should be."""
    cases = {case.name: case for case in all_cases()}
    ends = count_ends("mutated tables", try_cases(meet, cases, folder / "tables.jsonl", SECONDS), GOOD)
    crashed = sum(ends[end] for end in ("traceback", "abort", "hang", "odd exit"))
    return [
        at_least("mutated tables", len(cases), WANTED),
        below("… tracebacks, aborts, hangs", crashed, 1),
        below("… taken with something lost or changed, silently", ends["silent"], 1),
        below("… refused without file and line", ends["vague"], 1),
        below("… refused though nothing is wrong with them", ends["refused, and right"], 1),
    ]


def all_cases() -> list[Case]:
    """Return every case of every form, in a fixed order."""
    found = [case for form in FORMS for case in (_sound(form), *odd_values(form), *odd_lines(form), *wrong_files(form))]
    return [*found, *odd_parquet()]


def _sound(form: Form) -> Case:
    return case_of(form, "sound", make_tables(), [make_tables()], form.items_file, lawful=True)


def meet(case: Case) -> Outcome:
    """Return what reading a case's files came to."""
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "data", Path(scratch) / "out"
        source.mkdir()
        for name, body in case.files.items():
            if body is not None:
                (source / name).write_bytes(body)
        if case.importer:
            done = call("import", case.importer, source, out)
        else:
            done = call("run", "trialigngr-light", "--data", source, "--out", out, *UNTIL_THE_CATALOGUE)
        if done.code:
            return _refused(case, done, scratch)
        if case.readings is None:
            return Outcome("taken whole", "whatever it says now")
        found = read_imported(out) if case.importer else read_prepared(out / "catalog")
        return Outcome("taken whole") if found in case.readings else Outcome("silent", differences(case, found))


def _refused(case: Case, done: Said, scratch: str) -> Outcome:
    said = done.error.replace(scratch, "")
    if done.code != 2 or not said or "\n" in said:
        return Outcome("odd exit", f"{done.code}: {done.err[-300:]}")
    if case.lawful:
        return Outcome("refused, and right", said)
    placed = not case.places or any(re.search(place, said) for place in case.places)
    named = any(name in said for name in case.file.split("|"))
    return Outcome("refused" if placed and named else "vague", said)


def read_prepared(folder: Path) -> Reading:
    """Return what the catalogue stage has made of a data folder."""
    dataset = load_dataset(folder)
    items = sorted((item.item_id, item.title, item.categories) for item in dataset.catalog)
    ids, own = dataset.catalog.item_ids, dataset.histories
    users = [(user, tuple(ids[row] for row in own.user_sequence(n))) for n, user in enumerate(own.user_ids)]
    return tuple(items), tuple(sorted(users))


def read_imported(folder: Path) -> Reading:
    """Return what an importer has written."""
    items = pl.read_parquet(folder / "items.parquet").select("item_id", "title", "categories")
    log = pl.read_parquet(folder / "interactions.parquet")
    order = "timestamp" if "timestamp" in log.columns else "position"
    taken = log.sort(order, maintain_order=True).group_by("user_id", maintain_order=True).agg("item_id")
    rows = [(item_id, (title or "").strip() or None, tuple(names or ())) for item_id, title, names in items.iter_rows()]
    return tuple(sorted(rows, key=str)), tuple(sorted(((user, tuple(own)) for user, own in taken.iter_rows()), key=str))


def differences(case: Case, found: Reading) -> str:
    """Return the first differences between what was found and what was written."""
    counts = f"{len(found[0])} items, {sum(len(own) for _, own in found[1])} interactions"
    if not case.readings:
        return f"taken, {counts}; it cannot be taken whole"
    wanted = case.readings[0]
    odd = [one for part, own in zip(found, wanted, strict=True) for one in part if one not in own]
    return f"{counts}; others than written: {ascii(odd[:2])[:300]}"
