"""`TaskExamples`: all training examples of one task, countable, and any range of them as rows.

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

from trialigngr.catalog.histories import Histories
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import derive_seed
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.item_views import ItemViews
from trialigngr.tasks.packing import Continuation, SharedPrefixRow
from trialigngr.tasks.settings import PromptSettings
from trialigngr.tasks.task import Scope, Task, View
from trialigngr.tasks.unique_prefixes import shortest_unique_prefixes
from trialigngr.tasks.windows import Window, cut_windows, find_prompt_start

Int64Array = npt.NDArray[np.int64]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class _ExampleGroup:
    """Examples that share a prefix: ``positions`` asked for in a window of user ``owner``, or item ``owner`` itself."""

    owner: int
    first: int
    positions: list[int]


class TaskExamples:
    """The examples of one task over a data set; `RecipeError` where a prompt is too short for one item."""

    def __init__(
        self, task: Task, views: ItemViews, histories: Histories, chat_template: ChatTemplate, settings: PromptSettings
    ) -> None:
        self.task, self.views, self.histories, self.chat_template, self.settings = (
            task,
            views,
            histories,
            chat_template,
            settings,
        )
        self.history_in_completion = settings.history_in_completion and task.continues_history
        self.prompt_suffix = [] if self.history_in_completion else chat_template.assistant_prefix
        self.target_suffix = (
            chat_template.assistant_suffix
            if not self.history_in_completion or views.count_distinct_lengths(task.target) > 1
            else []
        )
        header = chat_template.build_header(task.system, task.instruction)
        self.prompt_header = [*header, *chat_template.assistant_prefix] if self.history_in_completion else header
        self.item_budget = self._compute_item_budget()
        """Tokens left for the items of a prompt when header, tail and the longest target are paid for."""

    def __len__(self) -> int:
        return int(self._group_sizes.sum())

    def _compute_item_budget(self) -> int:
        """Return what `budget` is; raise `RecipeError` when not one item finds room: text can be cut, a SID cannot."""
        paid = (
            len(self.prompt_header)
            + len(self.prompt_suffix)
            + self._max_view_tokens(self.task.target)
            + len(self.target_suffix)
        )
        least = (self._max_view_tokens(View.SID) if self.task.source is View.SID else 1) + len(self._separator_tokens)
        if paid + least > self.settings.max_length:
            raise RecipeError(
                f"prompt.max_length = {self.settings.max_length} leaves no room for an item in {self.task.name}: "
                f"wording and answer alone take up to {paid} tokens. Give at least {paid + least}, better much more."
            )
        return self.settings.max_length - paid

    def _max_view_tokens(self, view: View) -> int:
        return max((len(ids) for ids in self.views.token_ids[view] if ids is not None), default=0)

    @property
    def _separator_tokens(self) -> list[int]:
        if self.history_in_completion:
            return self.target_suffix
        return self.views.separator_ids[self.task.source] if self.task.scope is Scope.HISTORY else []

    def _item_tokens(self, row: int) -> list[int]:
        """Return an item as it stands in a prompt, cut where it alone is longer than the budget; nothing if it has no
        such view."""
        ids = self.views.token_ids[self.task.source][row]
        return [] if ids is None else [*ids[: self.item_budget - len(self._separator_tokens)], *self._separator_tokens]

    @cached_property
    def _item_token_counts(self) -> Int64Array:
        rows = range(len(self.views.token_ids[self.task.source]))
        return np.array([len(self._item_tokens(row)) for row in rows], dtype=np.int64)

    @cached_property
    def _example_groups(self) -> list[_ExampleGroup]:
        found = self._iter_item_groups() if self.task.scope is Scope.ITEM else self._iter_window_groups()
        return [group for group in found if group.positions]

    @cached_property
    def _group_sizes(self) -> Int64Array:
        return np.array([len(group.positions) for group in self._example_groups], dtype=np.int64)

    def _iter_item_groups(self) -> Iterator[_ExampleGroup]:
        for row in range(len(self.views.token_ids[self.task.target])):
            if self.views.has_view(self.task.source, row) and self.views.has_view(self.task.target, row):
                yield _ExampleGroup(row, 0, [0])

    def _iter_window_groups(self) -> Iterator[_ExampleGroup]:
        cap = self.settings.max_history
        overlap = min(self.settings.window_overlap, cap - 1)
        for user, rows in enumerate(self.histories.train_sequences()):
            for window in cut_windows(self._item_token_counts[rows], cap, overlap, self.item_budget):
                yield _ExampleGroup(user, window.first, self._target_positions(rows, window))

    def _target_positions(self, rows: Int64Array, window: Window) -> list[int]:
        """Return the targets that can be asked for: the target has its view, and something is shown before it."""
        shown = np.cumsum(self._item_token_counts[rows[window.first : window.targets_to]] > 0)
        positions = range(window.targets_from, window.targets_to)
        return [
            p for p in positions if shown[p - window.first - 1] and self.views.has_view(self.task.target, int(rows[p]))
        ]

    @cached_property
    def _epoch_order_cache(self) -> dict[tuple[int, int], tuple[Int64Array, Int64Array]]:
        return {}

    def _draw_epoch_order(self, seed: int, epoch: int) -> tuple[Int64Array, Int64Array]:
        """Return the groups of an epoch in drawn order, and where the examples of each end."""
        key = (seed, epoch)
        if key not in self._epoch_order_cache:
            self._epoch_order_cache.clear()
            order = np.random.default_rng(derive_seed(seed, self.task.name, epoch)).permutation(
                len(self._example_groups)
            )
            self._epoch_order_cache[key] = (order, np.cumsum(self._group_sizes[order]))
        return self._epoch_order_cache[key]

    def draw_batch(
        self, seed: int, batch_number: int, size: int, *, with_negatives: bool = False
    ) -> list[SharedPrefixRow]:
        """Return batch ``batch_number`` of the task's own stream: exactly ``size`` examples, epoch after epoch, no end.

        With ``with_negatives``, rows end with a continuation of negative weight for each example that is asked for a
        SID behind a history: an item of it, any one that is shown, must not be written again.
        """
        rows: list[SharedPrefixRow] = []
        refused = (
            np.random.default_rng(derive_seed(seed, self.task.name, "refused", batch_number))
            if with_negatives
            else None
        )
        start, total = batch_number * size, len(self)
        while size:
            epoch, offset = divmod(start, total)
            here = min(size, total - offset)
            rows += self._iter_rows(*self._draw_epoch_order(seed, epoch), offset, offset + here, refused)
            start, size = start + here, size - here
        return rows

    def _iter_rows(
        self, order: Int64Array, ends: Int64Array, start: int, stop: int, negatives_rng: Random | None
    ) -> Iterator[SharedPrefixRow]:
        first, last = int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(ends, stop, side="left"))
        for place in range(first, last + 1):
            group = self._example_groups[order[place]]
            begin = int(ends[place]) - len(group.positions)
            yield self._build_row(group, group.positions[max(start - begin, 0) : stop - begin], negatives_rng)

    def _build_row(
        self, group: _ExampleGroup, positions: list[int], negatives_rng: Random | None = None
    ) -> SharedPrefixRow:
        """Return some of a group's examples as one row."""
        if self.task.scope is Scope.ITEM:
            prompt = [*self._item_tokens(group.owner), *self.prompt_suffix]
            return SharedPrefixRow([], [Continuation(0, prompt, self.target_tokens(group.owner), (group.owner, 0))])
        rows = self.histories.train_sequence(group.owner)
        chunks = [self._item_tokens(int(row)) for row in rows[group.first : positions[-1]]]
        cuts = np.cumsum([len(chunk) for chunk in chunks]).tolist()
        continuations = [
            Continuation(
                cuts[p - group.first - 1], self.prompt_suffix, self.target_tokens(int(rows[p])), (group.owner, p)
            )
            for p in positions
        ]
        prefix_tokens = [token for chunk in chunks for token in chunk]
        if negatives_rng is None or self.task.target is not View.SID:
            return SharedPrefixRow(prefix_tokens, continuations)
        drawn = [
            int(rows[negatives_rng.integers(group.first, continuation.example_id[1])]) for continuation in continuations
        ]
        return SharedPrefixRow(prefix_tokens, continuations + self._build_negatives(continuations, drawn))

    def _build_negatives(self, continuations: list[Continuation], rows: list[int]) -> list[Continuation]:
        """Return what must not be written: of each item's target the last of the tokens that tell it from all others,
        where the answer does not begin so itself."""
        pairs = [(true, self._unique_target_prefixes[row]) for true, row in zip(continuations, rows, strict=True)]
        return [
            replace(true, target=prefix, weights=(0.0,) * (len(prefix) - 1) + (-1.0,))
            for true, prefix in pairs
            if true.target[: len(prefix)] != prefix
        ]

    @cached_property
    def _unique_target_prefixes(self) -> list[list[int]]:
        """Return each item's target as far as it takes to tell it from all others."""
        return shortest_unique_prefixes(
            [self.target_tokens(row) for row in range(len(self.views.token_ids[self.task.target]))]
        )

    def target_tokens(self, row: int) -> list[int]:
        """Return what is to be written for an item, its end included."""
        return [*(self.views.token_ids[self.task.target][row] or []), *self.target_suffix]

    def build_prompt(self, rows: Int64Array) -> list[int]:
        """Return the whole prompt for a history (oldest first), as at test: its last items that fit, and the tail."""
        rows = rows[-self.settings.max_history :]
        shown = rows[find_prompt_start(self._item_token_counts[rows], self.settings.max_history, self.item_budget) :]
        items = [token for row in shown for token in self._item_tokens(int(row))]
        return [*self.prompt_header, *items, *self.prompt_suffix]


def unshare_rows(rows: list[SharedPrefixRow]) -> list[SharedPrefixRow]:
    """Return the same examples with nothing shared, one row a continuation: the reference that sharing must equal."""
    return [
        SharedPrefixRow(row.prefix_tokens[: continuation.prefix_length], [continuation])
        for row in rows
        for continuation in row.continuations
    ]
