"""`ProcessGroup`: the processes that train one model together, each on its share of every batch (torchrun starts
them)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from trialigngr.tasks.packing import SharedPrefixRow

T = TypeVar("T")
TIMEOUT = timedelta(days=7)
"""How long the others wait for the first: it makes all the stages before training, and validates alone."""


@dataclass(frozen=True)
class ProcessGroup:
    """``rank`` of ``world_size`` processes. Gradients are summed over all, so the loss is that of one process."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Return whether this process is the one that writes."""
        return self.rank == 0

    def select_local_rows(self, rows: Sequence[SharedPrefixRow]) -> list[SharedPrefixRow]:
        """Return this process' rows of a batch: the longest first, each to whoever has the fewest tokens so far."""
        loads, mine = [0] * self.world_size, []
        for row in sorted(rows, key=len, reverse=True):
            rank = loads.index(min(loads))
            loads[rank] += len(row)
            if rank == self.rank:
                mine.append(row)
        return mine

    def all_reduce_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes into every gradient; one that a process lacks counts as zero."""
        if self.world_size == 1:
            return
        waiting = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            waiting.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in waiting:
            work.wait()

    def all_reduce_sum(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total)

    def all_reduce_max(self, value: int) -> int:
        """Return the largest of a count over all processes."""
        if self.world_size == 1:
            return value
        largest = torch.tensor(value)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def broadcast_object(self, value: T) -> T:
        """Return what the first process says."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


SINGLE_PROCESS = ProcessGroup()
"""One process that trains alone."""


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started; without torchrun there is one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ProcessGroup()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    yield ProcessGroup(dist.get_rank(), count)
    dist.destroy_process_group()  # not after an error: the others would be waited for, and torchrun ends them
