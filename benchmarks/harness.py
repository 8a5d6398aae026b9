"""What every benchmark stands on: checks against a goal, the report, timing side by side, peak memory.

A benchmark is a module with ``measure() -> list[Check]``; ``python -m benchmarks NAME`` reports what it returns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import median

Command = Sequence[str]

# ru_maxrss of a child begins at what its parent held when it was started, so a small interpreter stands between.
_STARTER = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@dataclass(frozen=True)
class Check:
    """One measured value beside its goal (said in words, as ``"< 0.3 s"``)."""

    what: str
    value: float
    goal: str
    ok: bool


def below(what: str, value: float, limit: float, unit: str = "") -> Check:
    """Return the check that ``value`` stays under ``limit``."""
    return Check(what, value, f"< {limit:g} {unit}".rstrip(), value < limit)


def at_least(what: str, value: float, limit: float, unit: str = "") -> Check:
    """Return the check that ``value`` reaches ``limit``."""
    return Check(what, value, f">= {limit:g} {unit}".rstrip(), value >= limit)


def report(name: str, checks: Sequence[Check]) -> None:
    """Print a table for people and, as the last line, one JSON object for programs (NaN and infinity become null)."""
    # Here, because a machine with a GPU need not have it to measure.
    from rich.console import Console
    from rich.table import Table

    table = Table("check", "value", "goal", "", title=f"benchmark {name}", title_justify="left")
    for check in checks:
        table.add_row(check.what, f"{check.value:.4g}", check.goal, "ok" if check.ok else "MISSED")
    Console().print(table)
    rows = [asdict(check) | {"value": check.value if isfinite(check.value) else None} for check in checks]
    all_ok = bool(checks) and all(check.ok for check in checks)
    print(json.dumps({"name": name, "ok": all_ok, "checks": rows}), flush=True)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def side_by_side(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each contestant's median seconds, run in turn (A B A B …) so that a drift of the machine hits all alike.

    One round before the count warms caches and is thrown away.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            taken = seconds_of(work)
            if turn:
                seconds[name].append(taken)
    return {name: median(taken) for name, taken in seconds.items()}


def command(*words: str) -> Callable[[], object]:
    """Return a call that runs the command quietly and raises `CalledProcessError` when it fails."""
    return lambda: subprocess.run(words, check=True, capture_output=True)


def peak_memory(words: Command) -> int:
    """Return the peak resident memory, in bytes, of a command (an absolute path and its arguments).

    Raises `CalledProcessError` when the command fails. What the command prints goes to stderr.
    """
    starter = subprocess.run(
        [sys.executable, "-S", "-c", _STARTER, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    code, peak = map(int, starter.stdout.split())
    if code:
        raise subprocess.CalledProcessError(code, list(words))
    return peak
