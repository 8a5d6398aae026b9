"""`ResponseCache`: every generation that was begun, finished or given up, in SQLite, so that none is paid for twice.

A key stands for all that an answer depends on. A row is ``asked`` before its call goes out, and ``done`` or ``failed``
before anything counts it; each change is on the disk (WAL, full synchronisation) when the method returns. Several
processes may share a cache: an asked row belongs to its owner for as long as that lives, which a file lock tells. Rows
of an owner that died are asked again, and counted as such.
"""

from __future__ import annotations

import errno
import glob
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from trialigngr.foundation.chunks import iter_batches
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.locks import lock_file, try_lock_file

CacheState = Literal["open", "done", "failed", "leased"]
KEYS_PER_QUERY = 500
"""Keys looked up together."""
SQL_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
  key BLOB PRIMARY KEY, stage TEXT NOT NULL, generator TEXT NOT NULL, prompt TEXT NOT NULL,
  state TEXT NOT NULL, owner TEXT NOT NULL, text TEXT, problem TEXT, final INTEGER NOT NULL DEFAULT 0,
  runs INTEGER NOT NULL DEFAULT 1, repeated_calls INTEGER NOT NULL DEFAULT 0, calls INTEGER NOT NULL DEFAULT 0,
  prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0, text_hash BLOB);
CREATE TABLE IF NOT EXISTS sessions (
  owner TEXT PRIMARY KEY, stage TEXT NOT NULL, generator TEXT NOT NULL, prompt TEXT NOT NULL,
  started REAL NOT NULL, updated REAL NOT NULL, finished INTEGER NOT NULL DEFAULT 0);
"""


@dataclass(frozen=True)
class ResponseOrigin:
    """Who asks: the stage, the generator and the hash of the prompt."""

    stage: str
    generator: str
    prompt: str


class ResponseRecord(NamedTuple):
    """What became of one key: a text, or a problem; what it took."""

    key: bytes
    text: str | None
    problem: str | None
    is_final: bool
    calls: int
    prompt_tokens: int
    completion_tokens: int


class RejectedUsage(NamedTuple):
    """Why the first answer about a key that is not finished yet was refused, and what it took."""

    key: bytes
    problem: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


class Attempts(NamedTuple):
    """What became of a key: how `ResponseCache.lease_keys` would judge it, its problem, in how many runs and calls."""

    state: CacheState
    problem: str | None
    runs: int
    calls: int
    repeated_calls: int


class CachedResponse(NamedTuple):
    """What the cache holds of a key: a text, or the problem for which there is none, and whether that may be asked
    again."""

    text: str | None
    problem: str | None
    is_retryable: bool


class ResponseCache:
    """The cache in ``path``, made when it is not there. Use it in a ``with`` block, from one thread."""

    def __init__(self, path: Path) -> None:
        # Links followed: the owners' locks lie beside the one file that they share.
        self.path, self.owner = path.resolve(), uuid4().hex
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._hold_file_lock(), self._translate_errors():
            self._remove_dead_owners()
            self._owner_lock = lock_file(self._owner_lock_path(self.owner))
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._check_is_cache()
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(SQL_SCHEMA)

    def _columns(self) -> set[str]:
        return {row[1] for row in self._connection.execute("PRAGMA table_info(responses)")}

    def _check_is_cache(self) -> None:
        """Raise `ArtifactError` for a database of another program: nothing is written to it."""
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and not {"key", "state", "text"} <= self._columns():
            self._connection.close()
            raise ArtifactError(f"{self.path} is a database, but no response cache; name another file.")

    def __enter__(self) -> ResponseCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._hold_file_lock():
            self._connection.close()
        self._owner_lock.release()
        self._owner_lock_path(self.owner).unlink(missing_ok=True)

    def lease_keys(self, keys: Sequence[bytes], origin: ResponseOrigin, max_runs: int) -> tuple[list[CacheState], int]:
        """Return, for each key, whether the caller shall ask (``open``), and how many of those were in
        flight when their asker died.

        ``done`` and ``failed`` rows need no asking; ``leased`` ones are being asked by somebody who lives. A failed row
        is open again in later sessions, ``max_runs`` in all, unless its problem is final.
        """
        with self._begin_transaction():
            self._begin_session(origin)
            rows = self._read_rows(keys, "state, owner, final, runs")
            states: list[CacheState] = []
            num_repeated = 0
            for key in keys:
                row = rows.get(key)
                state, was_dead = self._judge_row(row, max_runs)
                states.append(state)
                if state == "open":
                    num_repeated += was_dead
                    self._write_lease(key, origin, row is None, was_dead)
                    rows[key] = ("asked", self.owner, 0, 1)
        return states, num_repeated

    def _judge_row(self, row: Sequence[Any] | None, max_runs: int) -> tuple[CacheState, bool]:
        if row is None:
            return "open", False
        state, owner, final, runs, *_ = row
        if state == "done":
            return "done", False
        if state == "failed":
            return ("failed" if final or runs >= max_runs or owner == self.owner else "open"), False
        alive = owner == self.owner or self._is_alive(owner)
        return ("leased" if alive else "open"), not alive

    def _write_lease(self, key: bytes, origin: ResponseOrigin, new: bool, was_dead: bool) -> None:
        if new:
            self._connection.execute(
                "INSERT INTO responses (key, stage, generator, prompt, state, owner) VALUES (?,?,?,?,'asked',?)",
                (key, origin.stage, origin.generator, origin.prompt, self.owner),
            )
            return
        self._connection.execute(
            "UPDATE responses SET problem=iif(state='asked', problem, NULL), state='asked', owner=?, runs=runs+?,"
            " repeated_calls=repeated_calls+? WHERE key=?",
            (self.owner, int(not was_dead), int(was_dead), key),
        )

    def _begin_session(self, origin: ResponseOrigin) -> None:
        now = time.time()
        self._connection.execute(
            "INSERT INTO sessions VALUES (?,?,?,?,?,?,0) ON CONFLICT (owner) DO NOTHING",
            (self.owner, origin.stage, origin.generator, origin.prompt, now, now),
        )

    def record_responses(self, records: Sequence[ResponseRecord], usage: Sequence[RejectedUsage] = ()) -> None:
        """Make responses durable, and what rejected ones took; all of them or none."""
        with self._begin_transaction():
            self._connection.executemany(
                "UPDATE responses SET problem=?, calls=calls+?, prompt_tokens=prompt_tokens+?,"
                " completion_tokens=completion_tokens+? WHERE key=?",
                [(row.problem, row.calls, row.prompt_tokens, row.completion_tokens, row.key) for row in usage],
            )
            self._connection.executemany(
                "UPDATE responses SET state=?, owner=?, text=?, text_hash=?, problem=?, final=?, calls=calls+?,"
                " prompt_tokens=prompt_tokens+?, completion_tokens=completion_tokens+? WHERE key=?",
                [
                    ("failed" if row.text is None else "done", self.owner, row.text, _hash_text(row.key, row.text),
                     row.problem, row.is_final, row.calls, row.prompt_tokens, row.completion_tokens, row.key)
                    for row in records
                ],
            )  # fmt: skip
            self._connection.execute(
                "UPDATE sessions SET updated=?, finished=finished+? WHERE owner=?",
                (time.time(), len(records), self.owner),
            )

    def read_rejections(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """Return why the first answer about a key was refused, of keys that are asked about and had such an answer."""
        rows = self._read_rows(keys, "state, problem")
        return {key: problem for key, (state, problem, _) in rows.items() if state == "asked" and problem}

    def reopen_failures(self, keys: Sequence[bytes], runs: int) -> None:
        """Let no failure of these keys be final, and count so many runs less for each."""
        with self._begin_transaction():
            self._connection.executemany(
                "UPDATE responses SET final=0, runs=max(runs-?, 0) WHERE key=? AND state='failed'",
                [(runs, key) for key in keys],
            )

    def read_responses(self, keys: Iterable[bytes], max_runs: int) -> Iterator[CachedResponse | None]:
        """Yield what is kept of each key, None for one that is not finished."""
        for batch in iter_batches(keys, KEYS_PER_QUERY):
            rows = self._read_rows(batch, "text, problem, state, owner, final, runs, text_hash")
            for key in batch:
                row = rows.get(key)
                if row is None or row[2] == "asked":
                    yield None
                else:
                    self._check_text(key, row[0], row[6])
                    is_retryable = row[2] == "failed" and self._judge_row(row[2:], max_runs)[0] == "open"
                    yield CachedResponse(row[0], row[1], is_retryable)

    def _check_text(self, key: bytes, text: Any, text_hash: bytes | None) -> None:
        if text_hash is not None and text_hash != _hash_text(key, text):
            raise ArtifactError(
                f"The response cache {self.path} is damaged: an answer in it is not what came. Move it elsewhere, or "
                "name another file; what it held is asked again."
            )

    def read_states(self, keys: Iterable[bytes], max_runs: int) -> Iterator[CacheState]:
        """Yield how each key stands, as `lease_keys` would judge it, without leasing it."""
        for batch in iter_batches(keys, KEYS_PER_QUERY):
            rows = self._read_rows(batch, "state, owner, final, runs")
            yield from (self._judge_row(rows.get(key), max_runs)[0] for key in batch)

    def read_attempts(self, keys: Iterable[bytes], max_runs: int) -> Iterator[Attempts | None]:
        """Yield what became of each key, None for one that was never asked about."""
        for batch in iter_batches(keys, KEYS_PER_QUERY):
            rows = self._read_rows(batch, "state, owner, final, runs, problem, calls, repeated_calls")
            for key in batch:
                row = rows.get(key)
                if row is None:
                    yield None
                    continue
                runs, problem, calls, repeated_calls, _ = row[3:]
                failed = problem if row[0] == "failed" else None
                yield Attempts(self._judge_row(row, max_runs)[0], failed, runs, calls, repeated_calls)

    def _read_rows(self, keys: Sequence[bytes], columns: str) -> dict[bytes, tuple[Any, ...]]:
        """Return key → its row, which ends with the key."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT {columns}, key FROM responses WHERE key IN ({marks})"  # noqa: S608 - columns are ours
        with self._translate_errors():
            return {row[-1]: row for row in self._connection.execute(query, keys)}

    def run_query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._translate_errors():
            return self._connection.execute(query, values).fetchall()

    def _is_alive(self, owner: str) -> bool:
        path = self._owner_lock_path(owner)
        if not path.exists():
            return False
        try:
            lock = try_lock_file(path)
        except (OSError, ArtifactError):
            return True
        if lock is None:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False

    def _remove_dead_owners(self) -> None:
        """Remove the files of owners that died before they asked anything, whom nobody would ever look for."""
        start = self._owner_lock_path("").name
        for path in self.path.parent.glob(f"{glob.escape(start)}*"):
            self._is_alive(path.name.removeprefix(start))

    def _owner_lock_path(self, owner: str) -> Path:
        return self.path.with_name(f".{self.path.name}-{owner}")

    @contextmanager
    def _hold_file_lock(self) -> Iterator[None]:
        """Open and close one after the other: who finds the journal's mode changing is turned away without waiting."""
        lock = lock_file(self.path.with_name(f".{self.path.name}.lock"))
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _begin_transaction(self) -> Iterator[None]:
        with self._translate_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Say a full disk and a damaged file as what they are."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, "The disk is full", str(self.path)) from None
            if code == sqlite3.SQLITE_IOERR:
                raise OSError(errno.EIO, "The response cache could not be written", str(self.path)) from None
            raise ArtifactError(
                f"The response cache {self.path} cannot be used ({error}); move it elsewhere, or name another file."
            ) from None


def _hash_text(key: bytes, text: Any) -> bytes | None:
    """Return what tells whether a text is still the answer about a key; None where there is no text."""
    return None if text is None else sha256(key + b"\0" + str(text).encode("utf-8", "replace")).digest()[:8]
