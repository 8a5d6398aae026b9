"""The eight tasks of TMT (paper §3.3, Table 10): a task is a row of data, not a class.

The wording is ours (the paper prints roles, not texts) and is the same in training and at test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError, did_you_mean


class View(StrEnum):
    """What of an item is shown or asked for."""

    SID = "sid"
    TITLE = "title"
    VISUAL = "visual"


class Scope(StrEnum):
    """Whether a task looks at one item or at a history."""

    ITEM = "item"
    HISTORY = "history"


@dataclass(frozen=True)
class Task:
    """``source`` of an item, or of a history of items, goes in; ``target`` of the same, or the next, item comes out.

    ``instruction`` opens the user's turn; the items follow, so that all prefixes of a history share their tokens.
    """

    name: str
    number: str
    scope: Scope
    source: View
    target: View
    system: str
    instruction: str

    @property
    def continues_history(self) -> bool:
        """Return whether what is written can be read on behind what is shown: SIDs behind SIDs."""
        return self.scope is Scope.HISTORY and self.source is self.target is View.SID


_ENCODER = "You are a semantic-ID encoder: you write the semantic ID of an item."
_DECODER = "You are a semantic-ID decoder: you write what a semantic ID stands for."
_SEQUENTIAL = "You are a sequential recommendation model: you write what a shopper takes next."
_RECOMMENDER = "You are a recommendation model: you recognise items by how they look."

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("title_to_sid", "T1", Scope.ITEM, View.TITLE, View.SID, _ENCODER, "Title: "),
        Task("sid_to_title", "T2", Scope.ITEM, View.SID, View.TITLE, _DECODER, "Semantic ID: "),
        Task(
            "sids_to_sid",
            "T3",
            Scope.HISTORY,
            View.SID,
            View.SID,
            _SEQUENTIAL,
            "Taken so far, oldest first. Give the next ID.\n",
        ),
        Task(
            "titles_to_sid",
            "T4",
            Scope.HISTORY,
            View.TITLE,
            View.SID,
            _SEQUENTIAL,
            "Titles so far, oldest first. Give the next ID.\n",
        ),
        Task(
            "sids_to_title",
            "T5",
            Scope.HISTORY,
            View.SID,
            View.TITLE,
            _SEQUENTIAL,
            "Taken so far, oldest first. Give the next title.\n",
        ),
        Task(
            "titles_to_title",
            "T6",
            Scope.HISTORY,
            View.TITLE,
            View.TITLE,
            _SEQUENTIAL,
            "Titles so far, oldest first. Give the next title.\n",
        ),
        Task(
            "visual_to_sid", "T7", Scope.ITEM, View.VISUAL, View.SID, _RECOMMENDER, "It looks like this, give its ID: "
        ),
        Task(
            "visual_to_title",
            "T8",
            Scope.ITEM,
            View.VISUAL,
            View.TITLE,
            _RECOMMENDER,
            "It looks like this, give its title: ",
        ),
    )
}
"""Task name → task, T1 … T8 in the paper's order."""


def find_task(name: str) -> Task:
    """Return a task by name or number (``T3``); raise `RecipeError` with the nearest known name."""
    for task in TASKS.values():
        if name in (task.name, task.number):
            return task
    raise RecipeError(f"There is no task {name!r}; the eight are {', '.join(TASKS)}.{did_you_mean(name, TASKS)}")


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

    def list_tasks(self) -> list[Task]:
        """Return the tasks in use, in the paper's order; raise `RecipeError` for unknown names or none at all."""
        named = {find_task(name).name for name in self.use}
        if not named:
            raise RecipeError("tasks.use names no task; give at least sids_to_sid.")
        for name in (*self.weights, *(name for stage in self.curriculum for name in stage.weights)):
            find_task(name)
        return [task for task in TASKS.values() if task.name in named]

    def task_weights(self) -> dict[str, float]:
        """Return task name → weight for the tasks in use."""
        given = _resolve_task_names(self.weights)
        return {task.name: given.get(task.name, 1.0) for task in self.list_tasks()}

    def is_ever_drawn(self, name: str) -> bool:
        """Return whether a task has a weight at any time."""
        return any(
            _resolve_task_names(weights).get(name)
            for weights in (self.task_weights(), *(s.weights for s in self.curriculum))
        )

    def build_curriculum(self, examples: Mapping[str, int], steps: int) -> list[tuple[int, dict[str, float]]]:
        """Return (last step, task name → weight) of each stage for tasks of so many examples, the last one at the end.

        Raises `RecipeError` where a weight is below 0, or where a stage draws none of these tasks.
        """
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


def _resolve_task_names(weights: Mapping[str, float]) -> dict[str, float]:
    return {find_task(name).name: weight for name, weight in weights.items()}


def _check_weights(weights: Mapping[str, float], chances: Mapping[str, float]) -> None:
    if below := [name for name, weight in weights.items() if weight < 0]:
        raise RecipeError(f"tasks.weights.{below[0]} is below 0; a weight of 0 leaves a task out.")
    if not sum(chances.values()) > 0:
        raise RecipeError("All task weights are zero; give at least one task of tasks.use a weight above 0.")
