"""`run_job`: ask a generator about everything that a response cache does not hold yet; nothing is counted before it is
on the disk."""

from __future__ import annotations

import json
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain, islice, repeat, takewhile
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from struct import iter_unpack
from typing import Any, NamedTuple, Protocol

from trialigngr.foundation.chunks import iter_batches
from trialigngr.foundation.console import log, show_progress
from trialigngr.foundation.errors import ImageError
from trialigngr.llm.answers import CORRECTION_TEMPLATE, ResponseError
from trialigngr.llm.generator import GenerationRequest, GenerationResponse, Generator, GeneratorError
from trialigngr.llm.response_cache import (
    KEYS_PER_QUERY,
    CachedResponse,
    RejectedUsage,
    ResponseCache,
    ResponseOrigin,
    ResponseRecord,
)
from trialigngr.llm.settings import CACHE_FILE, JobSettings

KEY_BYTES = 16
LEASE_SIZE = 32
"""Most requests that are made ahead, and most rows that are leased by one write."""
POLL_SECONDS = 0.05
"""Seconds that the making of a request may take before answers that came are looked at."""


def make_key_function(origin: ResponseOrigin, settings: Mapping[str, Any]) -> Callable[[tuple[str, ...]], bytes]:
    """Return what turns a content into `KEY_BYTES` bytes that stand for all that an answer depends on: who answers,
    how, and the hashed content."""
    prefix = json.dumps([origin.stage, origin.generator, origin.prompt, dict(settings)], sort_keys=True)[:-1]
    # As json.dumps writes a list of texts, in a third of the time.
    return lambda content: sha256(f"{prefix}, [{', '.join(map(quoted, content))}]]".encode()).digest()[:KEY_BYTES]


class GenerationJob(Protocol):
    """What a stage asks: about which items, and what it takes for an answer."""

    origin: ResponseOrigin

    @property
    def image_tokens(self) -> float:
        """How many visual tokens a request has, about."""
        ...

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
    """Where responses are recorded, and how often what failed is tried again."""

    cache: ResponseCache
    settings: JobSettings


def has_cache(out: Path, cache_path: Path | None) -> bool:
    """Return whether there is a cache that `open_cache` would open."""
    return (cache_path or out / CACHE_FILE).exists()


@contextmanager
def open_cache(out: Path, cache_path: Path | None) -> Iterator[ResponseCache]:
    """Open the cache in ``cache_path``; without one, a cache of the stage's own that goes when the stage is done."""
    own = out / CACHE_FILE
    with ResponseCache(cache_path or own) as cache:
        yield cache
    if cache_path is None:
        for path in own.parent.glob(f"*{CACHE_FILE}*"):
            path.unlink()


def run_job(
    job: GenerationJob, generator: Generator, context: JobContext, num_items: int, description: str
) -> Iterator[CachedResponse | None]:
    """Yield what is kept about each of ``num_items`` items, after asking for what is not there yet; None where there is
    nothing to ask."""
    number = 0
    for row, response in _iter_responses(job, generator, context, num_items, description):
        if row.number > number:
            yield from repeat(None, row.number - number)
        yield response
        number = row.number + 1
    yield from repeat(None, num_items - number)


def _iter_responses(
    job: GenerationJob, generator: Generator, context: JobContext, num_items: int, description: str
) -> Iterator[tuple[JobRow, CachedResponse | None]]:
    """Yield each row and what is kept of it, read once as long as nothing is missing; then all the rest is asked."""
    rows, max_runs, num_finished = (
        iter_job_rows(job, generator.settings, range(num_items)),
        context.settings.max_runs,
        0,
    )
    while batch := list(islice(rows, KEYS_PER_QUERY)):
        responses = list(context.cache.read_responses([row.key for row in batch], max_runs))
        if any(response is None or response.is_retryable for response in responses):
            rest = JobRows(chain(batch, rows))
            JobRunner(context, generator, job).run_rows(rest, description, num_finished)
            yield from zip(rest, context.cache.read_responses(rest.iter_keys(), max_runs), strict=True)
            return
        num_finished += len(batch)
        yield from zip(batch, responses, strict=True)


def iter_job_rows(job: GenerationJob, settings: Mapping[str, Any], numbers: Sequence[int]) -> Iterator[JobRow]:
    """Yield what can be asked about the items."""
    make_key = make_key_function(job.origin, settings)
    for number, content in zip(numbers, job.key_contents(numbers), strict=True):
        if content is not None:
            yield JobRow(number, make_key(content))


def summarize_usage(cache: ResponseCache, job: GenerationJob) -> dict[str, Any]:
    """Return what the answers took, of all runs on this cache."""
    query = (
        "SELECT coalesce(sum(calls), 0), coalesce(sum(repeated_calls), 0), coalesce(sum(prompt_tokens), 0),"
        " coalesce(sum(completion_tokens), 0) FROM responses WHERE stage = ? AND generator = ? AND prompt = ?"
    )
    (sums,) = cache.run_query(query, job.origin.stage, job.origin.generator, job.origin.prompt)
    return {"prompt": job.origin.prompt} | dict(
        zip(("calls", "repeated_calls", "prompt_tokens", "completion_tokens"), sums, strict=True)
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
class _AskedRow:
    """A row that is asked about: its ``request``, made by another thread; its ``correction`` once it was rejected."""

    row: JobRow
    correction: str = ""
    request: Future[GenerationRequest] = field(default_factory=Future)


@dataclass
class JobRunner:
    """Asks a generator about rows, records its responses, and asks again where one was rejected."""

    context: JobContext
    generator: Generator
    job: GenerationJob
    _first: deque[_AskedRow] = field(default_factory=deque)
    _corrections: deque[_AskedRow] = field(default_factory=deque)
    _in_flight: dict[int, _AskedRow] = field(default_factory=dict)
    _rejected: deque[_AskedRow] = field(default_factory=deque)
    _leased_elsewhere: list[JobRow] = field(default_factory=list)
    _consecutive_failures: list[bytes] = field(default_factory=list)
    _repeated_calls: int = 0

    def run_rows(self, rows: JobRows, description: str, num_finished: int = 0) -> None:
        """Return when every row is done or failed, be it by this process or by another on the same cache;
        ``num_finished`` counts those that needed no look."""
        states = self.context.cache.read_states(rows.iter_keys(), self.context.settings.max_runs)
        todo = JobRows(row for row, state in zip(rows, states, strict=True) if state in ("open", "leased"))
        num_rows = num_finished + len(rows)
        with show_progress(description, num_rows, completed=num_rows - len(todo)) as advance:
            while todo:
                self._ask_rows(todo, advance)
                todo, self._leased_elsewhere = self._wait_for_others(JobRows(self._leased_elsewhere)), []
        # Failures that no answer followed may well be the server's fault: no such refusal is final.
        self.context.cache.reopen_failures(self._consecutive_failures, runs=0)

    def _ask_rows(self, rows: Iterable[JobRow], advance: Callable[[int], None]) -> None:
        """Return when all rows have ended that nobody else is asking about.

        Requests are made by another thread, a few ahead, as images and choices may take long; corrections go first.
        The cache stays with this thread.
        """
        free_rows, maker = self._iter_free_rows(rows), ThreadPoolExecutor(1)
        try:
            while True:
                self._make_requests(self._corrections, self._iter_rejected(), maker)
                self._make_requests(self._first, free_rows, maker)
                pending = self._corrections or self._first
                may_submit = bool(pending) and len(self._in_flight) < self.generator.max_in_flight
                if may_submit and pending[0].request.done():
                    advance(self._submit_requests(pending))
                elif self._in_flight and not may_submit:
                    advance(self._record_responses(self.generator.collect(wait=True)))
                elif self._in_flight and (responses := self.generator.collect(wait=False)):
                    advance(self._record_responses(responses))
                elif pending:
                    wait([pending[0].request], POLL_SECONDS)
                else:
                    return
        finally:
            maker.shutdown(cancel_futures=True)
            self._log_repeated_calls(0)

    def _make_requests(self, queue: deque[_AskedRow], source: Iterator[_AskedRow], maker: Executor) -> None:
        """Let requests be made until a few are ahead."""
        for asked in islice(source, min(LEASE_SIZE, self.generator.max_in_flight) - len(queue)):
            asked.request = maker.submit(self.job.make_request, asked.row.number)
            queue.append(asked)

    def _submit_requests(self, queue: deque[_AskedRow]) -> int:
        """Submit the requests that are made, as far as there is room; return how many rows ended before they could be.

        A row is leased only here, and sent at once.
        """
        room = self.generator.max_in_flight - len(self._in_flight)
        made = list(islice(takewhile(lambda asked: asked.request.done(), queue), room))
        for _ in made:
            queue.popleft()
        return sum(
            self._submit_row(asked) for asked in (made if queue is self._corrections else self._lease_rows(made))
        )

    def _iter_free_rows(self, rows: Iterable[JobRow]) -> Iterator[_AskedRow]:
        """Yield the rows to ask about, as far as nobody else is asking now."""
        for batch in iter_batches(rows, LEASE_SIZE):
            states = self.context.cache.read_states([row.key for row in batch], self.context.settings.max_runs)
            for row, state in zip(batch, states, strict=True):
                if state == "open":
                    yield _AskedRow(row)
                elif state == "leased":
                    self._leased_elsewhere.append(row)

    def _iter_rejected(self) -> Iterator[_AskedRow]:
        while self._rejected:
            yield self._rejected.popleft()

    def _lease_rows(self, made: Sequence[_AskedRow]) -> list[_AskedRow]:
        """Lease rows; return those that this process shall ask about."""
        keys = [asked.row.key for asked in made]
        states, num_repeated = self.context.cache.lease_keys(keys, self.job.origin, self.context.settings.max_runs)
        self._log_repeated_calls(num_repeated)
        # A rejected response was paid for, though its run broke off: the correction is what comes next.
        rejections = self.context.cache.read_rejections(keys) if num_repeated else {}
        for asked, state in zip(made, states, strict=True):
            asked.correction = rejections.get(asked.row.key, "")
            if state == "leased":
                self._leased_elsewhere.append(asked.row)
        return [asked for asked, state in zip(made, states, strict=True) if state == "open"]

    def _log_repeated_calls(self, repeated_calls: int) -> None:
        """Count calls that are made again, and log them once a lease held none."""
        self._repeated_calls += repeated_calls
        if self._repeated_calls and not repeated_calls:
            log(
                f"{self.job.origin.stage}: {self._repeated_calls} calls that were in flight when a run was broken off "
                "are made again"
            )
            self._repeated_calls = 0

    def _submit_row(self, asked: _AskedRow) -> bool:
        """Submit the request of a row; return whether it ended instead, as its image cannot be used."""
        try:
            request = asked.request.result()
        except ImageError as error:
            self.context.cache.record_responses([ResponseRecord(asked.row.key, None, error.reason, True, 0, 0, 0)])
            return True
        self._in_flight[asked.row.number] = asked
        correction = "\n\n" + CORRECTION_TEMPLATE.replace("{problem}", asked.correction) if asked.correction else ""
        self.generator.submit(replace(request, user_prompt=request.user_prompt + correction))
        asked.request = Future()  # it may hold an image
        return False

    def _record_responses(self, responses: Sequence[GenerationResponse]) -> int:
        """Record responses; return how many rows ended with them."""
        records, usage = list[ResponseRecord](), list[RejectedUsage]()
        for response in responses:
            asked = self._in_flight.pop(response.number)
            record = self._judge_response(asked, response)
            if isinstance(record, RejectedUsage):
                asked.correction = record.problem
                self._rejected.append(asked)
                usage.append(record)
            else:
                records.append(record)
        self.context.cache.record_responses(records, usage)
        if len(self._consecutive_failures) >= self.context.settings.max_consecutive_failures:
            self.context.cache.reopen_failures(self._consecutive_failures, runs=1)
            raise GeneratorError(
                f"The last {len(self._consecutive_failures)} items all failed, at last by: {records[-1].problem}. What "
                "was finished is kept; mend the cause and run again."
            )
        return len(records)

    def _judge_response(self, asked: _AskedRow, response: GenerationResponse) -> ResponseRecord | RejectedUsage:
        """Return how a row ended, or what its response took where a correction is asked for."""
        key, usage = asked.row.key, (response.calls, response.prompt_tokens, response.completion_tokens)
        problem = response.problem
        if response.text is not None:
            try:
                self.job.check_response(response.text)
            except ResponseError as error:
                problem = str(error)
                if not asked.correction:
                    return RejectedUsage(key, problem, *usage)
        if problem is None:
            self._consecutive_failures.clear()
        else:
            self._consecutive_failures.append(key)
        return ResponseRecord(key, response.text if problem is None else None, problem, response.is_final, *usage)

    def _wait_for_others(self, rows: JobRows) -> JobRows:
        """Return the rows that are still to be asked, after those who ask about the others have ended or died."""
        while True:
            states = list(self.context.cache.read_states(rows.iter_keys(), self.context.settings.max_runs))
            if "open" in states or "leased" not in states:
                return JobRows(row for row, state in zip(rows, states, strict=True) if state in ("open", "leased"))
            time.sleep(0.1)
