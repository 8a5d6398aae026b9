"""`BatchEngine`: requests wait in a queue and are answered in batches by one thread; it knows nothing of HTTP."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import monotonic
from typing import Protocol

from trialigngr.decode.filters import Filter
from trialigngr.runs.recommender import Recommender
from trialigngr.runs.request import Recommendations, RecommendRequest
from trialigngr.runs.run import Run
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.limits import QueueSettings


class RequestPlan(Protocol):
    """What is asked of a recommender; whoever planned it may hold more in it."""

    @property
    def requests(self) -> Sequence[RecommendRequest]:
        """The requests, answered together and from one catalogue."""
        ...

    @property
    def row_filters(self) -> Sequence[Filter]:
        """What each request may bring besides, by rows of that catalogue."""
        ...


BuildPlan = Callable[[Recommender], RequestPlan]
"""Return what is asked of the recommender of the moment in which it is answered, so that filters are of its items."""


@dataclass(frozen=True)
class EngineAnswer:
    """A list for each request of a plan, the recommender that gave them, and what it took: how long the plan waited,
    how long its batch was decoded, and with how many requests."""

    plan: RequestPlan
    lists: list[Recommendations]
    recommender: Recommender
    waited_s: float
    decoded_s: float
    batch_size: int


@dataclass(frozen=True, eq=False)
class EngineJob:
    """A plan that waits. ``size`` is the number of its requests."""

    build_plan: BuildPlan
    size: int
    submitted: float
    future: Future[EngineAnswer] = field(default_factory=Future)


class BatchEngine:
    """The queue of one run. Every batch is answered by the run's recommender of that moment, so a refreshed catalogue
    is taken up between batches, and no request is lost."""

    def __init__(
        self, run: Run, settings: QueueSettings, watch_batch: Callable[[int, float], None] = lambda size, seconds: None
    ) -> None:
        """``watch_batch`` is told the size of each batch and the seconds that it took."""
        self.run, self.settings, self._watch_batch = run, settings, watch_batch
        self._jobs: deque[EngineJob] = deque()
        self._changed = Condition()
        self._draining = False
        self._last_size = 0
        self._thread = Thread(target=self._run_batches, name="batches", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def submit(self, jobs: Sequence[tuple[BuildPlan, int]]) -> list[Future[EngineAnswer]]:
        """Put plans and their sizes into the queue, all or none, and return what will hold the answers.

        Into an empty queue goes whatever comes at once, however much that is. Raises `ServiceError` when the queue is
        full, and when the engine is draining.
        """
        waiting = [EngineJob(build_plan, size, monotonic()) for build_plan, size in jobs]
        with self._changed:
            if self._draining:
                raise ServiceError("draining", "This server is stopping; ask another one.")
            if self._jobs and self.num_waiting + sum(job.size for job in waiting) > self.settings.max_waiting:
                raise ServiceError("overloaded", f"{self.num_waiting} requests wait already; try again later.")
            self._jobs += waiting
            self._changed.notify_all()
        return [job.future for job in waiting]

    @property
    def num_waiting(self) -> int:
        """The number of requests that wait."""
        return sum(job.size for job in tuple(self._jobs))

    @property
    def is_full(self) -> bool:
        """Whether not even one more request may wait."""
        return self.num_waiting >= self.settings.max_waiting

    @property
    def is_alive(self) -> bool:
        """Whether there is a thread that answers."""
        return self._thread.is_alive()

    def drain(self) -> None:
        """Take nothing more, answer what waits, and return when that is done."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()
        if self.is_alive:
            self._thread.join()

    def _run_batches(self) -> None:
        while jobs := self._take_batch():
            begun = monotonic()
            self._answer_batch(jobs)
            self._watch_batch(sum(job.size for job in jobs), monotonic() - begun)

    def _take_batch(self) -> list[EngineJob]:
        """Return the next jobs, at least one however large; none when the engine is drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._draining)
            if self._last_size > 1:  # one client alone does not wait for others
                full = self.settings.max_batch
                self._changed.wait_for(
                    lambda: self.num_waiting >= full or self._draining, self.settings.window_ms / 1000
                )
            jobs, size = list[EngineJob](), 0
            while self._jobs and (not jobs or size + self._jobs[0].size <= self.settings.max_batch):
                jobs.append(self._jobs.popleft())
                size += jobs[-1].size
            self._last_size = len(jobs)
            return jobs

    def _answer_batch(self, jobs: Sequence[EngineJob]) -> None:
        recommender, begun = self.run.current_recommender, monotonic()
        planned = list[tuple[EngineJob, RequestPlan]]()
        for job in jobs:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                if begun - job.submitted > self.settings.deadline_s:
                    raise ServiceError("deadline", f"Not begun within {self.settings.deadline_s:g} s; try again later.")
                planned.append((job, job.build_plan(recommender)))
            except Exception as error:  # noqa: BLE001 - whoever asked is told, and the others are answered
                job.future.set_exception(error)
        if planned:
            self._answer_plans(planned, recommender, begun)

    def _answer_plans(
        self, planned: Sequence[tuple[EngineJob, RequestPlan]], recommender: Recommender, begun: float
    ) -> None:
        """Answer plans together; where that fails each alone, so that one mistake is nobody else's."""
        requests = [request for _, plan in planned for request in plan.requests]
        row_filters = [one for _, plan in planned for one in plan.row_filters]
        try:
            lists = iter(recommender.recommend(requests, row_filters))
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            if len(planned) > 1:
                for one in planned:
                    self._answer_plans([one], recommender, begun)
            else:
                planned[0][0].future.set_exception(error)
            return
        decoded_s = monotonic() - begun
        for job, plan in planned:
            own = [next(lists) for _ in plan.requests]
            waited_s = begun - job.submitted
            job.future.set_result(EngineAnswer(plan, own, recommender, waited_s, decoded_s, len(requests)))
