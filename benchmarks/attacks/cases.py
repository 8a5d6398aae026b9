"""Cases that are tried in forked processes, so that none of them can end the benchmark; what came of each is kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import forkserver
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any

AT_ONCE = 2
"""Cases that are tried together: one a core."""
LIBRARIES = [
    *("torch", "transformers", "sentence_transformers", "faiss", "sklearn.decomposition", "sklearn.manifold"),
    *("sklearn.neural_network", "matplotlib.figure", "openai", "httpx2"),
    *("trialigngr.pipeline", "trialigngr.cli.runs", "trialigngr.cli.use", "trialigngr.datasets.readers"),
    "trialigngr.llm.openai_generator",
]
SHOWN = 3
"""Cases of one bad end that are printed; the others stand in the file."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended, in one or two words, and what was said about it."""

    end: str
    said: str = ""


Attempt = Callable[[Any], Outcome]


def start_server(*modules: str) -> None:
    """Start the one process that all others are forked from, with everything loaded that they need."""
    # Threads do not survive a fork, and figures must not depend on how many cores there are.
    for name, value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false"), ("HF_HUB_OFFLINE", "1")):
        os.environ.setdefault(name, value)
    multiprocessing.set_forkserver_preload([*LIBRARIES, *modules])
    forkserver.ensure_running()


def try_cases(
    attempt: Attempt, cases: Mapping[str, Any], kept: Path, seconds: float, fresh: bool = False
) -> dict[str, Outcome]:
    """Return how each case ended, ``attempt`` called with it in a forked process; `kept` holds those tried before.

    What ends the process is an ``abort``, what takes longer than so many seconds a ``hang``, and what is raised a
    ``traceback``. ``fresh`` gives each case a process of its own.
    """
    known = read_outcomes(kept)
    waiting: SimpleQueue[str] = SimpleQueue()
    for name in cases:
        if name not in known:
            waiting.put(name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    writing = Lock()

    def lane() -> None:
        worker = _Worker(attempt, kept.with_suffix(".txt"))
        while (name := _next(waiting)) is not None:
            outcome = worker.attempt(cases[name], seconds)
            with writing, kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"case": name, **asdict(outcome)}) + "\n")
                known[name] = outcome
            if fresh:
                worker.end()
        worker.end()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(lane) for _ in range(AT_ONCE)]:
            done.result()
    return {name: known[name] for name in cases}


def read_outcomes(kept: Path) -> dict[str, Outcome]:
    """Return what is kept of cases that were tried; a line that a kill cut is none."""
    found = {}
    for line in kept.read_text("utf-8").splitlines() if kept.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["case"]] = Outcome(row["end"], row["said"])
    return found


def _next(waiting: SimpleQueue[str]) -> str | None:
    try:
        return waiting.get_nowait()
    except Empty:
        return None


class _Worker:
    """A forked process that tries one case after another; another takes its place when a case has ended it."""

    def __init__(self, attempt: Attempt, said: Path) -> None:
        self._attempt, self._said = attempt, said
        self._process: Any = None
        self._pipe: Any = None

    def attempt(self, case: Any, seconds: float) -> Outcome:
        """Return how a case ended."""
        if self._process is None:
            context = multiprocessing.get_context("forkserver")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(self._attempt, theirs, self._said), daemon=True)
            self._process.start()
            theirs.close()
            self._pipe.recv()  # its start does not count
        began = time.monotonic()
        self._pipe.send(case)
        try:
            if self._pipe.poll(seconds):
                outcome: Outcome = self._pipe.recv()
                return outcome
        except EOFError:
            self._process.join()
            outcome = Outcome("abort", f"exit code {self._process.exitcode} after {time.monotonic() - began:.1f} s")
        else:
            outcome = Outcome("hang", f"not done after {seconds:g} s")
        self.end()
        return outcome

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = None


def _serve(attempt: Attempt, pipe: Any, said: Path) -> None:
    """Try what comes through the pipe; what libraries print goes into a file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    pipe.send("ready")
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        try:
            outcome = attempt(case)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the benchmark looks for
            outcome = Outcome("traceback", last_lines(error))
        pipe.send(outcome)


def last_lines(error: BaseException) -> str:
    """Return what an exception says, and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "trialigngr" in frame.filename] or list(frames)
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} at {where}: {str(error)[:300]}"


def count_ends(name: str, outcomes: Mapping[str, Outcome], good: set[str]) -> Counter[str]:
    """Return how often each end came, after printing the counts and the first cases of every end that is not good."""
    ends = Counter(outcome.end for outcome in outcomes.values())
    print(f"{name}: {len(outcomes)} cases; " + ", ".join(f"{n} {end}" for end, n in ends.most_common()))
    for end in sorted(ends.keys() - good):
        some = [(case, outcome.said) for case, outcome in outcomes.items() if outcome.end == end]
        for case, said in some[:SHOWN]:
            print(f"  {end}: {case}: {said[:220]!r}")
    return ends
