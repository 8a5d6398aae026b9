"""`map_chunks`: a function over chunks of rows, each on the disk when it is finished, so that a killed stage goes on
where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from trialigngr.foundation.console import show_progress
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.executor import FunctionFactory, RaySettings, make_executor
from trialigngr.foundation.sealed import read_json, write_json

Batch = TypeVar("Batch")
Result = TypeVar("Result")
Row = TypeVar("Row")


@dataclass(frozen=True)
class ChunkStore(Generic[Result]):
    """Results of chunks of rows in ``folder``, one file each.

    ``save`` writes a file whole or not at all, and ``load`` returns what was saved, or None for a file that is missing
    or is not as it was written.
    """

    folder: Path
    suffix: str
    save: Callable[[Path, Result], None]
    load: Callable[[Path], Result | None]

    def file_of(self, rows: range) -> Path:
        """Return the file of a chunk; chunks of another size have other files."""
        return self.folder / f"{rows.start:010d}-{rows.stop:010d}{self.suffix}"

    def remove(self) -> None:
        """Delete all chunks: the stage has written what they were for."""
        shutil.rmtree(self.folder, ignore_errors=True)


def make_json_store(folder: Path, parse_row: Callable[[Any], Row]) -> ChunkStore[list[Row]]:
    """Return a store of lists of rows that JSON can hold; ``parse_row`` makes a row of what JSON gives back."""

    def save(path: Path, rows: list[Row]) -> None:
        write_json(path, {"rows": rows}, indent=None)

    def load(path: Path) -> list[Row] | None:
        try:
            return [parse_row(row) for row in read_json(path, "")["rows"]]
        except ArtifactError:
            return None

    return ChunkStore(folder, ".json", save, load)


def iter_batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Yield rows ``size`` at a time; the next are drawn when they are asked for."""
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def split_rows(num_rows: int, chunk_size: int) -> list[range]:
    """Return the chunks of so many rows, in order."""
    return [range(start, min(start + chunk_size, num_rows)) for start in range(0, num_rows, chunk_size)]


def map_chunks(
    make_function: FunctionFactory[Batch, Result],
    chunks: list[range],
    make_batch: Callable[[range], Batch],
    store: ChunkStore[Result],
    ray: RaySettings,
    description: str,
) -> Iterator[Result]:
    """Yield the result of every chunk in order, read back from the disk.

    The function that ``make_function`` gives is called with the ``make_batch`` of each chunk that is not stored yet, in
    this process or by workers on Ray.
    """
    todo = [rows for rows in chunks if store.load(store.file_of(rows)) is None]
    if todo:
        store.folder.mkdir(parents=True, exist_ok=True)
        num_rows, num_todo = sum(map(len, chunks)), sum(map(len, todo))
        with (
            show_progress(description, num_rows, completed=num_rows - num_todo) as advance,
            closing(make_executor(make_function, ray)) as executor,
        ):
            for place, result in executor.map(map(make_batch, todo)):
                store.save(store.file_of(todo[place]), result)
                advance(len(todo[place]))
    for rows in chunks:
        stored = store.load(store.file_of(rows))
        if stored is None:
            raise ArtifactError(f"{store.file_of(rows)} is damaged: it is not as it was written; run again.")
        yield stored
