"""Training of an encoder–decoder generator: examples/s beside Hugging Face's `Trainer` with its length grouping.

TIGER's T5 on Beauty (from ``../shared/data`` or ``$TRIALIGNGR_SHARED_DATA``; else the drawn shop), batches of 256, fp32
on both sides, the same examples in all. The SIDs are drawn, for no step takes longer by what they mean. Each side is a
process of its own, in turn; seconds are the processor's, so that a busy machine hurts less.
``$TRIALIGNGR_BENCH_STEPS`` says how many steps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.encoder_decoder.sides import BATCH, write_world
from benchmarks.harness import Check, at_least, below

STEPS = int(os.environ.get("TRIALIGNGR_BENCH_STEPS", "60"))


def measure() -> list[Check]:
    """Return the checks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_world(folder)
        records = {side: _run(side, folder) for side in ("ours", "theirs")}
    # All steps: theirs begins with the longest examples, ours draws them.
    speed = {side: BATCH * STEPS / sum(record["seconds"]) for side, record in records.items()}
    last = {side: mean(record["loss"][-STEPS // 4 :]) for side, record in records.items()}
    for side in records:
        print(f"{data}, {side}: {speed[side]:.0f} examples/s of CPU time, loss {last[side]:.3f}")
    return [
        at_least("examples/s beside Hugging Face's Trainer", speed["ours"] / speed["theirs"], 2, "times"),
        below("loss above theirs, last quarter", last["ours"] - last["theirs"], 0.05),
    ]


def _run(side: str, folder: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.encoder_decoder.sides", side, str(folder), str(STEPS)]
    subprocess.run(words, check=True, stdout=sys.stderr)
    record: dict[str, Any] = json.loads((folder / f"{side}.json").read_text(encoding="utf-8"))
    return record
