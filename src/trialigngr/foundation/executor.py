"""`make_executor`: a stage's function over blocks of items, in this process or by the workers of a Ray cluster.

The function is made where it runs (``start`` loads its models), blocks are drawn when a worker is free for them, and a
block whose worker died is given to another. So the results are those of one process, in another order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from typing import Any, Generic, TypeVar

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import RecipeError, TriAlignError

Batch = TypeVar("Batch")
Result = TypeVar("Result")
FunctionFactory = Callable[[], Callable[[Batch], Result]]

BATCHES_PER_WORKER = 2
"""Blocks that a worker has at one time, so that it need not wait for the next."""
MAX_CONSECUTIVE_DEATHS = 5
"""Workers that may die in a row, none finishing a block between them."""
NO_WORKER_WARNING_SECONDS = 30.0
"""Seconds without any worker after which that is said."""


class RaySettings(Settings):
    """Who works on blocks of items. Nothing here changes an artifact, so nothing is made again when it changes."""

    address: str = ""
    """Empty: this process does all. `auto`: the Ray cluster that this machine belongs to. `local`: one that is started
    here for the run. Or a cluster's address."""
    num_workers: int = Field(default=2, ge=1)
    """Processes that work on blocks, each with its own copy of the stage's models."""
    num_cpus: float = Field(default=1.0, ge=0)
    """CPUs of each."""
    num_gpus: float = Field(default=0.0, ge=0)
    """GPUs of each, for captions, interests and embeddings."""


LOCAL_EXECUTION = RaySettings()


def make_executor(
    make_function: FunctionFactory[Batch, Result], ray: RaySettings
) -> LocalExecutor[Batch, Result] | RayExecutor[Batch, Result]:
    """Return who maps the function that ``make_function`` gives: this process, or workers on Ray; to be closed in the
    end."""
    return RayExecutor(make_function, ray) if ray.address else LocalExecutor(make_function)


class LocalExecutor(Generic[Batch, Result]):
    """This process, block by block in their order."""

    def __init__(self, make_function: FunctionFactory[Batch, Result]) -> None:
        self._make_function = make_function
        self._function: Callable[[Batch], Result] | None = None

    def map(self, batches: Iterable[Batch]) -> Iterator[tuple[int, Result]]:
        """Yield each block's place and result; the function is made when there is a first block."""
        for place, block in enumerate(batches):
            self._function = self._function or self._make_function()
            yield place, self._function(block)

    def close(self) -> None:
        """Let go of the function and what it loaded."""
        self._function = None


class _RayWorker:
    """What runs in a process of the cluster."""

    def __init__(self, make_function: FunctionFactory[Any, Any]) -> None:
        self._executor = LocalExecutor(make_function)

    def process_id(self) -> int:
        """Return the process's number, when it stands."""
        return os.getpid()

    def run_batch(self, batch: Any) -> Any:
        """Return what comes of a block; the first one loads the models."""
        ((_, result),) = self._executor.map([batch])
        return result


@dataclass(eq=False)
class _WorkerHandle:
    """A worker as seen from here: its process, once it stands, and the blocks that it has, by place."""

    actor: Any
    process_id: int = 0
    batches: dict[int, Any] = field(default_factory=dict)


class RayExecutor(Generic[Batch, Result]):
    """Workers of a Ray cluster. One that died is replaced, and its blocks are done again by whoever is free."""

    def __init__(self, make_function: FunctionFactory[Batch, Result], settings: RaySettings) -> None:
        self._ray, self._settings = _connect_ray(settings), settings
        self._function_reference = self._ray.put(make_function)
        self._workers: list[_WorkerHandle] = []
        self._pending: dict[Any, tuple[_WorkerHandle, int | None]] = {}
        self._retry_queue: deque[tuple[int, Batch]] = deque()
        self._consecutive_deaths = 0

    def map(self, batches: Iterable[Batch]) -> Iterator[tuple[int, Result]]:
        """Yield each block's place and result as they come; raise what the function raises.

        Raises `TriAlignError` when workers die one after the other and none finishes a block.
        """
        todo = enumerate(batches)
        self._retry_queue.extend(islice(todo, 1))  # nobody is hired for nothing
        while self._retry_queue and len(self._workers) < self._settings.num_workers:
            self._start_worker()
        while True:
            self._dispatch_batches(todo)
            if not self._retry_queue and not any(hand.batches for hand in self._workers):
                return
            yield from self._collect_results()

    def close(self) -> None:
        """End the workers; the cluster stays."""
        for hand in self._workers:
            self._ray.kill(hand.actor)
        self._workers, self._pending = [], {}

    def _start_worker(self) -> None:
        settings = self._settings
        actor = self._ray.remote(num_cpus=settings.num_cpus, num_gpus=settings.num_gpus)(_RayWorker).remote(
            self._function_reference
        )
        hand = _WorkerHandle(actor)
        self._workers.append(hand)
        self._pending[actor.process_id.remote()] = (hand, None)

    def _dispatch_batches(self, todo: Iterator[tuple[int, Batch]]) -> None:
        """Give blocks to those who have few, until all have enough or there are no more."""
        while standing := [
            hand for hand in self._workers if hand.process_id and len(hand.batches) < BATCHES_PER_WORKER
        ]:
            job = self._retry_queue.popleft() if self._retry_queue else next(todo, None)
            if job is None:
                return
            place, block = job
            hand = min(standing, key=lambda one: len(one.batches))
            hand.batches[place] = block
            self._pending[hand.actor.run_batch.remote(block)] = (hand, place)

    def _collect_results(self) -> Iterator[tuple[int, Result]]:
        """Wait for the next answer and yield it, if it is one of a block."""
        from ray import exceptions

        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=NO_WORKER_WARNING_SECONDS)
        if not done and not any(hand.process_id for hand in self._workers):
            log(
                f"Ray has no room yet for a worker of {self._settings.num_cpus:g} CPUs and {self._settings.num_gpus:g} "
                "GPUs"
            )
        for answer in done:
            hand, place = self._pending.pop(answer)
            try:
                result = self._ray.get(answer)
            except exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, TriAlignError) else error from None
            except (exceptions.RayActorError, exceptions.ObjectLostError, exceptions.OutOfMemoryError) as error:
                self._replace_worker(hand, error)
                continue
            if place is None:
                hand.process_id = result
                continue
            self._consecutive_deaths = 0
            del hand.batches[place]
            yield place, result

    def _replace_worker(self, worker: _WorkerHandle, error: Exception) -> None:
        self._consecutive_deaths += 1
        said = str(error).splitlines()[0].rstrip(".:")
        if self._consecutive_deaths >= MAX_CONSECUTIVE_DEATHS:
            raise RecipeError(
                f"The last {self._consecutive_deaths} workers on Ray died before they finished a block ({said}). What "
                "was finished is kept; mend the cause, or give each more room (ray.num_cpus, ray.num_gpus), and run "
                "again."
            )
        log(f"A worker on Ray died ({said}); its {len(worker.batches)} blocks are done again")
        self._ray.kill(worker.actor)
        self._workers.remove(worker)
        self._pending = {answer: one for answer, one in self._pending.items() if one[0] is not worker}
        self._retry_queue.extend(sorted(worker.batches.items()))
        self._start_worker()


def _connect_ray(settings: RaySettings) -> Any:
    """Return Ray, connected; raise `RecipeError` when it is not installed, there is no such cluster, or none starts."""
    try:
        import ray
    except ImportError:
        raise RecipeError("Work on a Ray cluster needs Ray: pip install 'trialigngr[ray]'.") from None
    if not ray.is_initialized():
        own = {"num_cpus": ceil(settings.num_workers * settings.num_cpus), "include_dashboard": False}
        try:
            ray.init(
                address=settings.address, logging_level="ERROR", log_to_driver=False,
                **own if settings.address == "local" else {},
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 (Ray raises the bare class when its helpers do not start in time)
            said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            if settings.address == "local":
                raise RecipeError(
                    f"Ray cannot start a cluster of this run's own ({said}); when the machine is busy, run again later."
                ) from None
            raise RecipeError(
                f"There is no Ray cluster at {settings.address!r} ({said}); start one with `ray start --head`, or let "
                "this run have its own with `local`."
            ) from None
    return ray
