"""The GPU's benchmark runs on a CPU, counts FLOPs as by hand, and needs nothing but torch and transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.train_gpu import PEAKS, drawn, flops, peak_of, table
from tests.support.backbones import tiny_backbone
from trialigngr.tasks.packing import Continuation, SharedPrefixRow, pack_micro_batches


def test_flops_by_hand():
    """The pass of `tests/tasks/test_packing.py`: ten tokens, five of them before a target."""
    sheet = SharedPrefixRow([1, 2, 3], [Continuation(1, [9], [5, 8]), Continuation(3, [9], [6, 8])])
    (part,) = pack_micro_batches([7, 7], [sheet, SharedPrefixRow([], [Continuation(0, [4], [6])])], 99)
    model = tiny_backbone("qwen", 50)  # width 32, tied, two layers
    head = 50 * 32
    weights = sum(parameter.numel() for parameter in model.parameters()) - head
    seen = 1 + 2 + (3 + 4 + 5) + (4 + 5) + (6 + 7) + 3
    assert flops(model, part) == 3 * (2 * weights * 10 + 2 * head * 5 + 4 * 2 * 32 * seen)


@pytest.mark.long
def test_it_runs_here(capsys: pytest.CaptureFixture[str]):
    found = table(["tiny"], 300, 2, peak=0.001)
    assert found
    assert all(used > 0 for used in found.values())
    assert "tokens/s" in capsys.readouterr().out
    assert 300 <= len(drawn(300, 512, 0).tokens_T) < 1000


def test_an_unknown_peak_is_no_number(monkeypatch: pytest.MonkeyPatch):
    assert peak_of(torch.device("cpu")) != peak_of(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H200")
    assert peak_of(torch.device("cuda")) == PEAKS["H200"]


@pytest.mark.long
def test_a_bare_machine_is_enough(root: Path):
    missing = "import sys; sys.modules.update(dict.fromkeys(('polars', 'pydantic', 'rich', 'click', 'peft')))"
    done = subprocess.run([sys.executable, "-c", f"{missing}; import benchmarks.train_gpu"], cwd=root, check=False)
    assert done.returncode == 0
