from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.enrich.journal import Journal


def numbered(rows: range) -> list[dict[str, Any]]:
    return [{"row": row, "text": f"é {row}"} for row in rows]


def test_a_killed_run_goes_on_and_ends_as_unbroken(tmp_path: Path) -> None:
    made: list[int] = []

    def dies_at_ten(rows: range) -> list[dict[str, Any]]:
        if rows.start >= 8:
            raise KeyboardInterrupt
        return numbered(rows)

    def remembers(rows: range) -> list[dict[str, Any]]:
        made.extend(rows)
        return numbered(rows)

    with pytest.raises(KeyboardInterrupt):
        Journal(tmp_path / "j.jsonl", 4).complete(19, "test", dies_at_ten)
    rows = Journal(tmp_path / "j.jsonl", 4).complete(19, "test", remembers)
    assert rows == numbered(range(19))
    assert made == list(range(8, 19))


@given(cut=st.integers(0, 200))
def test_wherever_the_file_was_cut(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    Journal(path, 4).append(numbered(range(6)))
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole))])
    assert Journal(path, 4).complete(6, "test", numbered) == numbered(range(6))
    assert path.read_bytes() == whole


def test_an_unfinished_chunk_is_made_again_as_a_whole(tmp_path: Path) -> None:
    Journal(tmp_path / "j.jsonl", 4).append(numbered(range(5)))
    starts: list[range] = []

    def make(rows: range) -> list[dict[str, Any]]:
        starts.append(rows)
        return numbered(rows)

    Journal(tmp_path / "j.jsonl", 4).complete(11, "test", make)
    assert starts == [range(4, 8), range(8, 11)]
