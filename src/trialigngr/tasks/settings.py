"""The settings of the tasks and of their prompts."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.task import TASKS, Scope, Task, View, find_task


class CurriculumPartSettings(Settings):
    """A part of training with weights of its own."""

    until: float = Field(gt=0, le=1)
    """Share of the steps at which it ends."""
    weights: dict[str, float]
    """Task name → weight while it lasts; a task that is not named is not drawn."""


class TaskSettings(Settings):
    """Which tasks are trained, and how often each is drawn."""

    use: tuple[str, ...] = tuple(TASKS)
    """Task names (or T1 … T8)."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Task name → weight of being drawn for a batch; 1 where nothing is said (all 1: uniformly, as in the paper)."""
    temperature: float | None = Field(None, gt=0)
    """Draw tasks by how many examples they have, to the power of 1 / temperature, times their weights: 1 in proportion,
    large ones nearly alike. Without it the number of examples does not count."""
    curriculum: tuple[CurriculumPartSettings, ...] = ()
    """Parts of training that begin it with other weights, one after the other; after the last come ``weights``."""
    auxiliary_batch_size: int = Field(0, ge=0)
    """Examples of one of the other tasks that every step learns beside a batch of the task that recommends; the weights
    draw among those others, and their loss counts by their number beside ``train.batch_size``. 0: a step is one task's
    alone, as in the paper."""

    def list_tasks(self) -> list[Task]:
        """Return the tasks in use, in the paper's order; raise `RecipeError` for unknown names or none at all."""
        named = {find_task(name).name for name in self.use}
        if not named:
            raise RecipeError("tasks.use names no task; give at least sids_to_sid.")
        for name in (*self.weights, *(name for stage in self.curriculum for name in stage.weights)):
            find_task(name)
        return [task for task in TASKS.values() if task.name in named]

    def find_recommendation_task(self) -> Task:
        """Return the task that asks for recommendations: T3, or T4 without it; raise `RecipeError` without both."""
        for task in self.list_tasks():
            if task.scope is Scope.HISTORY and task.target is View.SID:
                return task
        raise RecipeError("tasks.use has no task that recommends SIDs; add sids_to_sid (T3) or titles_to_sid (T4).")

    @property
    def main_task(self) -> str | None:
        """The task that every step learns, with another beside it; None where a step is one task's alone."""
        return self.find_recommendation_task().name if self.auxiliary_batch_size else None

    def select_drawn_tasks(self, examples: Mapping[str, int]) -> dict[str, int]:
        """Return examples by task of those that are drawn by weight: all but the one that every step learns."""
        return {name: count for name, count in examples.items() if name != self.main_task}

    def count_epoch_steps(self, examples: Mapping[str, int], batch_size: int) -> int:
        """Return how many batches one epoch has: as many as all tasks that are ever drawn have examples (paper §9.10),
        or as the one has that every step learns."""
        if self.main_task:
            return -(-examples[self.main_task] // batch_size)
        return -(-sum(count for name, count in examples.items() if self.is_ever_drawn(name)) // batch_size)

    def task_weights(self) -> dict[str, float]:
        """Return task name → weight for the tasks in use."""
        given = _resolve_task_names(self.weights)
        return {task.name: given.get(task.name, 1.0) for task in self.list_tasks()}

    def is_ever_drawn(self, name: str) -> bool:
        """Return whether a task is learned at any time."""
        if name == self.main_task:
            return True
        return any(
            _resolve_task_names(weights).get(name)
            for weights in (self.task_weights(), *(s.weights for s in self.curriculum))
        )

    def build_curriculum(self, examples: Mapping[str, int], steps: int) -> list[tuple[int, dict[str, float]]]:
        """Return (last step, task name → weight) of each stage for tasks of so many examples, the last one at the end.

        Nothing for no tasks. Raises `RecipeError` for a weight below 0, and for a stage that draws none of these tasks.
        """
        if not examples:
            return []
        given = [(stage.until, _resolve_task_names(stage.weights)) for stage in self.curriculum]
        if sorted(given, key=lambda stage: stage[0]) != given:
            raise RecipeError("tasks.curriculum must be in order: each ends (until) after the one before.")
        usual = {name: weight for name, weight in self.task_weights().items() if name in examples}
        found = []
        for until, weights in [*given, (1.0, usual)]:
            chances = {name: weights.get(name, 0.0) * size for name, size in self._size_factors(examples).items()}
            _check_weights(weights, chances)
            found.append((round(steps * until), chances))
        return found

    def _size_factors(self, examples: Mapping[str, int]) -> dict[str, float]:
        """Return task name → how much its number of examples counts, the largest for 1."""
        power, largest = 1 / self.temperature if self.temperature else 0.0, max(examples.values())
        return {name: (count / largest) ** power for name, count in examples.items()}


class PromptSettings(Settings):
    """How much of a history stands in a prompt; the same in training and at test."""

    max_history: int = Field(20, ge=1)
    """Items of history shown at most."""
    window_overlap: int = Field(10, ge=0)
    """Longer training histories are cut into blocks; each block repeats this many items of the one before."""
    max_length: int = Field(512, ge=1)
    """Tokens of one example at most: prompt and target."""
    max_title_tokens: int = Field(32, ge=1)
    """Tokens of a title at most."""
    max_visual_tokens: int = Field(64, ge=1)
    """Tokens of a visual description at most."""
    history_in_completion: bool = False
    """Whether T3's history stands in the assistant's turn and the next SID continues it, so that every SID of a history
    is a target of the one before: fewer tokens a target, and no text between them."""


def _resolve_task_names(weights: Mapping[str, float]) -> dict[str, float]:
    return {find_task(name).name: weight for name, weight in weights.items()}


def _check_weights(weights: Mapping[str, float], chances: Mapping[str, float]) -> None:
    if below := [name for name, weight in weights.items() if weight < 0]:
        raise RecipeError(f"tasks.weights.{below[0]} is below 0; a weight of 0 leaves a task out.")
    if not sum(chances.values()) > 0:
        raise RecipeError("All task weights are zero; give at least one task of tasks.use a weight above 0.")
