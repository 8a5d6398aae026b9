"""Items and histories become views and examples: as the arrays of `trialigngr.tasks` and, beside them, as lists of
Python lists (`benchmarks/training/plain_examples.py`), each in a process of its own, the same batches from both.

The tokenizer is no part of it: texts are numbers here, and the ids that a tokenizer would make of them are looked up.
``TRIALIGNGR_BENCH_ITEMS=1000000 make bench NAME=views`` for a million items.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Check, at_least, below
from benchmarks.training.plain_examples import PlainExamples, encode_plain_sids, encode_plain_views
from trialigngr.catalog.histories import Histories
from trialigngr.catalog.items import ITEM_COLUMNS, Catalog
from trialigngr.foundation.memory import return_freed_memory
from trialigngr.sids.semantic_ids import SemanticIds, list_sid_tokens
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.item_views import encode_views
from trialigngr.tasks.settings import PromptSettings
from trialigngr.tasks.task import TASKS, View

ITEMS = int(os.environ.get("TRIALIGNGR_BENCH_ITEMS", "100000"))
SIZES = (1024, 1024, 1024, 256)
NUM_WORDS = 151_643
"""As Qwen2's vocabulary, so that a token takes four bytes."""
LIMITS = {View.TITLE: 32, View.VISUAL: 64}
DRAWN = ("title_to_sid", "sids_to_sid", "sids_to_title")
BATCH, BATCHES, ROUNDS = 64, 100, 5
Record = dict[str, Any]


class NumberedTexts:
    """Stands in for the chat template: text ``17`` has the ids of row 17, new objects at each call as a tokenizer's."""

    assistant_prefix, assistant_suffix = [1, 2, 3], [4]

    def __init__(self, random: np.random.Generator, texts: int) -> None:
        words = {token: NUM_WORDS + place for place, token in enumerate(list_sid_tokens(SIZES))}
        self.tokenizer = SimpleNamespace(get_vocab=lambda: words)
        self.offsets = np.concatenate([[0], np.cumsum(random.integers(5, 60, texts))])
        self.tokens = random.integers(300, NUM_WORDS, self.offsets[-1], dtype=np.int32)
        self.seconds = 0.0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts, and remember how long that took."""
        start = time.process_time()
        rows = np.array([int(text) if text.isdigit() else -1 for text in texts])
        spans = zip(self.offsets[rows].tolist(), self.offsets[rows + 1].tolist(), strict=True)
        found = [self.tokens[begin:end].tolist() for begin, end in spans]
        self.seconds += time.process_time() - start
        return found

    def build_header(self, system: str, instruction: str) -> list[int]:
        """Return as many ids as a header has."""
        return [7] * 30


class Side:
    """One side's world, drawn from a seed, and what it builds of it."""

    def __init__(self, plain: bool) -> None:
        random = np.random.default_rng(0)
        self.plain = plain
        self.chat: Any = NumberedTexts(random, ITEMS)
        texts = pl.Series([str(row) if row % 20 else None for row in range(ITEMS)], dtype=pl.String)
        columns = {name: pl.Series([None] * ITEMS, dtype=kind) for name, kind in ITEM_COLUMNS.items()}
        table = pl.DataFrame(columns | {"item_id": pl.Series(range(ITEMS)).cast(pl.String), "title": texts})
        self.catalog, self.captions = Catalog(table, Path()), [str(ITEMS - 1 - row) for row in range(ITEMS)]
        codes_NL = np.stack([random.integers(0, size, ITEMS) for size in SIZES], axis=1).astype(np.int32)
        self.sids = SemanticIds(self.catalog.item_ids, codes_NL, SIZES)
        # A few histories are cut into windows: one in thirty-five.
        lengths = 4 + random.geometric(0.2, ITEMS // 4)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        items = random.integers(0, ITEMS, offsets[-1])
        self.histories = Histories(
            [str(user) for user in range(len(lengths))], offsets, items, lengths - 2, lengths - 1
        )

    def encode_sids(self) -> Any:
        """Return the SIDs alone as token ids."""
        if self.plain:
            return encode_plain_sids(self.sids, self.chat)
        return self.encode_views((View.SID,))

    def encode_views(self, wanted: Sequence[View] = tuple(View)) -> Any:
        """Return the items in the views."""
        given = (self.catalog, self.sids, self.captions, self.chat, LIMITS)
        if self.plain:
            return encode_plain_views(*given)
        views = encode_views(*given)
        for view in wanted:
            views.token_ids[view]
        return views

    def open_task(self, name: str, views: Any) -> Any:
        """Return the examples of a task."""
        settings = PromptSettings()
        if self.plain:
            separators = {View.SID: [], View.TITLE: [9], View.VISUAL: [9]}
            return PlainExamples(TASKS[name], views, separators, self.histories, self.chat, settings)
        return TaskExamples(TASKS[name], views, self.histories, self.chat, settings)


def measure_side(side: Side) -> Record:
    """Return CPU seconds and bytes of each part, and what stands for all batches that were drawn."""
    record: Record = {"seconds": {}}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        outside, start = side.chat.seconds, time.process_time()
        made = work()
        seconds = time.process_time() - start - (side.chat.seconds - outside)
        record["seconds"][part] = min(seconds, record["seconds"].get(part, seconds))
        return made

    timed("SIDs", side.encode_sids)
    before = _held_bytes()
    views = timed("views", side.encode_views)
    record["item_bytes"] = (_held_bytes() - before) / ITEMS
    tasks = {name: side.open_task(name, views) for name in DRAWN}
    for name, task in tasks.items():
        timed(f"examples of {name}", partial(_draw, task, 1, 1))
    timed("what must not be written", partial(_draw, tasks["sids_to_sid"], 1, 1, with_negatives=True))
    record["interaction_bytes"] = _count_example_bytes(side, views) / len(side.histories.items)
    # Millions of lists make the collector slow, which is no matter of drawing.
    gc.freeze()
    drawn = sha256()
    for name, task in tasks.items():
        for _ in range(ROUNDS):
            timed(f"batches of {name}", partial(_draw, task, BATCHES, BATCH))
        drawn.update(repr(_draw(task, 20, BATCH, with_negatives=True)).encode())
    return record | {"batches": drawn.hexdigest()}


def _draw(task: Any, batches: int, size: int, **more: bool) -> list[Any]:
    return [task.draw_batch(0, number, size, **more) for number in range(batches)]


def _count_example_bytes(side: Side, views: Any) -> int:
    """Return what a history task's examples hold, an epoch's order with them: too little to be seen of a process."""
    tracemalloc.start()
    task = side.open_task("sids_to_title", views)
    _draw(task, 1, 1)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held


def _held_bytes() -> int:
    gc.collect()
    return_freed_memory()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure() -> list[Check]:
    """Return what items and interactions hold, and how much faster each part is built."""
    ours, plain = (_run_side(name) for name in ("arrays", "lists"))
    same = ours["batches"] == plain["batches"]
    beside = f"lists beside: {plain['item_bytes']:,.0f}", f"lists beside: {plain['interaction_bytes']:.1f}"
    checks = [
        Check("both draw the same batches", same, "yes", same),
        below(f"bytes an item, three views ({beside[0]})", ours["item_bytes"], 400),
        below(f"bytes an interaction, examples of a task ({beside[1]})", ours["interaction_bytes"], 3),
    ]
    for part, seconds in ours["seconds"].items():
        # What is left of views is done text by text on both sides: blanks, and a tokenizer's lists into one array. And
        # lists are copied faster than they are made, so batches of arrays are only not to be slower.
        goal = next((goal for word, goal in {"batches": 0.8, "views": 2}.items() if word in part), 5)
        checks.append(at_least(f"{part}: {seconds:.3g} s, times as fast", plain["seconds"][part] / seconds, goal))
    built = [sum(s for part, s in side["seconds"].items() if "batches" not in part) for side in (ours, plain)]
    return [*checks, at_least(f"all that is built: {built[0]:.3g} s, times as fast", built[1] / built[0], 5)]


def _run_side(name: str) -> Record:
    command = [sys.executable, "-m", "benchmarks.views", name]
    record: Record = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return record


if __name__ == "__main__":
    print(json.dumps(measure_side(Side(plain=sys.argv[1] == "lists"))))
