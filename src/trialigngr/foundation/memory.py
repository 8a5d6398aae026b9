"""`MemoryBudget`: what threads may hold together, who would go beyond it waits; and freed pages, given back."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Condition, Lock
from typing import cast


class MemoryBudget:
    """So many bytes for all threads that hold some of it. Nobody may ask for more while holding."""

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._turn, self._freed = Lock(), Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes, as soon as they are free; a want that is larger than the budget holds all of it."""
        size = min(size, self.most)
        # First come, first served: a large want is not overtaken by small ones for ever.
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self.used + size <= self.most)
            self.used += size
        try:
            yield
        finally:
            with self._freed:
                self.used -= size
                self._freed.notify()


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return cast(Callable[[int], int], ctypes.CDLL("libc.so.6").malloc_trim)
    except (OSError, AttributeError):
        return None  # another C library, with habits of its own


def return_freed_memory() -> None:
    """Give pages that hold nothing back to the system, where the C library is glibc: it keeps what tensors of ever
    other shapes leave between them, and for each thread what it freed last."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
