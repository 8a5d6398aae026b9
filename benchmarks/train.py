"""Training: examples/s, peak memory and loss beside Hugging Face's `Trainer`, and what each part of the step gives.

Beauty (from ``../shared/data`` or ``$TRIALIGNGR_SHARED_DATA``; else the drawn shop), T1 to T6, a 4 × 256 backbone,
batches of 64, bf16 on both sides. Each side runs twice, in turn, and its better run counts; so it takes longer, on two
quiet cores about a quarter of an hour (reckoned). ``$TRIALIGNGR_BENCH_STEPS`` and
``$TRIALIGNGR_BENCH_BATCH`` make it smaller.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.harness import Check, at_least, below, peak_memory
from benchmarks.training import contributions
from benchmarks.training.world import BATCH, make

STEPS = int(os.environ.get("TRIALIGNGR_BENCH_STEPS", "24"))
"""A multiple of six has every task equally often."""
ROUNDS = 2


def measure() -> list[Check]:
    """Return all checks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make(folder)
        # In turn, so that a drift of the machine does not fall on one side.
        sides = [(side, *_run(side, folder)) for side in ("ours", "grouped", "same") * ROUNDS]
        rates, apart = contributions.measure(folder, ROUNDS)
    return _against(data, sides) + _apart(rates, apart)


def _run(side: str, folder: Path) -> tuple[int, dict[str, Any]]:
    """Return peak memory (interpreter, libraries and data included) and record of a side."""
    peak = peak_memory([sys.executable, "-m", "benchmarks.training.sides", side, str(folder), str(STEPS)])
    record: dict[str, Any] = json.loads((folder / f"{side}.json").read_text(encoding="utf-8"))
    return peak, record


def _against(data: str, sides: list[tuple[str, int, dict[str, Any]]]) -> list[Check]:
    speed: dict[str, float] = {}
    memory: dict[str, int] = {}
    for side, peak, record in sides:
        # The first steps warm caches. A batch takes what its task asks for, so all the others count.
        taken = record["seconds"][2:]
        speed[side] = max(speed.get(side, 0), BATCH * len(taken) / sum(taken))
        memory[side] = min(memory.get(side, peak), peak)
        print(f"{data}, {side}: {speed[side]:.0f} examples/s, median step {median(taken):.2f} s, {peak / 1e6:.0f} MB")
    losses = {side: record["loss"] for side, _, record in sides}
    gaps = [abs(a - b) for a, b in zip(losses["ours"], losses["same"], strict=True)]
    fastest = max(speed["same"], speed["grouped"])
    print(
        f"loss, ours: {mean(losses['ours'][:6]):.3f} to {mean(losses['ours'][-6:]):.3f}; "
        f"theirs: {mean(losses['same'][:6]):.3f} to {mean(losses['same'][-6:]):.3f}"
    )
    return [
        at_least(f"{data}: examples/s, times Hugging Face's faster way", speed["ours"] / fastest, 6, "times"),
        below(
            f"{data}: peak memory, share of Hugging Face's leaner way",
            memory["ours"] / min(memory["same"], memory["grouped"]),
            0.5,
        ),
        below("same batches: largest difference of a step's loss", max(gaps), 0.05),
        below("same batches: mean difference of a step's loss", mean(gaps), 0.01),
    ]


def _apart(rates: dict[str, float], apart: float) -> list[Check]:
    checks, before = [], None
    for name, rate in rates.items():
        if before is not None:
            checks.append(at_least(f"{name} ({rate:.0f} examples/s)", rate / before, 1, "times"))
        before = rate
    return [*checks, below("largest difference of a batch's loss between two of them", apart, 0.05)]
