"""Locks between processes: on files, and gone when their holder dies, however it dies, on every system."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from trialigngr.foundation.files import check_is_own_file

POLL_SECONDS = 0.05
"""How often who waits for a lock looks."""


def lock_file(path: Path) -> FileLock:
    """Return a lock that this process now holds, waited for; the file is made where it is missing, and never emptied.

    It is released by ``release``, and by the system when this process ends. Raises `ArtifactError` for a link, and for
    what is no file.
    """
    lock = _make_lock(path)
    lock.acquire(poll_interval=POLL_SECONDS)
    return lock


def try_lock_file(path: Path) -> FileLock | None:
    """Return what `lock_file` does, or None where another holds it."""
    lock = _make_lock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def _make_lock(path: Path) -> FileLock:
    check_is_own_file(path)
    # A soft lock, which is a file that is there, would outlive a holder that was killed.
    return FileLock(path, thread_local=False, fallback_to_soft=False)
