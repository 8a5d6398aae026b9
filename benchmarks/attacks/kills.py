"""Fifty kills at chosen moments of a small run's stages, each followed by the same command; it ends as an unbroken run.

A run is killed once in every stage and once while its page is written, at a moment that a seed draws from the time that
the unbroken run took there.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attacks.cases import Outcome, count_ends, try_cases
from benchmarks.attacks.small_run import STAGES, call, differing, run_words
from benchmarks.harness import Check, at_least, below

SEED = 27
KILLS = 50
SECONDS = 900.0
GOOD = {"same bytes"}
FINISH = "finish"
"""What comes after the last stage: figures and the page."""


@dataclass(frozen=True)
class Chain:
    """A run that is killed in each of these places in turn, and the unbroken one that it must end as."""

    number: int
    run: Path
    unbroken: Path
    places: tuple[str, ...] = (*STAGES, FINISH)


def measure(folder: Path) -> list[Check]:
    """Return how many runs ended otherwise than the unbroken one."""
    unbroken = folder / "unbroken"
    try_cases(make_unbroken, {"unbroken": unbroken}, folder / "made.jsonl", SECONDS)
    number = KILLS // len((*STAGES, FINISH))
    chains = {f"run {n}": Chain(n, folder / f"run{n}", unbroken) for n in range(number)}
    outcomes = try_cases(break_off, chains, folder / "kills.jsonl", SECONDS)
    ends = count_ends("killed runs", outcomes, GOOD)
    kills = sum(int(outcome.said.split()[0]) for outcome in outcomes.values() if outcome.end == "same bytes")
    return [
        at_least("kills after which a run ended with the bytes of the unbroken one", kills, KILLS),
        below("… runs that ended otherwise", sum(ends.values()) - ends["same bytes"], 1),
    ]


def make_unbroken(run: Path) -> Outcome:
    """Make the run that nothing befalls."""
    shutil.rmtree(run, ignore_errors=True)
    code = _end(_start(run))
    return Outcome("same bytes" if code == 0 else "does not run", f"0 kills, exit code {code}: {_said(run)}")


def break_off(chain: Chain) -> Outcome:
    """Kill a run in each place, go on after each kill, and return whether it ends as the unbroken one."""
    draw, seconds = random.Random(f"{SEED} {chain.number}"), _seconds(chain.unbroken)
    killed = []
    for place in chain.places:
        share = draw.random()
        if _kill(chain.run, place, share * seconds[place]):
            killed.append(f"{place} at {share:.0%}")
            continue
        shutil.rmtree(chain.run / ("evaluation" if place == FINISH else place))  # too late: once more
        if _kill(chain.run, place, 0.0):
            killed.append(f"{place} at once")
    said = f"{len(killed)} kills ({', '.join(killed)})"
    if code := _end(_start(chain.run)):
        return Outcome("does not go on", f"{said}; exit code {code}: {_said(chain.run)}")
    found = differing(chain.run, chain.unbroken, STAGES)
    left = {path.name for path in chain.run.iterdir()} ^ {path.name for path in chain.unbroken.iterdir()}
    found += [f"{name} (left, or missing)" for name in sorted(left)]
    if found:
        return Outcome("other bytes", f"{said}: {', '.join(found)}")
    shutil.rmtree(chain.run)
    return Outcome("same bytes", said)


def _seconds(unbroken: Path) -> dict[str, float]:
    """Return how long the unbroken run was in each place."""
    taken = {
        stage: json.loads((unbroken / stage / "manifest.json").read_text("utf-8"))["facts"]["seconds"]
        for stage in STAGES
    }
    last = (unbroken / "evaluation" / "manifest.json").stat().st_mtime
    return taken | {FINISH: (unbroken / "report.html").stat().st_mtime - last}


def _start(run: Path) -> int:
    """Start the run in a process forked from this one, which has loaded all and holds no thread."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        done = call(*run_words(run))
        code = done.code
        _said_file(run).write_text(done.err, encoding="utf-8")
    finally:
        os._exit(code)


def _said_file(run: Path) -> Path:
    return run.with_name(f"{run.name}.txt")


def _said(run: Path) -> str:
    return _said_file(run).read_text("utf-8")[-200:] if _said_file(run).exists() else ""


def _end(pid: int) -> int:
    """Return the exit code of a process when it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _kill(run: Path, place: str, after: float) -> bool:
    """Kill the run so many seconds after it has come to a place; say whether it was still there to be killed."""
    begun = run / "evaluation" / "manifest.json" if place == FINISH else run / f"{place}.partial"
    done = run / "report.html" if place == FINISH else run / place / "manifest.json"
    pid, came = _start(run), None
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if came is None and (begun.exists() or done.exists()):
            came = time.monotonic()
        if came is not None and time.monotonic() - came >= after:
            os.kill(pid, signal.SIGKILL)
            return _end(pid) == -signal.SIGKILL
        time.sleep(0.002)
    return False
