"""The benchmark beside Hugging Face's `Trainer` gives every side two runs in turn, and takes the better of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import train


def test_each_side_runs_twice_and_its_better_run_counts(monkeypatch: pytest.MonkeyPatch):
    seconds = {"ours": [1.0, 0.5], "grouped": [4.0, 8.0], "same": [10.0, 5.0]}
    peaks = {"ours": [300, 200], "grouped": [1000, 900], "same": [800, 1000]}
    ran: list[str] = []

    def run(side: str, _folder: Path) -> tuple[int, dict[str, Any]]:
        before = ran.count(side)
        ran.append(side)
        return peaks[side][before], {"seconds": [99.0, 99.0, seconds[side][before]], "loss": [1.0] * 3}

    monkeypatch.setattr(train, "_run", run)
    monkeypatch.setattr(train, "make", lambda _folder: "toy")
    monkeypatch.setattr(train.contributions, "measure", lambda _folder, _rounds: ({}, 0.0))
    speed, memory, *_ = train.measure()
    assert ran == ["ours", "grouped", "same"] * 2
    assert speed.value == pytest.approx(4.0 / 0.5)
    assert memory.value == pytest.approx(200 / 800)
