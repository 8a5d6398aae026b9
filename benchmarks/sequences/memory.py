"""Peak memory of SASRec with a sampled softmax on catalogues of many items, each in a process of its own:
``python -m benchmarks.sequences.memory WORK ITEMS``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Check, below, peak_memory
from trialigngr.catalog.histories import Histories, Targets
from trialigngr.evaluate.system import ScorerSystem
from trialigngr.sequential.network import DataSizes, NetworkScorer, NextItemNetwork
from trialigngr.sequential.sasrec import SasRec
from trialigngr.sequential.settings import SasRecSettings
from trialigngr.sequential.training import TrainingData, train_network

SIZES = (10_000, 100_000, 1_000_000)
USERS, LENGTH, RANKED_USERS, BATCH = 1024, 20, 300, 256
SETTINGS = SasRecSettings(loss="sampled_softmax", epochs=1, batch_size=BATCH)
TRAINED_COPIES, RANKED_COPIES = 6, 1
"""Of the table of items: in training the weights, their gradients, AdamW's two averages, and copies of a checkpoint."""


def draw_histories(num_items: int) -> Histories:
    """Return histories of random items."""
    items = np.random.default_rng(0).integers(0, num_items, USERS * LENGTH)
    offsets = np.arange(USERS + 1) * LENGTH
    lengths = np.full(USERS, LENGTH)
    return Histories([str(user) for user in range(USERS)], offsets, items, lengths - 2, lengths - 1)


def train_steps(num_items: int) -> None:
    """Train for four steps, and validate on a few users."""
    log = draw_histories(num_items)
    few = log.list_targets("valid")
    data = TrainingData(log, num_items, Targets(few.users[:50], few.positions[:50]))
    with tempfile.TemporaryDirectory() as folder:
        train_network("sasrec", SasRec, SETTINGS, data, 0, Path(folder), "cpu")


def rank_users(num_items: int) -> None:
    """Find the best ten items of some users, and where their targets stand."""
    log = draw_histories(num_items)
    every = log.list_targets("test")
    few = Targets(every.users[:RANKED_USERS], every.positions[:RANKED_USERS])
    network: NextItemNetwork[Any] = SasRec(SETTINGS, DataSizes(num_items))
    system = ScorerSystem(NetworkScorer("sasrec", network, "cpu"))
    system.rank_targets(log.build_queries(few), log.target_items(few), 10)


def do_nothing(_num_items: int) -> None:
    """Do what all others do too: import."""


WORKS: dict[str, Callable[[int], None]] = {"train": train_steps, "rank": rank_users, "nothing": do_nothing}


def measure_memory() -> list[Check]:
    """Return what training and ranking take above an interpreter that imported all, beside what one array of the scores
    of a batch would take, and how they grow with the catalogue."""
    words = [sys.executable, "-m", "benchmarks.sequences.memory"]
    nothing = peak_memory([*words, "nothing", "0"])
    checks = []
    for work, copies in (("train", TRAINED_COPIES), ("rank", RANKED_COPIES)):
        peaks = [peak_memory([*words, work, str(size)]) - nothing for size in SIZES]
        print(work, {f"{size:,} items": f"{peak / 1e6:,.0f} MB" for size, peak in zip(SIZES, peaks, strict=True)})
        table, dense = 4 * SETTINGS.hidden_size * SIZES[-1], 4 * BATCH * SIZES[-1]
        what = f"{work}, {SIZES[-1]:,} items: memory beyond {copies} tables of items, of a dense [{BATCH}, N]"
        checks.append(below(what, (peaks[-1] - copies * table) / dense, 1))
        growth = (peaks[-1] - peaks[-2]) / (SIZES[-1] - SIZES[-2])
        checks.append(below(f"{work}: bytes an item more", growth, (copies + 1) * 4 * SETTINGS.hidden_size))
    return checks


if __name__ == "__main__":
    WORKS[sys.argv[1]](int(sys.argv[2]))
