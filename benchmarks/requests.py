"""64 histories asked together (`Run.recommend_many`) beside one by one (`Run.recommend`), on the demo's model.

The model is of the demo's shape and trained for a few steps: what it has learned does not change what asking it costs.
``TRIALIGNGR_BENCH_RUN`` names a finished run to ask instead.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.harness import Check, at_least
from trialigngr.pipeline.execute import run
from trialigngr.runs.request import RecommendRequest
from trialigngr.runs.run import Run, load

REQUESTS, ROUNDS, GOAL = 64, 5, 4.0
QUICK = ["shop.num_items=300", "shop.num_shoppers=600", "train.max_steps=20", "evaluate.systems=[]"]


def measure() -> list[Check]:
    """Return users/s of both ways, and their ratio, the median of rounds in turn."""
    if given := os.environ.get("TRIALIGNGR_BENCH_RUN"):
        return _compare(load(given))
    with tempfile.TemporaryDirectory() as folder:
        return _compare(run("trialigngr-demo", None, Path(folder) / "run", changes=QUICK))


def _compare(asked: Run) -> list[Check]:
    histories = [asked.user_history(user) for user in asked.artifacts.histories.user_ids[:REQUESTS]]
    requests = [RecommendRequest(history) for history in histories]

    def ask_together() -> object:
        return asked.recommend_many(requests)

    def ask_alone() -> object:
        return [asked.recommend(history) for history in histories]

    took = {"together": list[float](), "alone": list[float]()}
    for number in range(ROUNDS + 1):
        for name, ask in (("together", ask_together), ("alone", ask_alone)):
            seconds = _time_call(ask)
            if number:  # the first round loads
                took[name].append(seconds)
    rates = {name: len(histories) / median(seconds) for name, seconds in took.items()}
    ratio = median(alone / together for together, alone in zip(took["together"], took["alone"], strict=True))
    return [
        at_least("one by one", rates["alone"], 0, "users/s"),
        at_least("together", rates["together"], 0, "users/s"),
        at_least("together / one by one", ratio, GOAL),
    ]


def _time_call(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
