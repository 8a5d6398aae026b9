"""Mine interests from a `chat` server, in processes that can be killed."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.servers.chat import MODEL
from trialigngr.catalog.items import ITEM_COLUMNS, Catalog
from trialigngr.enrich.interests import load_interests
from trialigngr.enrich.mining import write_interests
from trialigngr.enrich.settings import CallSettings, InterestSettings
from trialigngr.llm.settings import BackendSettings, ServerSettings

SETTINGS = InterestSettings(generator="openai", model=MODEL)


def titled(items: int) -> Catalog:
    """Return a catalogue of items that are known by their number."""
    ids = pl.Series("item_id", range(items)).cast(pl.String)
    others = [pl.lit(None, kind).alias(name) for name, kind in ITEM_COLUMNS.items() if name not in ("item_id", "title")]
    table = ids.to_frame().with_columns(pl.concat_str(pl.lit("item "), ids).alias("title"), *others)
    return Catalog(table.select(*ITEM_COLUMNS), Path("none"))


def make_calls(url: str, max_runs: int = 3, max_consecutive_failures: int = 100, **server: Any) -> CallSettings:
    """Return calls to one server for captions and interests."""
    backend = BackendSettings(openai=ServerSettings(base_url=url, **server))
    return CallSettings(
        captions=backend, interests=backend, max_runs=max_runs, max_consecutive_failures=max_consecutive_failures
    )


def mine(folder: Path, items: int, calls: CallSettings) -> dict[str, Any]:
    """Mine the interests of so many items into ``folder``; return the facts."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_interests(SETTINGS, titled(items), [None] * items, folder, [], calls, folder / "responses.sqlite")


def right(folder: Path, items: int) -> bool:
    """Say whether every item has the answer about itself."""
    said = [(one.tag_names, one.lifestyle) for one in load_interests(folder)]
    return said == [([f"item {n} collector", f"item {n} restorer"], f"item {n} life") for n in range(items)]


def in_a_process(folder: Path, items: int, calls: CallSettings) -> Any:
    """Start `mine` in a process of its own (a fork of a clean one that has loaded all it needs) and return that."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.servers.mining", "openai", "trialigngr.llm.openai_generator"])
    process = context.Process(target=mine, args=(folder, items, calls))
    process.start()
    return process


def settled(folder: Path) -> set[bytes]:
    """Return the keys that a ledger counts as done."""
    if not (folder / "responses.sqlite").exists():
        return set()
    with closing(sqlite3.connect(folder / "responses.sqlite", timeout=30)) as base:
        try:
            return {key for (key,) in base.execute("SELECT key FROM responses WHERE state = 'done'")}
        except sqlite3.OperationalError:  # killed before its tables were made
            return set()


def killed(kills: int, folder: Path, items: int, calls: CallSettings, seed: int = 0) -> int:
    """Run `mine` with so many kills at random places and once to its end; return how many counted results were lost."""
    draw, lost = random.Random(seed), 0
    marks = sorted(draw.sample(range(1, items), kills))
    counted: set[bytes] = set()
    for mark in marks:
        process = in_a_process(folder, items, calls)
        while len(settled(folder)) < mark and process.is_alive():
            time.sleep(0.01)
        process.kill()
        process.join()
        lost += len(counted - settled(folder))
        counted = settled(folder)
    process = in_a_process(folder, items, calls)
    process.join()
    assert process.exitcode == 0, f"the last run ended with {process.exitcode}"
    return lost + len(counted - settled(folder))


if __name__ == "__main__":
    mine(Path(sys.argv[1]), int(sys.argv[2]), make_calls(sys.argv[3], max_concurrency=64))
