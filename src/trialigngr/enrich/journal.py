"""`Journal`: finished rows on disk, appended in chunks, so that a killed stage pays for none of them again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from trialigngr.foundation.console import progress

Row = dict[str, Any]


class Journal:
    """One JSON object a line, in row order, written a chunk at a time.

    What a kill left of an unfinished chunk is dropped when the journal is opened: a chunk is made whole or not at all,
    so its items keep the company they have in an unbroken run, and with it the last bits of their numbers.
    """

    def __init__(self, path: Path, chunk: int) -> None:
        self.path, self.chunk = path, chunk
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        rows = list(takewhile(lambda row: row is not None, map(_parse, lines)))
        self.rows: list[Row] = [row for row in rows if row is not None][: len(rows) // chunk * chunk]
        if path.exists():
            os.truncate(path, sum(map(len, lines[: len(self.rows)])))

    def append(self, rows: Sequence[Row]) -> None:
        """Make the rows durable."""
        with self.path.open("ab") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(rows)

    def complete(self, total: int, what: str, make: Callable[[range], list[Row]]) -> list[Row]:
        """Return all ``total`` rows, making what is missing by ``make(rows)``, chunk by chunk."""
        with progress(what, total, done=len(self.rows)) as advance:
            for first in range(len(self.rows), total, self.chunk):
                numbers = range(first, min(first + self.chunk, total))
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
