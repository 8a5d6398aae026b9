"""`TaskExamples`: all training examples of one task, countable, and any range of them as sheets.

An example is one target. Item tasks have one an item; history tasks one for every prefix (length ≥ 1) of the training part
of every user (paper §9.10). The examples of one window stand together, so that a batch of 64 targets holds few histories.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Histories
from trialigngr.foundation.config import Settings
from trialigngr.foundation.seeds import child
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.packing import Branch, Sheet
from trialigngr.tasks.task import Scope, Task
from trialigngr.tasks.views import ItemViews
from trialigngr.tasks.windows import shown_from, windows

Ints = npt.NDArray[np.int64]


class PromptSettings(Settings):
    """How much of a history stands in a prompt; the same in training and at test."""

    history_cap: int = 20
    """Items of history shown at most."""
    window_overlap: int = 10
    """Longer training histories are cut into blocks; each block repeats this many items of the one before."""
    max_length: int = 512
    """Tokens of one example at most: prompt and target."""
    title_tokens: int = 32
    """Tokens of a title at most."""
    visual_tokens: int = 64
    """Tokens of a visual description at most."""


@dataclass(frozen=True)
class _Groups:
    """G groups of examples: a window of a user, or an item. Group g asks for ``counts[g]`` targets."""

    owner: Ints
    first: Ints
    targets_from: Ints
    counts: Ints


class TaskExamples:
    """The examples of one task over a data set."""

    def __init__(self, task: Task, views: ItemViews, histories: Histories, chat: Chat, settings: PromptSettings) -> None:
        self.task, self.views, self.histories, self.chat, self.settings = task, views, histories, chat, settings
        self.header = chat.header(task.system, task.instruction)

    def __len__(self) -> int:
        return int(self._groups.counts.sum())

    @cached_property
    def budget(self) -> int:
        """Tokens left for the items of a prompt when header, tail and the longest target are paid for."""
        longest = max((len(ids) for ids in self.views.ids[self.task.target] if ids is not None), default=0)
        return self.settings.max_length - len(self.header) - len(self.chat.tail) - longest - len(self.chat.close)

    @cached_property
    def _costs(self) -> Ints:
        rows = range(len(self.views.ids[self.task.source]))
        return np.array([len(self.views.chunk(self.task.source, row)) for row in rows], dtype=np.int64)

    @cached_property
    def _groups(self) -> _Groups:
        found = list(self._item_groups() if self.task.scope is Scope.ITEM else self._window_groups())
        table = np.array(found, dtype=np.int64).reshape(-1, 4)
        return _Groups(*table.T.copy())

    def _item_groups(self) -> Iterator[tuple[int, int, int, int]]:
        for row in range(len(self.views.ids[self.task.target])):
            if self.views.has(self.task.source, row) and self.views.has(self.task.target, row):
                yield row, 0, 0, 1

    def _window_groups(self) -> Iterator[tuple[int, int, int, int]]:
        cap, overlap = self.settings.history_cap, min(self.settings.window_overlap, self.settings.history_cap - 1)
        for user, rows in enumerate(self.histories.train_sequences()):
            costs = self._costs[rows]
            for window in windows(costs, cap, overlap, self.budget):
                asked = self._asked(rows, window.first, window.targets_from, window.targets_to)
                if asked:
                    yield user, window.first, window.targets_from, len(asked)

    def _asked(self, rows: Ints, first: int, start: int, stop: int) -> list[int]:
        """Return the targets of a window that can be asked for: the target has its view, and something is shown."""
        shown_to = np.cumsum(self._costs[rows[first:stop]] > 0)
        return [p for p in range(start, stop) if shown_to[p - first - 1] and self.views.has(self.task.target, int(rows[p]))]

    @cached_property
    def _positions(self) -> list[list[int]]:
        """Return the positions that each group asks for."""
        groups = self._groups
        ends = np.append(groups.targets_from[1:], 0)
        result = []
        for group in range(len(groups.owner)):
            rows = self.histories.train(int(groups.owner[group]))
            same = group + 1 < len(groups.owner) and groups.owner[group + 1] == groups.owner[group]
            stop = int(ends[group]) if same else len(rows)
            result.append(self._asked(rows, int(groups.first[group]), int(groups.targets_from[group]), stop))
        return result

    @property
    def groups(self) -> int:
        """How many groups of examples there are."""
        return len(self._groups.owner)

    @cached_property
    def _epoch(self) -> dict[tuple[int, int], tuple[Ints, Ints]]:
        return {}

    def _order(self, seed: int, epoch: int) -> tuple[Ints, Ints]:
        """Return the groups of an epoch in drawn order, and where the examples of each end."""
        key = (seed, epoch)
        if key not in self._epoch:
            self._epoch.clear()
            order = np.random.default_rng(child(seed, self.task.name, epoch)).permutation(self.groups)
            self._epoch[key] = (order, np.cumsum(self._groups.counts[order]))
        return self._epoch[key]

    def batch(self, seed: int, number: int, size: int) -> list[Sheet]:
        """Return batch ``number`` of the task's own stream: exactly ``size`` examples, epoch after epoch without end."""
        sheets: list[Sheet] = []
        start, total = number * size, len(self)
        while size:
            epoch, offset = divmod(start, total)
            here = min(size, total - offset)
            sheets += self._slice(*self._order(seed, epoch), offset, offset + here)
            start, size = start + here, size - here
        return sheets

    def _slice(self, order: Ints, ends: Ints, start: int, stop: int) -> Iterator[Sheet]:
        first, last = int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(ends, stop, side="left"))
        for place in range(first, last + 1):
            group = int(order[place])
            begin = int(ends[place] - self._groups.counts[group])
            yield self._sheet(group, max(start - begin, 0), min(stop - begin, int(self._groups.counts[group])))

    def _sheet(self, group: int, start: int, stop: int) -> Sheet:
        """Return examples ``start … stop - 1`` of a group as one sheet."""
        owner = int(self._groups.owner[group])
        if self.task.scope is Scope.ITEM:
            source = self.views.ids[self.task.source][owner] or []
            return Sheet([], [Branch(0, [*source, *self.chat.tail], self.target(owner), (owner, 0))])
        rows = self.histories.train(owner)
        first = int(self._groups.first[group])
        positions = self._positions[group][start:stop]
        chunks = [self.views.chunk(self.task.source, int(row)) for row in rows[first : positions[-1]]]
        cuts = np.cumsum([len(chunk) for chunk in chunks])
        branches = [Branch(int(cuts[p - first - 1]), self.chat.tail, self.target(int(rows[p])), (owner, p)) for p in positions]
        return Sheet([token for chunk in chunks for token in chunk], branches)

    def target(self, row: int) -> list[int]:
        """Return what is to be written for an item, the end of the turn included."""
        return [*(self.views.ids[self.task.target][row] or []), *self.chat.close]

    def prompt(self, rows: Ints) -> list[int]:
        """Return the whole prompt for a history (oldest first), as at test: its last items that fit, and the tail."""
        rows = rows[-self.settings.history_cap :]
        shown = rows[shown_from(self._costs[rows], self.settings.history_cap, self.budget) :]
        items = [token for row in shown for token in self.views.chunk(self.task.source, int(row))]
        return [*self.header, *items, *self.chat.tail]


def plain_rows(sheets: list[Sheet]) -> list[Sheet]:
    """Return the same examples with nothing shared: one sheet for each branch. The reference that sharing must equal."""
    return [Sheet(sheet.trunk[: branch.cut], [branch]) for sheet in sheets for branch in sheet.branches]
