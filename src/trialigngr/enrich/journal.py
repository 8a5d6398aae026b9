"""`Journal`: finished rows on disk, appended in chunks, so that a killed stage pays for none of them again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trialigngr.foundation.console import progress

Row = dict[str, Any]


class Journal:
    """One JSON object a line, in row order. A line that a kill cut short is dropped when the journal is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            row = _parse(line)
            if row is None:
                break
            self.rows.append(row)
            whole += len(line)
        if path.exists():
            os.truncate(path, whole)

    def append(self, rows: Sequence[Row]) -> None:
        """Make the rows durable."""
        with self.path.open("ab") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(rows)

    def complete(self, total: int, chunk: int, what: str, make: Callable[[range], list[Row]]) -> list[Row]:
        """Return all ``total`` rows, making what is missing by ``make(rows)`` in chunks of at most ``chunk``."""
        with progress(what, total, done=len(self.rows)) as advance:
            for numbers in _chunks(len(self.rows), total, chunk):
                self.append(make(numbers))
                advance(len(numbers))
        return self.rows

    def remove(self) -> None:
        """Delete the file: the stage has written what it is for."""
        self.path.unlink(missing_ok=True)


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _chunks(first: int, total: int, chunk: int) -> Iterator[range]:
    # Boundaries are multiples of the chunk wherever an earlier run stopped, so batches are the same as unbroken.
    while first < total:
        last = min(total, (first // chunk + 1) * chunk)
        yield range(first, last)
        first = last
