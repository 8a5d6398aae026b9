"""`crew_for`: a stage's function over blocks of items, in this process or by the workers of a Ray cluster.

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

Block = TypeVar("Block")
Result = TypeVar("Result")
Start = Callable[[], Callable[[Block], Result]]

AHEAD = 2
"""Blocks that a worker has at one time, so that it need not wait for the next."""
MOST_DEATHS = 5
"""Workers that may die in a row, none finishing a block between them."""
PATIENCE = 30.0
"""Seconds without any worker after which that is said."""


class RaySettings(Settings):
    """Who works on blocks of items. Nothing here changes an artifact, so nothing is made again when it changes."""

    address: str = ""
    """Empty: this process does all. `auto`: the Ray cluster that this machine belongs to. `local`: one that is started
    here for the run. Or a cluster's address."""
    workers: int = Field(default=2, ge=1)
    """Processes that work on blocks, each with its own copy of the stage's models."""
    cpus: float = Field(default=1.0, ge=0)
    """CPUs of each."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs of each, for captions, interests and embeddings."""


HERE = RaySettings()


def crew_for(start: Start[Block, Result], ray: RaySettings) -> Alone[Block, Result] | OnRay[Block, Result]:
    """Return who maps the function that ``start`` gives: this process, or workers on Ray; to be closed in the end."""
    return OnRay(start, ray) if ray.address else Alone(start)


class Alone(Generic[Block, Result]):
    """This process, block by block in their order."""

    def __init__(self, start: Start[Block, Result]) -> None:
        self._start = start
        self._work: Callable[[Block], Result] | None = None

    def map(self, blocks: Iterable[Block]) -> Iterator[tuple[int, Result]]:
        """Yield each block's place and result; the function is made when there is a first block."""
        for place, block in enumerate(blocks):
            self._work = self._work or self._start()
            yield place, self._work(block)

    def close(self) -> None:
        """Let go of the function and what it loaded."""
        self._work = None


class _Worker:
    """What runs in a process of the cluster."""

    def __init__(self, start: Start[Any, Any]) -> None:
        self._alone = Alone(start)

    def pid(self) -> int:
        """Return the process's number, when it stands."""
        return os.getpid()

    def work(self, block: Any) -> Any:
        """Return what comes of a block; the first one loads the models."""
        ((_, result),) = self._alone.map([block])
        return result


@dataclass(eq=False)
class _Hand:
    """A worker as seen from here: its process, once it stands, and the blocks that it has, by place."""

    actor: Any
    pid: int = 0
    blocks: dict[int, Any] = field(default_factory=dict)


class OnRay(Generic[Block, Result]):
    """Workers of a Ray cluster. One that died is replaced, and its blocks are done again by whoever is free."""

    def __init__(self, start: Start[Block, Result], settings: RaySettings) -> None:
        self._ray, self._settings = _connected(settings), settings
        self._start = self._ray.put(start)
        self._hands: list[_Hand] = []
        self._flying: dict[Any, tuple[_Hand, int | None]] = {}
        self._again: deque[tuple[int, Block]] = deque()
        self._deaths = 0

    def map(self, blocks: Iterable[Block]) -> Iterator[tuple[int, Result]]:
        """Yield each block's place and result as they come; raise what the function raises.

        Raises `TriAlignError` when workers die one after the other and none finishes a block.
        """
        todo = enumerate(blocks)
        self._again.extend(islice(todo, 1))  # nobody is hired for nothing
        while self._again and len(self._hands) < self._settings.workers:
            self._hire()
        while True:
            self._hand_out(todo)
            if not self._again and not any(hand.blocks for hand in self._hands):
                return
            yield from self._came()

    def close(self) -> None:
        """End the workers; the cluster stays."""
        for hand in self._hands:
            self._ray.kill(hand.actor)
        self._hands, self._flying = [], {}

    def _hire(self) -> None:
        settings = self._settings
        actor = self._ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus)(_Worker).remote(self._start)
        hand = _Hand(actor)
        self._hands.append(hand)
        self._flying[actor.pid.remote()] = (hand, None)

    def _hand_out(self, todo: Iterator[tuple[int, Block]]) -> None:
        """Give blocks to those who have few, until all have enough or there are no more."""
        while standing := [hand for hand in self._hands if hand.pid and len(hand.blocks) < AHEAD]:
            job = self._again.popleft() if self._again else next(todo, None)
            if job is None:
                return
            place, block = job
            hand = min(standing, key=lambda one: len(one.blocks))
            hand.blocks[place] = block
            self._flying[hand.actor.work.remote(block)] = (hand, place)

    def _came(self) -> Iterator[tuple[int, Result]]:
        """Wait for the next answer and yield it, if it is one of a block."""
        from ray import exceptions

        done, _ = self._ray.wait(list(self._flying), num_returns=1, timeout=PATIENCE)
        if not done and not any(hand.pid for hand in self._hands):
            log(f"Ray has no room yet for a worker of {self._settings.cpus:g} CPUs and {self._settings.gpus:g} GPUs")
        for answer in done:
            hand, place = self._flying.pop(answer)
            try:
                result = self._ray.get(answer)
            except exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, TriAlignError) else error from None
            except (exceptions.RayActorError, exceptions.ObjectLostError, exceptions.OutOfMemoryError) as error:
                self._replace(hand, error)
                continue
            if place is None:
                hand.pid = result
                continue
            self._deaths = 0
            del hand.blocks[place]
            yield place, result

    def _replace(self, hand: _Hand, error: Exception) -> None:
        self._deaths += 1
        said = str(error).splitlines()[0].rstrip(".:")
        if self._deaths >= MOST_DEATHS:
            raise RecipeError(
                f"The last {self._deaths} workers on Ray died before they finished a block ({said}). What was finished "
                "is kept; mend the cause, or give each more room (ray.cpus, ray.gpus), and run again."
            )
        log(f"A worker on Ray died ({said}); its {len(hand.blocks)} blocks are done again")
        self._ray.kill(hand.actor)
        self._hands.remove(hand)
        self._flying = {answer: one for answer, one in self._flying.items() if one[0] is not hand}
        self._again.extend(sorted(hand.blocks.items()))
        self._hire()


def _connected(settings: RaySettings) -> Any:
    """Return Ray, connected; raise `RecipeError` when it is not installed, there is no such cluster, or none starts."""
    try:
        import ray
    except ImportError:
        raise RecipeError("Work on a Ray cluster needs Ray: pip install 'trialigngr[ray]'.") from None
    if not ray.is_initialized():
        own = {"num_cpus": ceil(settings.workers * settings.cpus), "include_dashboard": False}
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
