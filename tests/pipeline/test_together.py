"""``torchrun … trialigngr run``: two processes make the run that one makes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.support.backbones import pretrained
from tests.support.commands import Done
from tests.support.runs import tiny_pretrained

CHANGES: dict[str, Any] = {
    "model__lora": {"rank": 2, "dropout": 0.0},
    "model__weight_dtype": "bf16",
    "model__dropout": 0.0,
    "train__precision": "fp32",
    "train__max_steps": 6,
}
"""LoRA beside frozen bf16 weights; without dropout, of which no two processes draw the same."""


def torchrun(*given: str | Path) -> str:
    """Run ``trialigngr`` in two processes, as the README says, and return what they said."""
    command = Path(sys.executable).with_name("trialigngr")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run([*start, command, *given], stderr=subprocess.PIPE, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.long
def test_two_processes_with_shares_make_the_run_of_one(tmp_path: Path, copied_run: Path, cli: Callable[..., Done]):
    pytest.importorskip("peft")
    pretrained(tmp_path / "qwen", "qwen", tied=True, spare=0)
    changed = tiny_pretrained(tmp_path / "qwen", **CHANGES)
    both = Path(shutil.copytree(copied_run, tmp_path / "both"))
    said = torchrun("run", "trialigngr-demo", "--out", both, *changed, "--set", "train.fsdp=true")
    assert said.count("model: done") == 1
    assert cli("run", "trialigngr-demo", "--out", copied_run, *changed).code == 0
    assert losses(both) == pytest.approx(losses(copied_run), rel=2e-3)
    ours, theirs = (load_file(out / "model" / "model.safetensors") for out in (copied_run, both))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        # bf16 tells numbers apart by 1/256 of their size.
        assert (theirs[name] - value).norm() <= 5e-3 * value.norm()
    facts = [json.loads((out / "model" / "manifest.json").read_text())["facts"] for out in (copied_run, both)]
    assert facts[0]["trained"] == facts[1]["trained"]
    assert (both / "recommendations.parquet").exists()


def losses(out: Path) -> list[float]:
    """Return the losses that a run wrote, task by task."""
    written = (out / "model" / "metrics.jsonl").read_text().splitlines()
    return [loss for line in written for loss in json.loads(line)["loss"].values()]
