"""Ask a generator about everything that a ledger does not hold yet; nothing is counted before it is on the disk."""

from __future__ import annotations

import json
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Generator as Drawn
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain, islice, repeat, takewhile
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from struct import iter_unpack
from typing import Any, NamedTuple, Protocol

from trialigngr.foundation.console import log, show_progress
from trialigngr.foundation.errors import ImageError
from trialigngr.llm.answers import CORRECTION_TEMPLATE, ResponseError
from trialigngr.llm.generator import GenerationRequest, GenerationResponse, Generator, GeneratorError, iter_batches
from trialigngr.llm.response_cache import (
    KEYS_PER_QUERY,
    CachedResponse,
    RejectedUsage,
    ResponseCache,
    ResponseOrigin,
    ResponseRecord,
)
from trialigngr.llm.settings import CACHE_FILE, CallSettings

KEY_BYTES = 16
LEASE_SIZE = 32
"""Most questions that are made ahead, and most rows that are claimed by one write."""
POLL_SECONDS = 0.05
"""Seconds that a question may take before answers that came are looked at."""


def make_key_function(origin: ResponseOrigin, settings: Mapping[str, Any]) -> Callable[[tuple[str, ...]], bytes]:
    """Return what turns a content into `KEY_BYTES` bytes that stand for all that an answer depends on: who answers,
    how, and the hashed content."""
    who = json.dumps([origin.stage, origin.generator, origin.prompt, dict(settings)], sort_keys=True)[:-1]
    # As json.dumps writes a list of texts, in a third of the time.
    return lambda content: sha256(f"{who}, [{', '.join(map(quoted, content))}]]".encode()).digest()[:KEY_BYTES]


class GenerationJob(Protocol):
    """What a stage asks: about which items, and what it takes for an answer."""

    origin: ResponseOrigin
    shows_images: bool

    @property
    def overhead_characters(self) -> int:
        """How many letters a question has beside its content, about."""
        ...

    def key_contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...] | None]:
        """Yield all that the answer about each item depends on; None where there is nothing to ask."""
        ...

    def make_request(self, number: int) -> GenerationRequest:
        """Return the question; raise `ImageError` when the item's picture cannot be used."""
        ...

    def check_response(self, answer: str) -> None:
        """Raise `ResponseError` when an answer cannot be used."""
        ...


class JobContext(NamedTuple):
    """Where answers are written down, and how they are asked for."""

    cache: ResponseCache
    calls: CallSettings


def has_cache(out: Path, cache_path: Path | None) -> bool:
    """Return whether there is a ledger that `open_cache` would open."""
    return (cache_path or out / CACHE_FILE).exists()


@contextmanager
def open_cache(out: Path, cache_path: Path | None) -> Iterator[ResponseCache]:
    """Open the ledger in ``cache_path``; without one, a ledger of the stage's own that goes when the stage is done."""
    own = out / CACHE_FILE
    with ResponseCache(cache_path or own) as ledger:
        yield ledger
    if cache_path is None:
        for cache_path in own.parent.glob(f"*{CACHE_FILE}*"):
            cache_path.unlink()


def run_job(
    job: GenerationJob, generator: Generator, context: JobContext, num_items: int, description: str
) -> Iterator[CachedResponse | None]:
    """Yield what is kept about each of ``num_items`` items, after asking for what is not there yet; None where there is
    nothing to ask."""
    number = 0
    for row, one in _iter_responses(job, generator, context, num_items, description):
        if row.number > number:
            yield from repeat(None, row.number - number)
        yield one
        number = row.number + 1
    yield from repeat(None, num_items - number)


def _iter_responses(
    job: GenerationJob, generator: Generator, context: JobContext, num_items: int, description: str
) -> Iterator[tuple[JobRow, CachedResponse | None]]:
    """Yield each row and what is kept of it, read once as long as nothing is missing; then all the rest is asked."""
    rows, retry_runs, begun = iter_job_rows(job, generator.settings, range(num_items)), context.calls.max_runs, 0
    while some := list(islice(rows, KEYS_PER_QUERY)):
        found = list(context.cache.read_responses([row.key for row in some], retry_runs))
        if any(one is None or one.is_retryable for one in found):
            rest = JobRows(chain(some, rows))
            JobRunner(context, generator, job).run_rows(rest, description, begun)
            yield from zip(rest, context.cache.read_responses(rest.iter_keys(), retry_runs), strict=True)
            return
        begun += len(some)
        yield from zip(some, found, strict=True)


def iter_job_rows(job: GenerationJob, settings: Mapping[str, Any], numbers: Sequence[int]) -> Iterator[JobRow]:
    """Yield what can be asked about the items."""
    key = make_key_function(job.origin, settings)
    for number, content in zip(numbers, job.key_contents(numbers), strict=True):
        if content is not None:
            yield JobRow(number, key(content))


def summarize_usage(cache: ResponseCache, job: GenerationJob) -> dict[str, Any]:
    """Return what the answers took, of all runs on this ledger."""
    query = (
        "SELECT coalesce(sum(calls), 0), coalesce(sum(again), 0), coalesce(sum(tokens_in), 0),"
        " coalesce(sum(tokens_out), 0) FROM answers WHERE stage = ? AND generator = ? AND prompt = ?"
    )
    (taken,) = cache.run_query(query, job.origin.stage, job.origin.generator, job.origin.prompt)
    return {"prompt": job.origin.prompt} | dict(
        zip(("calls", "calls_made_again", "tokens_in", "tokens_out"), taken, strict=True)
    )


class JobRow(NamedTuple):
    """What can be asked: the item's place, and its key."""

    number: int
    key: bytes


class JobRows:
    """Rows in a sixth of the room that they take as Python's objects."""

    def __init__(self, rows: Iterable[JobRow]) -> None:
        self._numbers, self._keys = array("q"), bytearray()
        for row in rows:
            self._numbers.append(row.number)
            self._keys += row.key

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[JobRow]:
        return map(JobRow, self._numbers, self.iter_keys())

    def iter_keys(self) -> Iterator[bytes]:
        """Return the keys alone."""
        return chain.from_iterable(iter_unpack(f"{KEY_BYTES}s", self._keys))


@dataclass
class _InFlight:
    """A row in flight; ``correction`` once its first answer was refused."""

    row: JobRow
    correction: str = ""


_PendingRequest = tuple[_InFlight, Future[GenerationRequest]]


@dataclass
class JobRunner:
    """One asking of a generator about some rows."""

    context: JobContext
    generator: Generator
    job: GenerationJob
    _in_flight: dict[int, _InFlight] = field(default_factory=dict)
    _corrections: deque[_InFlight] = field(default_factory=deque)
    _usage: list[RejectedUsage] = field(default_factory=list)
    _leased_elsewhere: list[JobRow] = field(default_factory=list)
    _consecutive_failures: list[bytes] = field(default_factory=list)
    _repeated_calls: int = 0

    def run_rows(self, rows: JobRows, description: str, num_finished: int = 0) -> None:
        """Return when every row is done or failed, be it by this process or by another on the same ledger;
        ``num_finished`` counts those that needed no look."""
        states = self.context.cache.read_states(rows.iter_keys(), self.context.calls.max_runs)
        todo = JobRows(row for row, state in zip(rows, states, strict=True) if state in ("granted", "taken"))
        with show_progress(
            description, num_finished + len(rows), completed=num_finished + len(rows) - len(todo)
        ) as advance:
            while todo or self._corrections:
                with closing(self._iter_requests(todo)) as questions:
                    for group in self.generator.generate(questions):
                        advance(self._record_group(group))
                todo, self._leased_elsewhere = JobRows(self._leased_elsewhere), []
                if todo and not self._corrections:
                    todo = self._wait_for_others(todo)
        # Failures that no answer followed may well be the server's fault: no such refusal is final.
        self.context.cache.reopen_failures(self._consecutive_failures, runs=0)

    def _iter_requests(self, rows: Iterable[JobRow]) -> Drawn[GenerationRequest | None, None, None]:
        """Yield the questions, and None whenever the next one is not made yet.

        They are made beside this thread, a few ahead, as pictures and choices may take long. A row is claimed once its
        question is there and there is room to ask it, and is sent at once. The ledger stays with this thread.
        """
        free, new, repairs = self._iter_free_rows(rows), deque[_PendingRequest](), deque[_PendingRequest]()
        beside = ThreadPoolExecutor(1)
        try:
            while True:
                for queue, source in ((repairs, self._iter_corrections()), (new, free)):
                    for one in islice(source, min(LEASE_SIZE, self.generator.max_in_flight) - len(queue)):
                        queue.append((one, beside.submit(self.job.make_request, one.row.number)))
                queue = repairs or new
                if not queue:
                    return
                if wait([queue[0][1]], POLL_SECONDS).not_done:
                    yield None
                    continue
                room = self.generator.max_in_flight - len(self._in_flight) % self.generator.max_in_flight
                ready = list(islice(takewhile(lambda making: making[1].done(), queue), room))
                for _ in ready:
                    queue.popleft()
                for making in ready if queue is repairs else self._lease_ready(ready):
                    yield from self._open_request(*making)
        finally:
            beside.shutdown(cancel_futures=True)
            self._log_repeated_calls(0)

    def _iter_free_rows(self, rows: Iterable[JobRow]) -> Iterator[_InFlight]:
        """Yield the rows to ask about, as far as nobody else is asking now."""
        for some in iter_batches(rows, LEASE_SIZE):
            states = self.context.cache.read_states([row.key for row in some], self.context.calls.max_runs)
            for row, state in zip(some, states, strict=True):
                if state == "granted":
                    yield _InFlight(row)
                elif state == "taken":
                    self._leased_elsewhere.append(row)

    def _iter_corrections(self) -> Iterator[_InFlight]:
        while self._corrections:
            yield self._corrections.popleft()

    def _lease_ready(self, ready: Sequence[_PendingRequest]) -> list[_PendingRequest]:
        """Claim rows whose questions are made; return those that this process shall ask."""
        keys = [one.row.key for one, _ in ready]
        states, again = self.context.cache.lease_keys(keys, self.job.origin, self.context.calls.max_runs)
        self._log_repeated_calls(again)
        # A refused answer was paid for, though its run broke off: the repair is what comes next.
        refused = self.context.cache.read_rejections(keys) if again else {}
        for (one, _), state in zip(ready, states, strict=True):
            one.correction = refused.get(one.row.key, "")
            if state == "taken":
                self._leased_elsewhere.append(one.row)
        return [making for making, state in zip(ready, states, strict=True) if state == "granted"]

    def _log_repeated_calls(self, repeated_calls: int) -> None:
        """Count calls that are made again, and log them once a claim held none."""
        self._repeated_calls += repeated_calls
        if self._repeated_calls and not repeated_calls:
            log(
                f"{self.job.origin.stage}: {self._repeated_calls} calls that were in flight when a run was broken off "
                "are made again"
            )
            self._repeated_calls = 0

    def _open_request(self, one: _InFlight, made: Future[GenerationRequest]) -> Iterator[GenerationRequest | None]:
        """Yield the question of a row; None when its picture cannot be used: that is how it ends."""
        try:
            question = made.result()
        except ImageError as error:
            self.context.cache.record_responses([ResponseRecord(one.row.key, None, error.reason, True, 0, 0, 0)])
            yield None
            return
        self._in_flight[one.row.number] = one
        correction = "\n\n" + CORRECTION_TEMPLATE.replace("{problem}", one.correction) if one.correction else ""
        yield replace(question, user_prompt=question.user_prompt + correction)

    def _record_group(self, group: Sequence[GenerationResponse]) -> int:
        """Settle a group of answers; return how many rows are finished with it."""
        ended = [settled for answer in group if (settled := self._judge_response(answer)) is not None]
        spent, self._usage = self._usage, []
        self.context.cache.record_responses(ended, spent)
        if len(self._consecutive_failures) >= self.context.calls.max_consecutive_failures:
            self.context.cache.reopen_failures(self._consecutive_failures, runs=1)
            raise GeneratorError(
                f"The last {len(self._consecutive_failures)} items all failed, at last by: {ended[-1].problem}. What "
                "was finished is kept; mend the cause and run again."
            )
        return len(ended)

    def _judge_response(self, response: GenerationResponse) -> ResponseRecord | None:
        """Return how a row ended; None when its answer is asked for once more."""
        one = self._in_flight.pop(response.number)
        key, took = one.row.key, (response.calls, response.prompt_tokens, response.completion_tokens)
        problem = response.problem
        if response.text is not None:
            try:
                self.job.check_response(response.text)
            except ResponseError as error:
                problem = str(error)
                if not one.correction:
                    one.correction = problem
                    self._corrections.append(one)
                    self._usage.append(RejectedUsage(key, problem, *took))
                    return None
        if problem is None:
            self._consecutive_failures.clear()
        else:
            self._consecutive_failures.append(key)
        return ResponseRecord(key, response.text if problem is None else None, problem, response.is_final, *took)

    def _wait_for_others(self, rows: JobRows) -> JobRows:
        """Return the rows that are still to be asked, after those who ask for the others have settled them or died."""
        while True:
            states = list(self.context.cache.read_states(rows.iter_keys(), self.context.calls.max_runs))
            if "granted" in states or "taken" not in states:
                return JobRows(row for row, state in zip(rows, states, strict=True) if state in ("granted", "taken"))
            time.sleep(0.1)
