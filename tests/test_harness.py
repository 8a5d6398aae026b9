"""The benchmarks' harness: what it prints, that it takes turns, and that memory is the command's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness import at_least, below, command, peak_memory, report, side_by_side

MEGABYTE = 1_000_000


def test_the_last_line_is_one_json_object(capsys: pytest.CaptureFixture[str]):
    report("startup", [below("import", 0.2, 0.3, "s"), at_least("speed", 5.0, 6)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "name": "startup",
        "ok": False,
        "checks": [
            {"what": "import", "value": 0.2, "goal": "< 0.3 s", "ok": True},
            {"what": "speed", "value": 5.0, "goal": ">= 6", "ok": False},
        ],
    }


@pytest.mark.parametrize(("value", "ok"), [(0.29, True), (0.3, False), (float("nan"), False)])
def test_below_is_strict(value: float, ok: bool):
    assert below("x", value, 0.3).ok is ok


def test_what_is_not_a_number_is_null(capsys: pytest.CaptureFixture[str]):
    report("x", [below("x", float("nan"), 1)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["checks"][0]["value"] is None


def test_nothing_measured_is_not_ok(capsys: pytest.CaptureFixture[str]):
    report("x", [])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ok"] is False


def test_contestants_take_turns():
    order: list[str] = []
    medians = side_by_side({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == ["a", "b"] * 4
    assert set(medians) == {"a", "b"}


def test_peak_memory_is_the_commands_own_not_ours():
    ours = bytearray(200 * MEGABYTE)
    small = peak_memory([sys.executable, "-S", "-c", "pass"])
    large = peak_memory([sys.executable, "-S", "-c", "x = bytearray(100_000_000)"])
    assert len(ours) > small
    assert small < 50 * MEGABYTE
    assert 90 * MEGABYTE < large - small < 110 * MEGABYTE


def test_a_command_that_fails_is_not_measured():
    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(subprocess.CalledProcessError):
        command(*failing)()
    with pytest.raises(subprocess.CalledProcessError):
        peak_memory(failing)


def test_an_unknown_benchmark_is_one_sentence(root: Path):
    done = subprocess.run([sys.executable, "-m", "benchmarks", "start"], cwd=root, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "'start'" in done.stderr
    assert "startup" in done.stderr
