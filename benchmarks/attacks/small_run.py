"""A finished run, small enough to be made again many times, and the command line called in this process."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

TINY: dict[str, Any] = {
    "shop.num_items": 40,
    "shop.num_shoppers": 60,
    "sids.codebook_sizes": [8, 8, 8],
    "model.num_layers": 1,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "model.ffn_size": 64,
    "model.vocab_size": 600,
    "train.max_steps": 8,
    "train.batch_size": 16,
    "train.validate_every": 4,
    "train.validate_users": 20,
    "train.checkpoint_seconds": 0,
    "evaluate.systems": ["sasrec"],
    "sasrec.epochs": 1,
}
STAGES = ("shop", "catalog", "captions", "interests", "embeddings", "sasrec", "sids", "model", "evaluation")
NEW_ITEMS = "new.csv"
"""The items that are appended to the run, beside it."""
TOP = ("metrics.json", "sids.parquet", "recommendations.parquet")
"""Files at the top of a run that say nothing about time."""


@dataclass(frozen=True)
class Said:
    """What a command left: exit code, what it printed, what it said on stderr."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        return self.err.rpartition("Error: ")[2].strip()


class _Terminal(io.StringIO):
    """What takes itself for a terminal: there, nothing is stripped of what is said."""

    def isatty(self) -> bool:
        return True


def call(*words: str | Path, terminal: bool = False) -> Said:
    """Run ``trialigngr WORDS`` in this process, as the entry point does. What is a bug is raised."""
    from trialigngr.cli.main import main

    out, err = (_Terminal(), _Terminal()) if terminal else (io.StringIO(), io.StringIO())
    code, before = 0, sys.argv
    sys.argv = ["trialigngr", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Said(code, out.getvalue(), err.getvalue())


def run_words(run: Path, **changes: Any) -> list[str]:
    """Return the words that make the small run in a folder."""
    settings = TINY | {name.replace("__", "."): value for name, value in changes.items()}
    return [
        *("run", "trialigngr-demo", "--out", str(run)),
        *(word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")),
    ]


def make_run(run: Path) -> None:
    """Make the small run in a folder, with items appended to it and one withdrawn, if it is not there yet."""
    if run.exists():
        return
    making = run.with_name(f"{run.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    _succeed(*run_words(making))
    new = making.with_name(NEW_ITEMS)
    new.write_text("item_id,title\nnew1,A lamp of brass\nnew2,A bowl of oak\n", encoding="utf-8")
    _succeed("sids", "append", making, new)
    _succeed("sids", "remove", making, "new2")
    making.rename(run)


def _succeed(*words: str | Path) -> None:
    done = call(*words)
    assert done.code == 0, done.err


def copy_run(run: Path, to: Path) -> Path:
    """Return a fresh copy of a run."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(run, to))


def some_items(run: Path) -> list[str]:
    """Return the ids of three items of the run."""
    ids: list[str] = pl.read_parquet(run / "catalog" / "items.parquet")["item_id"].head(3).to_list()
    return ids


def read_stage(stage: Path) -> dict[str, Any]:
    """Return a stage's files by name; of what tells the time only the rest."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in stage.rglob("*") if path.is_file()):
        name = path.relative_to(stage).as_posix()
        if name == "manifest.json":
            body = json.loads(path.read_text("utf-8"))
            body["facts"].pop("seconds", None)
            body.pop("sha256", None)  # it seals the seconds too
            found[name] = body | {"files": None}  # of a file that tells the time the hash does too
        elif name == "metrics.jsonl":  # a loss is the mean since the last line, or since the run went on
            lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            found[name] = [(line["step"], line.get("valid")) for line in lines]
        else:
            found[name] = path.read_bytes()
    return found


def differing(run: Path, sound: Path, stages: tuple[str, ...] = STAGES) -> list[str]:
    """Return which stages and files at the top of a run are not those of a sound one."""
    found = [stage for stage in stages if read_stage(run / stage) != read_stage(sound / stage)]
    return found + [name for name in TOP if not (run / name).exists() or content(run / name) != content(sound / name)]


def content(path: Path) -> bytes:
    """Return a file's bytes, without the seconds that a stage took, and without the hash that seals them."""
    return re.sub(rb'"seconds": [0-9.]+|(?m:^  "sha256": "[0-9a-f]+")', b"", path.read_bytes())
