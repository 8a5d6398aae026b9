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

from trialigngr.foundation.console import log, progress
from trialigngr.foundation.errors import PictureError
from trialigngr.llm.answers import AGAIN, AnswerError
from trialigngr.llm.generator import LEDGER, Answer, CallSettings, Generator, GeneratorError, Question, batches
from trialigngr.llm.response_cache import AT_ONCE, Kept, Ledger, Origin, Settled, Spent

KEY = 16
CLAIMED = 32
"""Most questions that are made ahead, and most rows that are claimed by one write."""
SOON = 0.05
"""Seconds that a question may take before answers that came are looked at."""


def keys_of(origin: Origin, settings: Mapping[str, Any]) -> Callable[[tuple[str, ...]], bytes]:
    """Return what turns a content into `KEY` bytes that stand for all that an answer depends on: who answers, how, and
    the hashed content."""
    who = json.dumps([origin.stage, origin.generator, origin.prompt, dict(settings)], sort_keys=True)[:-1]
    # As json.dumps writes a list of texts, in a third of the time.
    return lambda content: sha256(f"{who}, [{', '.join(map(quoted, content))}]]".encode()).digest()[:KEY]


class Inquiry(Protocol):
    """What a stage asks: about which items, and what it takes for an answer."""

    origin: Origin

    @property
    def letters(self) -> int:
        """How many letters a question has beside its content, about."""
        ...

    def contents(self, numbers: Sequence[int]) -> Iterator[tuple[str, ...] | None]:
        """Yield all that the answer about each item depends on; None where there is nothing to ask."""
        ...

    def question(self, number: int) -> Question:
        """Return the question; raise `PictureError` when the item's picture cannot be used."""
        ...

    def check(self, answer: str) -> None:
        """Raise `AnswerError` when an answer cannot be used."""
        ...


class Desk(NamedTuple):
    """Where answers are written down, and how they are asked for."""

    ledger: Ledger
    calls: CallSettings


def has_ledger(out: Path, path: Path | None) -> bool:
    """Say whether there is a ledger that `ledger_for` would open."""
    return (path or out / LEDGER).exists()


@contextmanager
def ledger_for(out: Path, path: Path | None) -> Iterator[Ledger]:
    """Open the ledger in ``path``; without one, a ledger of the stage's own that goes when the stage is done."""
    own = out / LEDGER
    with Ledger(path or own) as ledger:
        yield ledger
    if path is None:
        for path in own.parent.glob(f"*{LEDGER}*"):
            path.unlink()


def ask_about(inquiry: Inquiry, generator: Generator, desk: Desk, total: int, what: str) -> Iterator[Kept | None]:
    """Yield what is kept about each of ``total`` items, after asking for what is not there yet; None where there is
    nothing to ask."""
    number = 0
    for row, one in _kept(inquiry, generator, desk, total, what):
        if row.number > number:
            yield from repeat(None, row.number - number)
        yield one
        number = row.number + 1
    yield from repeat(None, total - number)


def _kept(
    inquiry: Inquiry, generator: Generator, desk: Desk, total: int, what: str
) -> Iterator[tuple[Row, Kept | None]]:
    """Yield each row and what is kept of it, read once as long as nothing is missing; then all the rest is asked."""
    rows, retry_runs, begun = rows_of(inquiry, generator.settings, range(total)), desk.calls.retry_runs, 0
    while some := list(islice(rows, AT_ONCE)):
        found = list(desk.ledger.kept([row.key for row in some], retry_runs))
        if any(one is None or one.again for one in found):
            rest = Rows(chain(some, rows))
            Asking(desk, generator, inquiry).all(rest, what, begun)
            yield from zip(rest, desk.ledger.kept(rest.keys(), retry_runs), strict=True)
            return
        begun += len(some)
        yield from zip(some, found, strict=True)


def rows_of(inquiry: Inquiry, settings: Mapping[str, Any], numbers: Sequence[int]) -> Iterator[Row]:
    """Yield what can be asked about the items."""
    key = keys_of(inquiry.origin, settings)
    for number, content in zip(numbers, inquiry.contents(numbers), strict=True):
        if content is not None:
            yield Row(number, key(content))


def paid_facts(ledger: Ledger, inquiry: Inquiry) -> dict[str, Any]:
    """Return what the answers took, of all runs on this ledger."""
    query = (
        "SELECT coalesce(sum(calls), 0), coalesce(sum(again), 0), coalesce(sum(tokens_in), 0),"
        " coalesce(sum(tokens_out), 0) FROM answers WHERE stage = ? AND generator = ? AND prompt = ?"
    )
    (taken,) = ledger.select(query, inquiry.origin.stage, inquiry.origin.generator, inquiry.origin.prompt)
    return {"prompt": inquiry.origin.prompt} | dict(
        zip(("calls", "calls_made_again", "tokens_in", "tokens_out"), taken, strict=True)
    )


class Row(NamedTuple):
    """What can be asked: the item's place, and its key."""

    number: int
    key: bytes


class Rows:
    """Rows in a sixth of the room that they take as Python's objects."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._numbers, self._keys = array("q"), bytearray()
        for row in rows:
            self._numbers.append(row.number)
            self._keys += row.key

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Row]:
        return map(Row, self._numbers, self.keys())

    def keys(self) -> Iterator[bytes]:
        """Return the keys alone."""
        return chain.from_iterable(iter_unpack(f"{KEY}s", self._keys))


@dataclass
class _Open:
    """A row in flight; ``correction`` once its first answer was refused."""

    row: Row
    correction: str = ""


_Making = tuple[_Open, Future[Question]]


@dataclass
class Asking:
    """One asking of a generator about some rows."""

    desk: Desk
    generator: Generator
    inquiry: Inquiry
    _open: dict[int, _Open] = field(default_factory=dict)
    _repairs: deque[_Open] = field(default_factory=deque)
    _spent: list[Spent] = field(default_factory=list)
    _taken: list[Row] = field(default_factory=list)
    _failed_in_a_row: list[bytes] = field(default_factory=list)
    _again: int = 0

    def all(self, rows: Rows, what: str, before: int = 0) -> None:
        """Return when every row is done or failed, be it by this process or by another on the same ledger;
        ``before`` counts those that needed no look."""
        states = self.desk.ledger.states(rows.keys(), self.desk.calls.retry_runs)
        todo = Rows(row for row, state in zip(rows, states, strict=True) if state in ("granted", "taken"))
        with progress(what, before + len(rows), done=before + len(rows) - len(todo)) as advance:
            while todo or self._repairs:
                with closing(self._feed(todo)) as questions:
                    for group in self.generator.answers(questions):
                        advance(self._take(group))
                todo, self._taken = Rows(self._taken), []
                if todo and not self._repairs:
                    todo = self._waited_for(todo)
        # Failures that no answer followed may well be the server's fault: no such refusal is final.
        self.desk.ledger.reopen(self._failed_in_a_row, runs=0)

    def _feed(self, rows: Iterable[Row]) -> Drawn[Question | None, None, None]:
        """Yield the questions, and None whenever the next one is not made yet.

        They are made beside this thread, a few ahead, as pictures and choices may take long. A row is claimed once its
        question is there and there is room to ask it, and is sent at once. The ledger stays with this thread.
        """
        free, new, repairs = self._free(rows), deque[_Making](), deque[_Making]()
        beside = ThreadPoolExecutor(1)
        try:
            while True:
                for queue, source in ((repairs, self._repaired()), (new, free)):
                    for one in islice(source, min(CLAIMED, self.generator.size) - len(queue)):
                        queue.append((one, beside.submit(self.inquiry.question, one.row.number)))
                queue = repairs or new
                if not queue:
                    return
                if wait([queue[0][1]], SOON).not_done:
                    yield None
                    continue
                room = self.generator.size - len(self._open) % self.generator.size
                ready = list(islice(takewhile(lambda making: making[1].done(), queue), room))
                for _ in ready:
                    queue.popleft()
                for making in ready if queue is repairs else self._claimed(ready):
                    yield from self._opened(*making)
        finally:
            beside.shutdown(cancel_futures=True)
            self._tell(0)

    def _free(self, rows: Iterable[Row]) -> Iterator[_Open]:
        """Yield the rows to ask about, as far as nobody else is asking now."""
        for some in batches(rows, CLAIMED):
            states = self.desk.ledger.states([row.key for row in some], self.desk.calls.retry_runs)
            for row, state in zip(some, states, strict=True):
                if state == "granted":
                    yield _Open(row)
                elif state == "taken":
                    self._taken.append(row)

    def _repaired(self) -> Iterator[_Open]:
        while self._repairs:
            yield self._repairs.popleft()

    def _claimed(self, ready: Sequence[_Making]) -> list[_Making]:
        """Claim rows whose questions are made; return those that this process shall ask."""
        keys = [one.row.key for one, _ in ready]
        states, again = self.desk.ledger.claim(keys, self.inquiry.origin, self.desk.calls.retry_runs)
        self._tell(again)
        # A refused answer was paid for, though its run broke off: the repair is what comes next.
        refused = self.desk.ledger.refused(keys) if again else {}
        for (one, _), state in zip(ready, states, strict=True):
            one.correction = refused.get(one.row.key, "")
            if state == "taken":
                self._taken.append(one.row)
        return [making for making, state in zip(ready, states, strict=True) if state == "granted"]

    def _tell(self, again: int) -> None:
        """Count calls that are made again, and log them once a claim held none."""
        self._again += again
        if self._again and not again:
            log(
                f"{self.inquiry.origin.stage}: {self._again} calls that were in flight when a run was broken off "
                "are made again"
            )
            self._again = 0

    def _opened(self, one: _Open, made: Future[Question]) -> Iterator[Question | None]:
        """Yield the question of a row; None when its picture cannot be used: that is how it ends."""
        try:
            question = made.result()
        except PictureError as error:
            self.desk.ledger.settle([Settled(one.row.key, None, error.reason, True, 0, 0, 0)])
            yield None
            return
        self._open[one.row.number] = one
        correction = "\n\n" + AGAIN.replace("{problem}", one.correction) if one.correction else ""
        yield replace(question, text=question.text + correction)

    def _take(self, group: Sequence[Answer]) -> int:
        """Settle a group of answers; return how many rows are finished with it."""
        ended = [settled for answer in group if (settled := self._judge(answer)) is not None]
        spent, self._spent = self._spent, []
        self.desk.ledger.settle(ended, spent)
        if len(self._failed_in_a_row) >= self.desk.calls.give_up_after:
            self.desk.ledger.reopen(self._failed_in_a_row, runs=1)
            raise GeneratorError(
                f"The last {len(self._failed_in_a_row)} items all failed, at last by: {ended[-1].problem}. What was "
                "finished is kept; mend the cause and run again."
            )
        return len(ended)

    def _judge(self, answer: Answer) -> Settled | None:
        """Return how a row ended; None when its answer is asked for once more."""
        one = self._open.pop(answer.number)
        key, took = one.row.key, (answer.calls, answer.tokens_in, answer.tokens_out)
        problem = answer.problem
        if answer.text is not None:
            try:
                self.inquiry.check(answer.text)
            except AnswerError as error:
                problem = str(error)
                if not one.correction:
                    one.correction = problem
                    self._repairs.append(one)
                    self._spent.append(Spent(key, problem, *took))
                    return None
        if problem is None:
            self._failed_in_a_row.clear()
        else:
            self._failed_in_a_row.append(key)
        return Settled(key, answer.text if problem is None else None, problem, answer.final, *took)

    def _waited_for(self, rows: Rows) -> Rows:
        """Return the rows that are still to be asked, after those who ask for the others have settled them or died."""
        while True:
            states = list(self.desk.ledger.states(rows.keys(), self.desk.calls.retry_runs))
            if "granted" in states or "taken" not in states:
                return Rows(row for row, state in zip(rows, states, strict=True) if state in ("granted", "taken"))
            time.sleep(0.1)
