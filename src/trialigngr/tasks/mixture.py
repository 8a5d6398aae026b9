"""`Mixture`: which task each batch trains, as a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import child
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.packing import Sheet


class Mixture:
    """Each batch draws a task by weight (uniformly by default, as in the paper) and takes the task's next examples."""

    def __init__(
        self, tasks: Mapping[str, TaskExamples], weights: Mapping[str, float], batch_size: int, steps: int, seed: int
    ) -> None:
        self.tasks, self.batch_size, self.steps, self.seed = dict(tasks), batch_size, steps, seed
        total = sum(weights.get(name, 1.0) for name in tasks)
        if below := [name for name in tasks if weights.get(name, 1.0) < 0]:
            raise RecipeError(f"tasks.weights.{below[0]} is below 0; a weight of 0 leaves a task out.")
        if total <= 0:
            raise RecipeError("All task weights are zero; give at least one task of tasks.use a weight above 0.")
        self.probabilities = {name: weights.get(name, 1.0) / total for name in tasks}

    @cached_property
    def _draws(self) -> npt.NDArray[np.int64]:
        random = np.random.default_rng(child(self.seed, "mixture"))
        return random.choice(len(self.tasks), size=self.steps, p=list(self.probabilities.values()))

    @cached_property
    def _numbers(self) -> npt.NDArray[np.int64]:
        numbers = np.empty(self.steps, dtype=np.int64)
        for task in range(len(self.tasks)):
            mine = self._draws == task
            numbers[mine] = np.arange(mine.sum())
        return numbers

    def number(self, step: int) -> int:
        """Return which batch of its task's own stream a step takes, counted from 0."""
        return int(self._numbers[step])

    def batch(self, step: int) -> tuple[TaskExamples, list[Sheet]]:
        """Return the task of a step and its ``batch_size`` examples."""
        task = list(self.tasks.values())[self._draws[step]]
        return task, task.batch(self.seed, self.number(step), self.batch_size)


def epoch_steps(tasks: Mapping[str, TaskExamples], batch_size: int) -> int:
    """Return how many batches one epoch has: as many as all tasks together have examples (paper §9.10)."""
    return -(-sum(len(task) for task in tasks.values()) // batch_size)
