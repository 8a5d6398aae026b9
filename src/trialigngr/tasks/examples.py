"""`TaskExamples`: all training examples of one task, countable, and any range of them as sheets.

An example is one target. Item tasks have one an item; history tasks one for every prefix (length ≥ 1) of the training
part of every user (paper §9.10). The examples of one window stand together, so that a batch of 64 targets holds few
histories.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import Field

from trialigngr.catalog.histories import Histories
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import child
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.packing import Branch, Sheet
from trialigngr.tasks.repeats import shortest
from trialigngr.tasks.task import Scope, Task, View
from trialigngr.tasks.views import ItemViews
from trialigngr.tasks.windows import Window, shown_from, windows

Ints = npt.NDArray[np.int64]
Random = np.random.Generator


class PromptSettings(Settings):
    """How much of a history stands in a prompt; the same in training and at test."""

    history_cap: int = Field(20, ge=1)
    """Items of history shown at most."""
    window_overlap: int = Field(10, ge=0)
    """Longer training histories are cut into blocks; each block repeats this many items of the one before."""
    max_length: int = Field(512, ge=1)
    """Tokens of one example at most: prompt and target."""
    title_tokens: int = Field(32, ge=1)
    """Tokens of a title at most."""
    visual_tokens: int = Field(64, ge=1)
    """Tokens of a visual description at most."""
    continued: bool = False
    """Whether T3's history stands in the assistant's turn and the next SID continues it, so that every SID of a history
    is a target of the one before: fewer tokens a target, and no text between them."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Examples that share a trunk: ``positions`` asked for in a window of user ``owner``, or item ``owner`` itself."""

    owner: int
    first: int
    positions: list[int]


class TaskExamples:
    """The examples of one task over a data set; `RecipeError` where a prompt is too short for one item."""

    def __init__(
        self, task: Task, views: ItemViews, histories: Histories, chat: Chat, settings: PromptSettings
    ) -> None:
        self.task, self.views, self.histories, self.chat, self.settings = task, views, histories, chat, settings
        self.continued = settings.continued and task.continues
        self.tail = [] if self.continued else chat.tail
        self.end = chat.close if not self.continued or views.lengths(task.target) > 1 else []
        header = chat.header(task.system, task.instruction)
        self.header = [*header, *chat.tail] if self.continued else header
        self.budget = self._budget()
        """Tokens left for the items of a prompt when header, tail and the longest target are paid for."""

    def __len__(self) -> int:
        return int(self._counts.sum())

    def _budget(self) -> int:
        """Return what `budget` is; raise `RecipeError` when not one item finds room: text can be cut, a SID cannot."""
        paid = len(self.header) + len(self.tail) + self._longest(self.task.target) + len(self.end)
        least = (self._longest(View.SID) if self.task.source is View.SID else 1) + len(self._separator)
        if paid + least > self.settings.max_length:
            raise RecipeError(
                f"prompt.max_length = {self.settings.max_length} leaves no room for an item in {self.task.name}: "
                f"wording and answer alone take up to {paid} tokens. Give at least {paid + least}, better much more."
            )
        return self.settings.max_length - paid

    def _longest(self, view: View) -> int:
        return max((len(ids) for ids in self.views.ids[view] if ids is not None), default=0)

    @property
    def _separator(self) -> list[int]:
        if self.continued:
            return self.end
        return self.views.separator[self.task.source] if self.task.scope is Scope.HISTORY else []

    def _shown(self, row: int) -> list[int]:
        """Return an item as it stands in a prompt, cut where it alone is longer than the budget; nothing if it has no
        such view."""
        ids = self.views.ids[self.task.source][row]
        return [] if ids is None else [*ids[: self.budget - len(self._separator)], *self._separator]

    @cached_property
    def _costs(self) -> Ints:
        rows = range(len(self.views.ids[self.task.source]))
        return np.array([len(self._shown(row)) for row in rows], dtype=np.int64)

    @cached_property
    def _groups(self) -> list[_Group]:
        found = self._item_groups() if self.task.scope is Scope.ITEM else self._window_groups()
        return [group for group in found if group.positions]

    @cached_property
    def _counts(self) -> Ints:
        return np.array([len(group.positions) for group in self._groups], dtype=np.int64)

    def _item_groups(self) -> Iterator[_Group]:
        for row in range(len(self.views.ids[self.task.target])):
            if self.views.has(self.task.source, row) and self.views.has(self.task.target, row):
                yield _Group(row, 0, [0])

    def _window_groups(self) -> Iterator[_Group]:
        cap = self.settings.history_cap
        overlap = min(self.settings.window_overlap, cap - 1)
        for user, rows in enumerate(self.histories.train_sequences()):
            for window in windows(self._costs[rows], cap, overlap, self.budget):
                yield _Group(user, window.first, self._asked(rows, window))

    def _asked(self, rows: Ints, window: Window) -> list[int]:
        """Return the targets that can be asked for: the target has its view, and something is shown before it."""
        shown = np.cumsum(self._costs[rows[window.first : window.targets_to]] > 0)
        positions = range(window.targets_from, window.targets_to)
        return [p for p in positions if shown[p - window.first - 1] and self.views.has(self.task.target, int(rows[p]))]

    @cached_property
    def _epoch(self) -> dict[tuple[int, int], tuple[Ints, Ints]]:
        return {}

    def _order(self, seed: int, epoch: int) -> tuple[Ints, Ints]:
        """Return the groups of an epoch in drawn order, and where the examples of each end."""
        key = (seed, epoch)
        if key not in self._epoch:
            self._epoch.clear()
            order = np.random.default_rng(child(seed, self.task.name, epoch)).permutation(len(self._groups))
            self._epoch[key] = (order, np.cumsum(self._counts[order]))
        return self._epoch[key]

    def batch(self, seed: int, number: int, size: int, *, refuse: bool = False) -> list[Sheet]:
        """Return batch ``number`` of the task's own stream: exactly ``size`` examples, epoch after epoch, no end.

        With ``refuse``, sheets say for each example that is asked for a SID behind a history which item of it must not
        be written again: any one that is shown.
        """
        sheets: list[Sheet] = []
        refused = np.random.default_rng(child(seed, self.task.name, "refused", number)) if refuse else None
        start, total = number * size, len(self)
        while size:
            epoch, offset = divmod(start, total)
            here = min(size, total - offset)
            sheets += self._slice(*self._order(seed, epoch), offset, offset + here, refused)
            start, size = start + here, size - here
        return sheets

    def _slice(self, order: Ints, ends: Ints, start: int, stop: int, refused: Random | None) -> Iterator[Sheet]:
        first, last = int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(ends, stop, side="left"))
        for place in range(first, last + 1):
            group = self._groups[order[place]]
            begin = int(ends[place]) - len(group.positions)
            yield self._sheet(group, group.positions[max(start - begin, 0) : stop - begin], refused)

    def _sheet(self, group: _Group, positions: list[int], refused: Random | None = None) -> Sheet:
        """Return some of a group's examples as one sheet."""
        if self.task.scope is Scope.ITEM:
            prompt = [*self._shown(group.owner), *self.tail]
            return Sheet([], [Branch(0, prompt, self.target(group.owner), (group.owner, 0))])
        rows = self.histories.train(group.owner)
        chunks = [self._shown(int(row)) for row in rows[group.first : positions[-1]]]
        cuts = np.cumsum([len(chunk) for chunk in chunks]).tolist()
        branches = [
            Branch(cuts[p - group.first - 1], self.tail, self.target(int(rows[p])), (group.owner, p)) for p in positions
        ]
        trunk = [token for chunk in chunks for token in chunk]
        if refused is None or self.task.target is not View.SID:
            return Sheet(trunk, branches)
        drawn = [int(rows[refused.integers(group.first, branch.example[1])]) for branch in branches]
        again = [replace(branch, target=self._alone[row]) for branch, row in zip(branches, drawn, strict=True)]
        pairs = zip(again, branches, strict=True)
        return Sheet(trunk, branches, [one for one, true in pairs if true.target[: len(one.target)] != one.target])

    @cached_property
    def _alone(self) -> list[list[int]]:
        """Return each item's target as far as it takes to tell it from all others."""
        return shortest([self.target(row) for row in range(len(self.views.ids[self.task.target]))])

    def target(self, row: int) -> list[int]:
        """Return what is to be written for an item, its end included."""
        return [*(self.views.ids[self.task.target][row] or []), *self.end]

    def prompt(self, rows: Ints) -> list[int]:
        """Return the whole prompt for a history (oldest first), as at test: its last items that fit, and the tail."""
        rows = rows[-self.settings.history_cap :]
        shown = rows[shown_from(self._costs[rows], self.settings.history_cap, self.budget) :]
        items = [token for row in shown for token in self._shown(int(row))]
        return [*self.header, *items, *self.tail]


def plain_rows(sheets: list[Sheet]) -> list[Sheet]:
    """Return the same examples with nothing shared, one sheet a branch: the reference that sharing must equal."""
    asked = [Sheet(sheet.trunk[: branch.cut], [branch]) for sheet in sheets for branch in sheet.branches]
    return asked + [Sheet(sheet.trunk[: one.cut], [], [one]) for sheet in sheets for one in sheet.refused]
