"""`Mixture`: which task each batch trains, as a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.seeds import derive_seed
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.packing import SharedPrefixRow
from trialigngr.tasks.settings import TaskSettings
from trialigngr.tasks.soft_targets import SoftTargets


@dataclass(frozen=True)
class TaskBatch:
    """Examples of one task, and perhaps of another beside them; ``number`` counts the batches of the task.

    ``loss_weight`` is what the mean loss of the task counts in the loss of the step.
    """

    task: TaskExamples
    rows: list[SharedPrefixRow]
    number: int
    auxiliary: TaskBatch | None = None
    loss_weight: float = 1.0

    @property
    def parts(self) -> list[TaskBatch]:
        """The batch, and what stands beside it."""
        return [self] if self.auxiliary is None else [self, self.auxiliary]

    @property
    def name(self) -> str:
        """The task, or both tasks."""
        return "+".join(part.task.task.name for part in self.parts)

    @property
    def label(self) -> str:
        """The tasks' numbers in the paper."""
        return "+".join(part.task.task.number for part in self.parts)

    @property
    def description(self) -> str:
        """What messages say."""
        said = [f"task {part.task.task.name} (batch {part.number} of that task)" for part in self.parts]
        return " beside ".join(said)

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(len(row) for part in self.parts for row in part.rows)


class Mixture:
    """Each batch draws a task by weight (uniformly by default, as in the paper) and takes the task's next examples.

    With ``auxiliary_batch_size`` every step has a batch of the task that recommends, and the task drawn stands beside,
    with as much weight in the loss as it has examples beside those of the batch.

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
        soft_targets: SoftTargets | None = None,
    ) -> None:
        self.tasks, self.batch_size, self.steps, self.seed = dict(tasks), batch_size, steps, seed
        self.with_negatives, self.deletion, self.soft_targets = with_negatives, deletion, soft_targets
        self.auxiliary_batch_size = task_settings.auxiliary_batch_size
        self.main = task_settings.main_task
        examples = task_settings.select_drawn_tasks({name: len(task) for name, task in tasks.items()})
        self.curriculum = task_settings.build_curriculum(examples, steps)
        self._drawn_tasks = list(examples)

    @cached_property
    def _task_by_step(self) -> npt.NDArray[np.int64]:
        random = np.random.default_rng(derive_seed(self.seed, "mixture"))
        drawn, begun = [], 0
        for last, chances in self.curriculum:
            shares = np.array(list(chances.values())) / sum(chances.values())
            drawn.append(random.choice(len(chances), size=last - begun, p=shares))
            begun = last
        return np.concatenate(drawn)

    @cached_property
    def _batch_number_by_step(self) -> npt.NDArray[np.int64]:
        numbers = np.empty(self.steps, dtype=np.int64)
        for task in range(len(self._drawn_tasks)):
            mine = self._task_by_step == task
            numbers[mine] = np.arange(mine.sum())
        return numbers

    def draw_batch(self, step: int) -> TaskBatch:
        """Return the ``batch_size`` examples of a step, with those of another task beside them where that is wanted."""
        if self.main is None:
            return self._draw_task(step, self.batch_size)
        main = self._draw_examples(self.main, step, self.batch_size)
        if not self._drawn_tasks:
            return main
        beside = self._draw_task(step, self.auxiliary_batch_size)
        return replace(main, auxiliary=replace(beside, loss_weight=self.auxiliary_batch_size / self.batch_size))

    def _draw_task(self, step: int, size: int) -> TaskBatch:
        name, number = self._drawn_tasks[self._task_by_step[step]], int(self._batch_number_by_step[step])
        return self._draw_examples(name, number, size)

    def _draw_examples(self, name: str, number: int, size: int) -> TaskBatch:
        """Return a batch of a task's own stream, counted from 0."""
        task = self.tasks[name]
        rows = task.draw_batch(
            self.seed,
            number,
            size,
            with_negatives=self.with_negatives,
            deletion=self.deletion,
            soft_targets=self.soft_targets,
        )
        return TaskBatch(task, rows, number)
