"""`EventLog`: a file of JSON lines to which events are added, each once; what was acknowledged is on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import open_own_file
from trialigngr.foundation.locks import try_lock_file
from trialigngr.serve.errors import ServiceError

BEGINNING = b'{"event_id":"'
"""What every line of a file of events begins with."""


class EventLog:
    """Events of one process. For the id of each event that is there about 100 bytes are held in memory."""

    def __init__(self, path: Path) -> None:
        """Cut off a last line that a kill left unfinished; raise `ArtifactError` for a file that another process has
        open, and for one that holds other lines than events: that one stays as it is."""
        self._path, self._lock = path, Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open_own_file(path)
        # Beside the file: where locks are kept to by force, one on the file would keep its own process out.
        self._process_lock = try_lock_file(path.with_name(f".{path.name}.lock"))
        try:
            self._size, self._known = self._take_over_file()
        except ArtifactError:
            self.close()
            raise

    def _take_over_file(self) -> tuple[int, set[bytes]]:
        """Return the size of the file and the ids in it, once it belongs to this process and is whole."""
        if self._process_lock is None:
            raise ArtifactError(f"Another process writes events to {self._path}; give each its own file.")
        descriptor = self._file.fileno()
        size, known = _read_events(self._path)
        if torn := os.fstat(descriptor).st_size - size:
            log(f"{self._path}: {torn} bytes of an event that was never acknowledged are cut off")
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        self._path.chmod(0o600)  # who took what is nobody else's business
        return size, known

    def append_events(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Write events whose ``event_id`` is new, and return how many these were, once they are on the disk.

        Raises `ServiceError` when they cannot be written; then none of them is.
        """
        with self._lock:
            new: dict[bytes, str] = {}
            for event in events:
                key = _digest_id(event["event_id"])
                if key not in self._known and key not in new:
                    new[key] = json.dumps(dict(event), ensure_ascii=False, separators=(",", ":")) + "\n"
            if new:
                self._write_lines("".join(new.values()).encode())
                self._known |= new.keys()
            return len(new)

    def _write_lines(self, lines: bytes) -> None:
        descriptor = self._file.fileno()
        try:
            os.ftruncate(descriptor, self._size)  # behind it stands what was never acknowledged
            os.lseek(descriptor, self._size, os.SEEK_SET)
            left = memoryview(lines)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):  # if not now, then before the next events, or at the next start
                os.ftruncate(descriptor, self._size)
            raise ServiceError("disk", f"The events could not be written ({os.strerror(error.errno or 0)}).") from None
        self._size += len(lines)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        if self._process_lock is not None:
            self._process_lock.release()


def _read_events(path: Path) -> tuple[int, set[bytes]]:
    """Return the size of a file's whole lines and the ids in them; raise `ArtifactError` for a line that is no event,
    and for an unfinished one that stands alone and does not begin like one."""
    size, known = 0, set[bytes]()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            is_torn = not line.endswith(b"\n")
            if is_torn and (known or BEGINNING.startswith(line[: len(BEGINNING)])):
                break
            try:
                if is_torn:
                    raise ValueError
                known.add(_digest_id(json.loads(line)["event_id"]))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise ArtifactError(f"{path}, line {number} is no event; give another file for events.") from None
            size += len(line)
    return size, known


def _digest_id(event_id: str) -> bytes:
    return blake2b(event_id.encode(), digest_size=16).digest()
