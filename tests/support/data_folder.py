"""A small data folder that is good, for tests to spoil, and the one sentence that a refusal is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tests.support.commands import Done

Cli = Callable[..., Done]
Row = dict[str, Any]


def items(n: int = 6) -> list[Row]:
    return [{"item_id": f"i{number}", "title": f"Item {number}", "image_path": None} for number in range(n)]


def log(n: int = 6, users: int = 6) -> list[Row]:
    return [
        {"user_id": f"u{user}", "item_id": f"i{(user + step) % n}", "timestamp": 10 * step + user}
        for user in range(users)
        for step in range(n)
    ]


def write(root: Path, the_items: list[Row], the_log: list[Row]) -> Path:
    root.mkdir(exist_ok=True)
    pl.DataFrame(the_items, infer_schema_length=None, schema_overrides={"image_path": pl.String}).write_parquet(
        root / "items.parquet"
    )
    pl.DataFrame(the_log, infer_schema_length=None).write_parquet(root / "interactions.parquet")
    return root


class Shop:
    """A data folder and a run folder beside each other, and the command that makes one from the other."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.data, self.out = cli, folder / "data", folder / "run"

    def run(self, *words: str | Path, until: str = "catalog") -> Done:
        return self.cli("run", "trialigngr-demo", "--data", self.data, "--out", self.out, "--until", until, *words)

    def refused(self, *words: str | Path, until: str = "catalog") -> str:
        """Run, expect a refusal that leaves nothing behind, and return the sentence."""
        done = self.run(*words, until=until)
        sentence = the_sentence(done)
        assert not (self.out / until).exists()
        assert not (self.out / "metrics.json").exists()
        return sentence

    def facts(self, stage: str = "catalog") -> dict[str, Any]:
        return dict(json.loads((self.out / stage / "manifest.json").read_text("utf-8"))["facts"])


def the_sentence(done: Done) -> str:
    """Return what follows ``Error:``, the last and only line of its kind."""
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    complaints = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert len(complaints) == 1
    assert done.err.endswith(complaints[0] + "\n")
    assert complaints[0].endswith((".", "?"))
    return complaints[0]
