"""`Mixture`: which task each batch trains, as a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.seeds import derive_seed
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.packing import SharedPrefixRow
from trialigngr.tasks.settings import TaskSettings


class Mixture:
    """Each batch draws a task by weight (uniformly by default, as in the paper) and takes the task's next examples.

    Raises `RecipeError` where no task can be drawn.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskExamples],
        task_settings: TaskSettings,
        batch_size: int,
        steps: int,
        seed: int,
        *,
        with_negatives: bool = False,
        deletion: float = 0.0,
    ) -> None:
        self.tasks, self.batch_size, self.steps, self.seed = dict(tasks), batch_size, steps, seed
        self.with_negatives, self.deletion = with_negatives, deletion
        self.curriculum = task_settings.build_curriculum({name: len(task) for name, task in tasks.items()}, steps)

    @cached_property
    def _task_by_step(self) -> npt.NDArray[np.int64]:
        random = np.random.default_rng(derive_seed(self.seed, "mixture"))
        drawn, begun = [], 0
        for last, chances in self.curriculum:
            shares = np.array(list(chances.values())) / sum(chances.values())
            drawn.append(random.choice(len(self.tasks), size=last - begun, p=shares))
            begun = last
        return np.concatenate(drawn)

    @cached_property
    def _batch_number_by_step(self) -> npt.NDArray[np.int64]:
        numbers = np.empty(self.steps, dtype=np.int64)
        for task in range(len(self.tasks)):
            mine = self._task_by_step == task
            numbers[mine] = np.arange(mine.sum())
        return numbers

    def batch_number(self, step: int) -> int:
        """Return which batch of its task's own stream a step takes, counted from 0."""
        return int(self._batch_number_by_step[step])

    def draw_batch(self, step: int) -> tuple[TaskExamples, list[SharedPrefixRow]]:
        """Return the task of a step and its ``batch_size`` examples."""
        task = list(self.tasks.values())[self._task_by_step[step]]
        more = {"with_negatives": self.with_negatives, "deletion": self.deletion}
        return task, task.draw_batch(self.seed, self.batch_number(step), self.batch_size, **more)


def count_epoch_steps(tasks: Mapping[str, TaskExamples], batch_size: int) -> int:
    """Return how many batches one epoch has: as many as all tasks together have examples (paper §9.10)."""
    return -(-sum(len(task) for task in tasks.values()) // batch_size)
