"""A file that is missing is named, whoever says that it is."""

from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest

from trialigngr.cli.main import _describe_system_error


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    with pytest.raises(FileNotFoundError) as ours:
        path.read_bytes()
    with pytest.raises(FileNotFoundError) as theirs:
        pl.read_parquet(path)
    for caught in (ours, theirs):
        assert _describe_system_error(caught.value, errno.ENOENT) == f"No such file or directory: {path}."
