"""Chunks of rows: in order, and none is worked on again that is whole on the disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from trialigngr.foundation.chunks import make_json_store, map_chunks, split_rows
from trialigngr.foundation.executor import LOCAL_EXECUTION

ROWS = 7


def squares(folder: Path, worked_on: list[range], chunk_size: int = 3, lives: int = 9) -> list[int]:
    """Return the squares of the rows; which chunks were worked on is told, and the work dies after so many."""

    def square(rows: range) -> list[int]:
        if len(worked_on) == lives:
            raise KeyboardInterrupt
        worked_on.append(rows)
        return [row**2 for row in rows]

    start: Callable[[], Callable[[range], list[int]]] = partial(lambda function: function, square)
    chunks = split_rows(ROWS, chunk_size)
    results = map_chunks(start, chunks, lambda rows: rows, make_json_store(folder, int), LOCAL_EXECUTION, "Squaring")
    return [number for chunk in results for number in chunk]


def test_what_is_finished_is_not_worked_on_again(tmp_path: Path) -> None:
    worked_on: list[range] = []
    with pytest.raises(KeyboardInterrupt):
        squares(tmp_path, worked_on, lives=2)
    assert squares(tmp_path, worked_on) == [row**2 for row in range(ROWS)]
    assert worked_on == split_rows(ROWS, 3)
    assert squares(tmp_path, worked_on) == [row**2 for row in range(ROWS)]
    assert len(worked_on) == 3


@pytest.mark.parametrize("damage", [b"", b"{", b'{"rows": [1, 2, 3]}', b"\xff"])
def test_a_damaged_chunk_is_made_again(tmp_path: Path, damage: bytes) -> None:
    worked_on: list[range] = []
    whole = squares(tmp_path, worked_on)
    first = sorted(tmp_path.iterdir())[0]
    content = first.read_bytes()
    first.write_bytes(damage)
    assert squares(tmp_path, worked_on) == whole
    assert worked_on == [*split_rows(ROWS, 3), range(3)]
    assert first.read_bytes() == content


def test_chunks_of_another_size_are_not_taken(tmp_path: Path) -> None:
    worked_on: list[range] = []
    assert squares(tmp_path, worked_on, 3) == squares(tmp_path, worked_on, 4)
    assert worked_on == [*split_rows(ROWS, 3), *split_rows(ROWS, 4)]
