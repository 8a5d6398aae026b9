"""The eight tasks of TMT (paper §3.3, Table 10): a task is a row of data, not a class.

The wording is ours (the paper prints roles, not texts) and is the same in training and at test.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
