"""How long a stage was worked on, over all its interruptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from trialigngr.foundation.files import write_text_atomically

BEAT = 5.0
"""Seconds between two times at which the time so far is written down: what a kill may lose."""


def spent_before(mark: Path) -> float:
    """Return the seconds that the second line of ``mark`` tells; 0 where it tells none."""
    with suppress(OSError, ValueError, IndexError):  # whatever stands there, it is but a time
        seconds = float(mark.read_text(encoding="utf-8").splitlines()[1])
        return seconds if 0 <= seconds < 1e9 else 0.0
    return 0.0


@contextmanager
def measure_seconds(mark: Path, wanted: str) -> Iterator[Callable[[], float]]:
    """Give a call that returns the seconds spent so far, those before interruptions too.

    They stand in ``mark``, below ``wanted``, while the work goes on and after it was broken off.
    """
    before, started, ended = spent_before(mark), time.monotonic(), Event()

    def seconds_spent() -> float:
        return before + time.monotonic() - started

    def write_seconds() -> None:
        with suppress(OSError):  # a full disk, of which the stage's own files will tell
            write_text_atomically(mark, f"{wanted}\n{seconds_spent():.1f}\n")

    def write_heartbeat() -> None:
        while not ended.wait(BEAT):
            write_seconds()

    beating = Thread(target=write_heartbeat, name="stopwatch", daemon=True)
    beating.start()
    try:
        yield seconds_spent
    finally:
        ended.set()
        beating.join()
        write_seconds()
