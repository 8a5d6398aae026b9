"""`TaskExamples`: all training examples of one task, countable, and any range of them as rows.

An example is one target. Item tasks have one an item; history tasks one for every prefix (length ≥ 1) of the training
part of every user (paper §9.10). The examples of one window stand together, so that a batch of 64 targets holds few
histories.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Histories
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import derive_seed
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.example_groups import ExampleGroups, build_item_groups, build_window_groups
from trialigngr.tasks.item_views import ItemViews
from trialigngr.tasks.packing import Continuation, SharedPrefixRow
from trialigngr.tasks.settings import PromptSettings
from trialigngr.tasks.soft_targets import SoftTargets
from trialigngr.tasks.task import Scope, Task, View
from trialigngr.tasks.token_lists import Int64Array, IntArray, TokenLists, UnsignedArray, expand_ranges, split_list
from trialigngr.tasks.unique_prefixes import count_unique_prefix_tokens
from trialigngr.tasks.windows import find_prompt_start

Random = np.random.Generator
DrawShown = Callable[[int], npt.NDArray[np.bool_]]
DrawTargets = Callable[[Int64Array, Int64Array], Int64Array]
"""Returns whether each of some items is shown."""


class TaskExamples:
    """The examples of one task over a data set; `RecipeError` where a prompt is too short for one item.

    With ``names_items`` the last token of a SID that a history shows is ~r, r the row of its item, so that the model
    can tell it from others of the same SID (`trialigngr.models.item_layer`).
    """

    def __init__(
        self,
        task: Task,
        views: ItemViews,
        histories: Histories,
        chat_template: ChatTemplate,
        settings: PromptSettings,
        *,
        names_items: bool = False,
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
        self._names_items = names_items and (task.scope, task.source) == (Scope.HISTORY, View.SID)
        self._separator = self._choose_separator()
        self.item_budget = self._compute_item_budget()
        """Tokens left for the items of a prompt when header, tail and the longest target are paid for."""

    def __len__(self) -> int:
        return self._num_examples

    @property
    def _source(self) -> TokenLists:
        return self.views.token_ids[self.task.source]

    @property
    def _target(self) -> TokenLists:
        return self.views.token_ids[self.task.target]

    def _choose_separator(self) -> list[int]:
        if self.history_in_completion:
            return self.target_suffix
        return self.views.separator_ids[self.task.source] if self.task.scope is Scope.HISTORY else []

    def _compute_item_budget(self) -> int:
        """Return what `budget` is; raise `RecipeError` when not one item finds room: text can be cut, a SID cannot."""
        longest_target = int(self._target.lengths.max(initial=0))
        paid = len(self.prompt_header) + len(self.prompt_suffix) + longest_target + len(self.target_suffix)
        least = int(self._source.lengths.max(initial=0)) if self.task.source is View.SID else 1
        least += len(self._separator)
        if paid + least > self.settings.max_length:
            raise RecipeError(
                f"prompt.max_length = {self.settings.max_length} leaves no room for an item in {self.task.name}: "
                f"wording and answer alone take up to {paid} tokens. Give at least {paid + least}, better much more."
            )
        return self.settings.max_length - paid

    @property
    def _max_item_tokens(self) -> int:
        """Where an item in a prompt is cut: where it alone is longer than the budget."""
        return self.item_budget - len(self._separator)

    def _count_item_tokens(self, lengths: Int64Array) -> Int64Array:
        """Return what items of these lengths take in a prompt: nothing those that have no such view."""
        counts = np.minimum(lengths, self._max_item_tokens) + len(self._separator)
        return np.where(lengths > 0, counts, 0)

    def _lay_out_items(self, rows: Int64Array) -> tuple[list[int], Int64Array]:
        """Return items as they stand in a prompt, and where each of them ends there."""
        tokens, ends = self._source.join_rows(rows, self._max_item_tokens, self._separator)
        if self._names_items:
            for place, row in zip((ends - len(self._separator)).tolist(), rows.tolist(), strict=True):
                tokens[place - 1] = ~row
        return tokens, ends

    @cached_property
    def _example_groups(self) -> ExampleGroups:
        if self.task.scope is Scope.ITEM:
            return build_item_groups(self._source, self._target)
        cap = self.settings.max_history
        overlap = min(self.settings.window_overlap, cap - 1)
        counts_N = self._count_item_tokens(self._source.lengths)
        return build_window_groups(self.histories, counts_N, self._target.lengths > 0, cap, overlap, self.item_budget)

    @cached_property
    def _num_examples(self) -> int:
        return int(self._example_groups.size_G.sum(dtype=np.int64))

    @cached_property
    def _epoch_order_cache(self) -> dict[tuple[int, int], tuple[UnsignedArray, UnsignedArray]]:
        return {}

    def _draw_epoch_order(self, seed: int, epoch: int) -> tuple[UnsignedArray, UnsignedArray]:
        """Return the groups of an epoch in drawn order, and where the examples of each end."""
        key = (seed, epoch)
        if key not in self._epoch_order_cache:
            self._epoch_order_cache.clear()
            rng = np.random.default_rng(derive_seed(seed, self.task.name, epoch))
            self._epoch_order_cache[key] = self._example_groups.draw_order(rng)
        return self._epoch_order_cache[key]

    def draw_batch(
        self,
        seed: int,
        batch_number: int,
        size: int,
        *,
        with_negatives: bool = False,
        deletion: float = 0.0,
        soft_targets: SoftTargets | None = None,
    ) -> list[SharedPrefixRow]:
        """Return batch ``batch_number`` of the task's own stream: exactly ``size`` examples, epoch after epoch, no end.
        Each shown item is left out with probability ``deletion``; of SIDs behind a history, some are those that
        ``soft_targets`` draws.

        With ``with_negatives``, rows end with a continuation of negative weight for each example that is asked for a
        SID behind a history: an item of it, any one that is shown, must not be written again.
        """
        rows: list[SharedPrefixRow] = []
        uses = {"refused": with_negatives, "deleted": deletion > 0, "softened": soft_targets is not None}
        refused, deleted, softened = (
            np.random.default_rng(derive_seed(seed, self.task.name, use, batch_number)) if is_wanted else None
            for use, is_wanted in uses.items()
        )
        shown = None if deleted is None else partial(_draw_shown_items, deletion, deleted)
        targets = None
        if soft_targets is not None and softened is not None and self.task.target is View.SID:
            targets = partial(soft_targets.draw_targets, random=softened)
        start, total = batch_number * size, len(self)
        while size:
            epoch, offset = divmod(start, total)
            here = min(size, total - offset)
            order = self._draw_epoch_order(seed, epoch)
            rows += self._build_rows(*order, offset, offset + here, refused, shown, targets)
            start, size = start + here, size - here
        return rows

    def _build_rows(
        self,
        order: UnsignedArray,
        ends: UnsignedArray,
        start: int,
        stop: int,
        negatives_rng: Random | None,
        draw_shown: DrawShown | None,
        draw_targets: DrawTargets | None,
    ) -> list[SharedPrefixRow]:
        """Return examples ``start … stop - 1`` of an epoch."""
        # Of the type of ends, or they would be copied into another at every draw.
        first = int(ends.searchsorted(ends.dtype.type(start), side="right"))
        last = int(ends.searchsorted(ends.dtype.type(stop), side="left"))
        groups = self._example_groups.take(order[first : last + 1])
        if self.task.scope is Scope.ITEM:
            return self._build_item_rows(groups.owner_G)
        skipped = start - int(ends[first]) + int(groups.size_G[0])
        rows = self._build_history_rows(groups, skipped, stop - start, draw_shown, draw_targets)
        if negatives_rng is None or self.task.target is not View.SID:
            return rows
        return self._add_negatives(rows, groups.first_G, negatives_rng)

    def _build_item_rows(self, item_P: IntArray) -> list[SharedPrefixRow]:
        prompts = self._source.take_rows(item_P, self._max_item_tokens, self.prompt_suffix)
        targets = self._target.take_rows(item_P, suffix=self.target_suffix)
        return [
            SharedPrefixRow([], [Continuation(0, prompt, target, (item, 0), item=asked)])
            for item, prompt, target, asked in zip(
                item_P.tolist(), prompts, targets, self._list_asked_items(item_P), strict=True
            )
        ]

    def _list_asked_items(self, rows: IntArray) -> list[int]:
        """Return the items whose SIDs are asked for; −1 where what is asked for is a text."""
        return rows.tolist() if self.task.target is View.SID else [-1] * len(rows)

    def _build_history_rows(
        self,
        groups: ExampleGroups,
        skipped: int,
        size: int,
        draw_shown: DrawShown | None,
        draw_targets: DrawTargets | None,
    ) -> list[SharedPrefixRow]:
        """Return ``size`` examples of the groups behind the ``skipped`` first ones: a row for each group."""
        begin_G, items = self.histories.offsets[groups.owner_G], self.histories.items
        position_P, group_P = (column[skipped : skipped + size] for column in self._list_positions(groups))
        stop_G = np.cumsum(np.bincount(group_P))
        shown_G = position_P[stop_G - 1] - groups.first_G
        rows = items[expand_ranges(begin_G + groups.first_G, shown_G)]
        is_shown = np.ones(len(rows), dtype=bool) if draw_shown is None else draw_shown(len(rows))
        tokens, ends = self._lay_out_items(rows[is_shown])
        ends = np.concatenate([[0], ends])[np.cumsum([0, *is_shown])]
        shown_stop_G = np.cumsum(shown_G)
        shown_start_G = shown_stop_G - shown_G
        length_P = ends[(shown_start_G - groups.first_G)[group_P] + position_P] - ends[shown_start_G][group_P]
        place_P = begin_G[group_P] + position_P
        asked_P = items[place_P] if draw_targets is None else draw_targets(items[place_P - 1], items[place_P])
        targets = self._target.take_rows(asked_P, suffix=self.target_suffix)
        columns = (length_P.tolist(), targets, groups.owner_G[group_P].tolist(), position_P.tolist())
        continuations = [
            Continuation(length, self.prompt_suffix, target, (owner, position), item=item)
            for length, target, owner, position, item in zip(*columns, self._list_asked_items(asked_P), strict=True)
        ]
        prefixes = split_list(tokens, ends[shown_stop_G])
        return list(map(SharedPrefixRow, prefixes, split_list(continuations, stop_G)))

    def _list_positions(self, groups: ExampleGroups) -> tuple[Int64Array, Int64Array]:
        """Return the positions that groups ask for, and which group asks for each."""
        counts_G = groups.stop_G - groups.start_G
        position_P, group_P = expand_ranges(groups.start_G, counts_G), np.repeat(np.arange(len(groups)), counts_G)
        if (groups.size_G == counts_G).all():
            return position_P, group_P
        rows_P = self.histories.items[self.histories.offsets[groups.owner_G][group_P] + position_P]
        has_target_P = self._target.count_tokens(rows_P) > 0
        return position_P[has_target_P], group_P[has_target_P]

    def _add_negatives(self, rows: list[SharedPrefixRow], first_G: IntArray, rng: Random) -> list[SharedPrefixRow]:
        """Return the rows with what must not be written for their answers: any item that is shown before each."""
        shown_from = zip(rows, first_G.tolist(), strict=True)
        asked = [(first, *one.example_id) for row, first in shown_from for one in row.continuations]
        drawn = [rng.integers(first, position) for first, _, position in asked]
        items = self.histories.items[self.histories.offsets[[owner for _, owner, _ in asked]] + drawn]
        targets = self._target.take_rows(items, suffix=self.target_suffix)
        lengths = self._unique_prefix_tokens[items].tolist()
        prefixes = iter([ids[:length] for ids, length in zip(targets, lengths, strict=True)])
        found = [list(map(_make_negative, row.continuations, islice(prefixes, len(row.continuations)))) for row in rows]
        return [
            SharedPrefixRow(row.prefix_tokens, [*row.continuations, *filter(None, own)])
            for row, own in zip(rows, found, strict=True)
        ]

    @cached_property
    def _unique_prefix_tokens(self) -> UnsignedArray:
        """How much of each item's target it takes to tell it from all others."""
        return count_unique_prefix_tokens(self._target)

    def build_targets(self, rows: Int64Array) -> list[list[int]]:
        """Return what is to be written for each of some items, its end included."""
        return self._target.take_rows(rows, suffix=self.target_suffix)

    def build_prompt(self, rows: Int64Array) -> list[int]:
        """Return the whole prompt for a history (oldest first), as at test: its last items that fit, and the tail."""
        shown = rows[len(rows) - self.count_shown_items(rows) :]
        return [*self.prompt_header, *self._lay_out_items(shown)[0], *self.prompt_suffix]

    def count_shown_items(self, rows: Int64Array) -> int:
        """Return how many items of a history, its last ones, stand in the prompt."""
        rows = rows[-self.settings.max_history :]
        counts = self._count_item_tokens(self._source.count_tokens(rows))
        return len(rows) - find_prompt_start(counts, self.settings.max_history, self.item_budget)


def _make_negative(answer: Continuation, prefix: list[int]) -> Continuation | None:
    """Return that the last token of a prefix must not be written in place of an answer; None where it begins so."""
    if answer.target[: len(prefix)] == prefix:
        return None
    weights = (0.0,) * (len(prefix) - 1) + (-1.0,)
    return Continuation(answer.prefix_length, answer.prompt_suffix, prefix, answer.example_id, weights)


def _draw_shown_items(deletion: float, rng: Random, count: int) -> npt.NDArray[np.bool_]:
    return rng.random(count) >= deletion


def unshare_rows(rows: list[SharedPrefixRow]) -> list[SharedPrefixRow]:
    """Return the same examples with nothing shared, one row a continuation: the reference that sharing must equal."""
    return [
        SharedPrefixRow(row.prefix_tokens[: continuation.prefix_length], [continuation])
        for row in rows
        for continuation in row.continuations
    ]
