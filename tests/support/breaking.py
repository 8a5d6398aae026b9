"""A kill or a full disk at a chosen change on the disk: of the command line in a process of its own, or of a call here.

Processes are forked from a server that has imported what is heavy, so that a broken run costs what it does and no more.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.support import sentences
from tests.support.commands import Done
from tests.support.forkserver import start_forkserver

CHUNKS = {
    "trialigngr.enrich.captions": "BATCH_SIZE",
    "trialigngr.enrich.miners": "BATCH_SIZE",
    "trialigngr.embed.embeddings": "CHUNK_SIZE",
}
"""Small chunks, so that a stage over sixty items can be broken off between two of them."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Fault:
    """What befalls a run: ``kind`` at the ``at``-th time that it changes something whose path begins with ``where``.

    ``kill`` is SIGKILL. ``full`` lets that change fail as a full disk does. ``limit`` lets the system refuse every file
    to grow beyond ``at`` bytes, in whatever language it is written. ``count`` only lists the changes.
    """

    kind: str
    where: Path
    at: int = 0


def broken(words: list[str], out: Path, fault: Fault | None = None, shares_stages: bool = False) -> Done:
    """Run ``trialigngr WORDS`` under a fault; ``out`` is a folder for what it prints. A killed one has the code −9.

    Runs that lie side by side share nothing unless ``shares_stages``.
    """
    start_forkserver()
    words_and_fault = (words, out, fault, shares_stages, sentences.folder)
    child = multiprocessing.get_context("forkserver").Process(target=_child, args=words_and_fault)
    child.start()
    child.join(600)  # a bound on what hangs, not on what is slow
    assert child.exitcode is not None, "the run did not end"
    return Done(child.exitcode, (out / "stdout").read_text("utf-8"), (out / "stderr").read_text("utf-8"))


def _child(words: list[str], out: Path, fault: Fault | None, shares_stages: bool, kept_sentences: Path | None) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(out / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    import importlib

    from trialigngr.cli.main import main

    for module, size in CHUNKS.items():
        setattr(importlib.import_module(module), size, 16)
    # A time that is written down now and then would be one change more, or none, as fast as the machine is.
    importlib.import_module("trialigngr.foundation.stopwatch").BEAT = 3600.0
    if not shares_stages:
        importlib.import_module("trialigngr.pipeline.stage_graph").find_finished_stage = lambda *_: None
    if fault is not None:
        _arm(fault, out)
    sys.argv = ["trialigngr", *words]
    sentences.folder = kept_sentences
    with sentences.remembered_sentences():
        main()


class Interrupted(BaseException):
    """Raised in the place of a change, by `interrupt_at`."""


_interrupts: list[tuple[str, int]] = []


@contextmanager
def interrupt_at(where: Path, at: int) -> Iterator[None]:
    """Break this process off at the ``at``-th time that it changes something whose path begins with ``where``, with an
    exception that nothing catches: what a kill leaves, without a process of its own."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_watch_interrupts)
    _interrupts[:] = [(str(where), at)]
    try:
        yield
    finally:
        _interrupts.clear()


_hooked: list[bool] = []


def _watch_interrupts(event: str, arguments: tuple[Any, ...]) -> None:
    if not _interrupts or not _changes(event, arguments, _interrupts[0][0]):
        return
    where, left = _interrupts[0]
    _interrupts[0] = (where, left - 1)
    if left == 1:
        raise Interrupted


def _arm(fault: Fault, out: Path) -> None:
    if fault.kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, fault.at))
        return
    seen = 0
    listed = os.open(out / "changes", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if not _changes(event, arguments, str(fault.where)):
            return
        seen += 1
        if fault.kind == "count":
            os.write(listed, f"{arguments[0]}\n".encode())
        elif seen == fault.at and fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif seen == fault.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(watch)


def _changes(event: str, arguments: tuple[Any, ...], where: str) -> bool:
    if event == "open":
        path, _, flags = arguments
        return isinstance(flags, int) and bool(flags & WRITING) and _below(path, where)
    if event == "os.link":
        return _below(arguments[1], where)
    return event in ("os.rename", "os.mkdir", "os.remove", "os.truncate") and _below(arguments[0], where)


def _below(path: object, where: str) -> bool:
    return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(where)


class Killed(BaseException):
    """Stands for a kill in this process."""


@dataclass
class Strike:
    """Counts the changes below ``where`` and strikes at the ``at``-th, as `Fault` does; who was killed changes nothing
    after that."""

    kind: str
    where: Path
    at: int
    seen: int = 0

    def meet(self) -> None:
        """Count a change, or refuse it."""
        self.seen += 1
        if self.kind == "kill" and self.seen >= self.at:
            raise Killed
        if self.kind == "full" and self.seen == self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


_strikes: list[Strike] = []


def _strike(event: str, arguments: tuple[Any, ...]) -> None:
    for strike in _strikes:
        # What a folder loses with all that is in it is named by what it lies in.
        inside = event in ("os.remove", "os.rmdir") and arguments[1] != -1
        if inside or event == "os.chmod" or _changes(event, arguments, str(strike.where)):
            strike.meet()


@lru_cache(maxsize=1)
def _listen() -> None:
    """Listen to what changes, once: whoever listens cannot be sent away."""
    sys.addaudithook(_strike)


@contextmanager
def struck(kind: str, where: Path, at: int) -> Iterator[Strike]:
    """Let a fault befall what is called in the block."""
    _listen()
    _strikes.append(Strike(kind, where, at))
    try:
        yield _strikes[-1]
    finally:
        _strikes.pop()
