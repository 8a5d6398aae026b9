"""The tutorial is followed: its data block makes two CSV files, and its commands, in order, end in lists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.support.commands import Done

FEWER_STEPS = ("--set", "train.max_steps=4", "--set", "train.batch_size=32", "--set", "train.validate_users=20")
BLOCK = re.compile(r"^```(sh|python test)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_tutorial_data(page: str) -> None:
    """Run the page's Python block, which writes ``mydata`` into the current folder."""
    (code,) = (text for kind, text in BLOCK.findall(page) if kind == "python test")
    exec(compile(code, "tutorial", "exec"), {"__name__": "__main__"})


def list_commands(page: str) -> list[list[str]]:
    """Return the words of the page's ``trialigngr`` lines, but that which serves until it is stopped."""
    lines = [line for kind, text in BLOCK.findall(page) if kind == "sh" for line in text.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("trialigngr ")]
    return [line[1:] for line in words if line[1] != "serve"]


@pytest.mark.long
def test_the_tutorial_ends_in_lists(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Done]
) -> None:
    page = (root / "docs/tutorial.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    write_tutorial_data(page)
    said = []
    for words in list_commands(page):
        done = cli(*words, *(FEWER_STEPS if words[0] in ("plan", "run") else ()))
        assert done.code == 0, (words, done.err)
        said.append(words[0])
    assert said == ["plan", "run", "recommend", "recommend", "recommend"]
    assert pl.read_parquet("recs.parquet").get_column("user_id").n_unique() > 500
    assert Path("runs/mine/report.html").is_file()
