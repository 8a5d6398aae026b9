"""Runs of seconds: the settings that make them small, copies of one, and items to append to one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from trialigngr.runs.request import Recommendation

TINY = {
    "shop.num_items": 60,
    "shop.num_shoppers": 80,
    "sids.codebook_sizes": [8, 8, 8],
    "model.num_layers": 1,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "model.ffn_size": 64,
    "model.vocab_size": 600,
    "train.max_steps": 12,
    "train.batch_size": 32,
    "train.validate_every": 4,
    "train.validate_users": 20,
}
"""Settings under which the demo's recipe takes seconds."""


HISTORY = ["p0003", "p0017"]
"""What somebody took in the shop of a tiny run."""


def tiny(**changes: Any) -> list[str]:
    """Return the words that make a run tiny; ``train__max_steps=4`` changes one of them."""
    chosen = TINY | {name.replace("__", "."): value for name, value in changes.items()}
    return [word for name, value in chosen.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def tiny_pretrained(folder: Path, **more: Any) -> list[str]:
    """Return the words of a tiny run that begins with the model in ``folder``."""
    chosen = tiny(model__name_or_path=str(folder), **more)
    # TOML's inline tables, which JSON's are not.
    return [
        word.replace('": ', '" = ') if word.startswith(("model.lora", "tasks.curriculum")) else word for word in chosen
    ]


def linked(run: Path, to: Path) -> Path:
    """Return a copy of a run whose files are those of the run until they are written anew; its lock is its own."""
    return Path(shutil.copytree(run, to, copy_function=os.link, ignore=shutil.ignore_patterns(".lock")))


def new_items(run: Path, to: Path, count: int, **columns: Any) -> Path:
    """Write a folder of ``count`` new items, pictures included, that look like the shop's own."""
    own = pl.read_parquet(run / "shop" / "items.parquet")
    (to / "images").mkdir(parents=True)
    some = own.head(count)
    for path in some["image_path"]:
        shutil.copyfile(run / "shop" / path, to / path)
    named = some.with_columns(item_id="new_" + pl.col("item_id"), title=pl.lit("New ") + pl.col("title"), **columns)
    named.write_parquet(to / "items.parquet")
    return to


def ids(found: Sequence[Recommendation]) -> list[str]:
    return [item.item_id for item in found]


@contextmanager
def another_fingerprint(stage: Path) -> Iterator[None]:
    """Change the fingerprint in a stage's manifest for a while, as if it had been copied from another run."""
    from trialigngr.foundation.artifact import read_manifest, write_manifest

    before = (stage / "manifest.json").read_text("utf-8")
    write_manifest(stage, replace(read_manifest(stage), fingerprint="0" * 16))
    yield
    (stage / "manifest.json").write_text(before, "utf-8")
