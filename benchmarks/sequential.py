"""A second opinion on our networks: RecTools trains the same ones on the same training parts, with the same sizes and
passes, and our code computes HR@10 and NDCG@10 from the lists of both. And what a catalogue of a million items takes.

RecTools stands in an environment of its own, whose Python ``TRIALIGNGR_BENCH_RECTOOLS`` names.
``TRIALIGNGR_BENCH_EPOCHS`` says how many passes are made, ``TRIALIGNGR_BENCH_NETWORKS`` which networks are compared,
``TRIALIGNGR_BENCH_DATA`` on which data folder (Amazon Beauty). Ours keeps the best of its passes on validation, theirs
the last. Seconds are those of the whole training, our validations with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Check, at_least, below
from benchmarks.sequences.memory import measure_memory
from benchmarks.tokenizers.data import SHARED
from trialigngr.catalog.histories import Targets
from trialigngr.catalog.queries import Rows
from trialigngr.evaluate.system import ScorerSystem
from trialigngr.metrics.ranks import NOT_LISTED, Ranks, hit_rate, ndcg
from trialigngr.pipeline.stages import build_stages
from trialigngr.recipes.recipe import read_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.sequential.bert4rec import Bert4Rec
from trialigngr.sequential.hstu import Hstu
from trialigngr.sequential.network import NetworkScorer, NextItemNetwork
from trialigngr.sequential.sasrec import SasRec
from trialigngr.sequential.settings import Bert4RecSettings, HstuSettings, SasRecSettings, TransformerSettings
from trialigngr.sequential.training import TrainingData, train_network
from trialigngr.systems.registry import SYSTEMS

SIDE = Path(__file__).parent / "sequences" / "rectools_side.py"
DATA = Path(os.environ.get("TRIALIGNGR_BENCH_DATA", SHARED / "amazon_beauty"))
EPOCHS = int(os.environ.get("TRIALIGNGR_BENCH_EPOCHS", "30"))
K = 10
NETWORKS: dict[str, tuple[type[NextItemNetwork[Any]], type[TransformerSettings]]] = {
    "sasrec": (SasRec, SasRecSettings), "bert4rec": (Bert4Rec, Bert4RecSettings), "hstu": (Hstu, HstuSettings)
}  # fmt: skip
CHOSEN = os.environ.get("TRIALIGNGR_BENCH_NETWORKS", " ".join(NETWORKS)).split()
LIKE_THEIRS: dict[str, Any] = {"loss": "full_softmax", "temperature": 0.0, "ema_decay": 0.0}
"""Ours without what theirs is not asked for: negatives that are sampled, cosines, an average of the weights."""
NEAR = 0.95
"""Of their figure: two seeds of one network differ by as much."""


def measure() -> list[Check]:
    """Return both sides' figures, the ratio of their seconds, and memory."""
    python = os.environ.get("TRIALIGNGR_BENCH_RECTOOLS")
    if python is None:
        print(
            "RecTools' side is left out; for it: python3 -m venv DIR && DIR/bin/pip install 'rectools[torch]', and "
            "TRIALIGNGR_BENCH_RECTOOLS=DIR/bin/python."
        )
        return measure_memory()
    with tempfile.TemporaryDirectory() as folder:
        data = _read_data(Path(folder))
        checks = [check for name in CHOSEN for check in _compare(name, data, python, Path(folder))]
    return [*checks, *measure_memory()]


def _read_data(folder: Path) -> TrainingData:
    """Return the split of a run, without times, which theirs would have of the target, too; write it for their side."""
    recipe = read_recipe("trialigngr-small")
    catalog = next(stage for stage in build_stages(recipe, DATA, folder / "run", 0) if stage.name == "catalog")
    catalog.make_if_stale()
    parts = RunArtifacts(recipe, folder / "run")
    log = replace(parts.histories, times=None)
    test = log.list_targets("test")
    _write_log(log.train_sequences(), np.arange(len(log)), folder / "training.csv")
    _write_log(log.build_queries(test).items, test.users, folder / "histories.csv")
    return TrainingData(log, len(parts.catalog), parts.sample_targets("valid", SasRecSettings().validate_users))


def _write_log(histories: Any, users: Rows, path: Path) -> None:
    items = list(histories)
    lengths = [len(rows) for rows in items]
    places = np.concatenate([np.arange(length) for length in lengths])
    columns = {"user": np.repeat(users, lengths), "item": np.concatenate(items), "place": places}
    pl.DataFrame(columns).write_csv(path)


def _compare(name: str, data: TrainingData, python: str, folder: Path) -> list[Check]:
    """Return one network's figures of both."""
    settings = NETWORKS[name][1](epochs=EPOCHS, patience=EPOCHS, **LIKE_THEIRS)
    (folder / "sizes.json").write_text(settings.model_dump_json(), encoding="utf-8")
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    subprocess.run([python, str(SIDE), str(folder), name], check=True, stdout=subprocess.DEVNULL, env=quiet)
    their_seconds = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["seconds"]
    test = data.histories.list_targets("test")
    their_lists = _read_lists(folder / f"{name}.csv", test)
    our_lists, our_seconds = _train_and_rank(name, settings, data, test, folder / name)
    label, checks = SYSTEMS[name].label, list[Check]()
    for metric, compute in (("HR", hit_rate), ("NDCG", ndcg)):
        ours, theirs = (
            float(compute(_rank_in_lists(lists, data.histories.target_items(test)), K).mean())
            for lists in (our_lists, their_lists)
        )
        checks.append(at_least(f"{label}: {metric}@{K}, RecTools' {theirs:.4f}", ours, NEAR * theirs))
    said = f"{our_seconds / EPOCHS:.1f} and {their_seconds / EPOCHS:.1f}"
    return [*checks, below(f"{label}: seconds a pass, of RecTools' ({said})", our_seconds / their_seconds, 1)]


def _train_and_rank(
    name: str, settings: TransformerSettings, data: TrainingData, test: Targets, folder: Path
) -> tuple[Rows, float]:
    """Return our lists [M, 10] and the seconds of the training."""
    folder.mkdir()
    started = time.perf_counter()
    train_network(name, NETWORKS[name][0], settings, data, 0, folder)
    seconds = time.perf_counter() - started
    scorer = NetworkScorer.load(name, *NETWORKS[name], folder, data.num_items, "auto")
    return ScorerSystem(scorer).rank(data.histories.build_queries(test), K).rows_BK, seconds


def _read_lists(path: Path, test: Targets) -> Rows:
    """Return their lists [M, 10], −1 where there is nothing."""
    table = pl.read_csv(path)
    lines = np.full(int(test.users.max()) + 1, -1)
    lines[test.users] = np.arange(len(test))
    lists_MK = np.full((len(test), K), -1)
    lists_MK[lines[table["user"].to_numpy()], table["place"].to_numpy() - 1] = table["item"].to_numpy()
    return lists_MK


def _rank_in_lists(lists_MK: Rows, targets_M: Rows) -> Ranks:
    """Return where targets stand in lists."""
    hits_MK = lists_MK == targets_M[:, None]
    ahead_M = np.where(hits_MK.any(1), hits_MK.argmax(1), NOT_LISTED)
    return Ranks(ahead_M, np.ones_like(ahead_M))
