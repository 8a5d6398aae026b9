"""Views and examples as lists of Python lists, the plain way: what the arrays of `trialigngr.tasks` are measured
beside, and must equal batch by batch (tests/tasks/test_plain_examples.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from trialigngr.catalog.histories import Histories
from trialigngr.catalog.items import Catalog
from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.item_views import LETTERS, collapse_whitespace
from trialigngr.tasks.packing import Continuation, Int64Array, SharedPrefixRow
from trialigngr.tasks.settings import PromptSettings
from trialigngr.tasks.task import Scope, Task, View
from trialigngr.tasks.windows import cut_windows, find_prompt_start

PlainViews = Mapping[View, Sequence[list[int] | None]]


def encode_plain_sids(sids: SemanticIds, chat_template: ChatTemplate) -> list[list[int] | None]:
    """Return each item's SID as token ids."""
    vocabulary = chat_template.tokenizer.get_vocab()
    return [[vocabulary[token] for token in sids.item_tokens(row)] for row in range(len(sids))]


def encode_plain_views(
    catalog: Catalog,
    sids: SemanticIds,
    captions: Sequence[str | None],
    chat_template: ChatTemplate,
    max_tokens: dict[View, int],
) -> PlainViews:
    """Return every item in every view, encoded at once; None where an item does not have the view."""
    ids = {View.SID: encode_plain_sids(sids, chat_template)}
    for view, column in ((View.TITLE, [item.title for item in catalog]), (View.VISUAL, list(captions))):
        texts = [collapse_whitespace(text or "")[: max_tokens[view] * LETTERS] for text in column]
        ids[view] = [tokens[: max_tokens[view]] or None for tokens in chat_template.encode(texts)]
    return ids


def find_plain_unique_prefixes(sids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the shortest beginning of each SID that no other SID has."""
    begun = Counter(sid[:length] for sid in {tuple(sid) for sid in sids} for length in range(1, len(sid) + 1))
    lengths = [next((n for n in range(1, len(sid)) if begun[tuple(sid[:n])] == 1), len(sid)) for sid in sids]
    return [list(sid[:length]) for sid, length in zip(sids, lengths, strict=True)]


@dataclass(frozen=True, slots=True)
class PlainGroup:
    """Examples that share a prefix: ``positions`` asked for in a window of user ``owner``, or item ``owner`` itself."""

    owner: int
    first: int
    positions: list[int]


class PlainExamples:
    """The examples of one task, an object a group."""

    def __init__(
        self,
        task: Task,
        views: PlainViews,
        separators: Mapping[View, list[int]],
        histories: Histories,
        chat_template: ChatTemplate,
        settings: PromptSettings,
    ) -> None:
        self.task, self.histories, self.settings = task, histories, settings
        self.source, self.target = views[task.source], views[task.target]
        continued = settings.history_in_completion and task.continues_history
        uneven = len({len(ids) for ids in self.target if ids is not None}) > 1
        self.target_suffix = chat_template.assistant_suffix if not continued or uneven else []
        self.prompt_suffix = [] if continued else chat_template.assistant_prefix
        header = chat_template.build_header(task.system, task.instruction)
        self.prompt_header = [*header, *chat_template.assistant_prefix] if continued else header
        self.separator = separators[task.source] if task.scope is Scope.HISTORY else []
        self.separator = self.target_suffix if continued else self.separator
        paid = len(self.prompt_header) + len(self.prompt_suffix) + len(self.target_suffix)
        longest = max((len(ids) for ids in self.target if ids is not None), default=0)
        self.item_budget = settings.max_length - paid - longest
        self._orders: dict[tuple[int, int], tuple[Int64Array, Int64Array]] = {}

    def item_tokens(self, row: int) -> list[int]:
        """Return an item as it stands in a prompt."""
        ids = self.source[row]
        return [] if ids is None else [*ids[: self.item_budget - len(self.separator)], *self.separator]

    def target_tokens(self, row: int) -> list[int]:
        """Return what is to be written for an item."""
        return [*(self.target[row] or []), *self.target_suffix]

    @cached_property
    def token_counts(self) -> Int64Array:
        """Tokens that each item takes in a prompt."""
        return np.array([len(self.item_tokens(row)) for row in range(len(self.source))], dtype=np.int64)

    @cached_property
    def groups(self) -> list[PlainGroup]:
        """All groups with an example."""
        found = self._item_groups() if self.task.scope is Scope.ITEM else self._window_groups()
        return [group for group in found if group.positions]

    def _item_groups(self) -> Iterator[PlainGroup]:
        for row, (source, target) in enumerate(zip(self.source, self.target, strict=True)):
            if source is not None and target is not None:
                yield PlainGroup(row, 0, [0])

    def _window_groups(self) -> Iterator[PlainGroup]:
        cap = self.settings.max_history
        overlap = min(self.settings.window_overlap, cap - 1)
        for user, rows in enumerate(self.histories.train_sequences()):
            for window in cut_windows(self.token_counts[rows], cap, overlap, self.item_budget):
                shown = np.cumsum(self.token_counts[rows[window.first : window.targets_to]] > 0)
                asked = range(window.targets_from, window.targets_to)
                positions = [p for p in asked if shown[p - window.first - 1] and self.target[rows[p]] is not None]
                yield PlainGroup(user, window.first, positions)

    def draw_batch(self, seed: int, number: int, size: int, *, with_negatives: bool = False) -> list[SharedPrefixRow]:
        """Return batch ``number`` of the task's stream."""
        rows: list[SharedPrefixRow] = []
        random = np.random.default_rng(derive_seed(seed, self.task.name, "refused", number)) if with_negatives else None
        start = number * size
        while size:
            epoch, offset = divmod(start, int(self.group_sizes.sum()))
            order, ends = self.draw_epoch_order(seed, epoch)
            here = min(size, int(ends[-1]) - offset)
            first = int(np.searchsorted(ends, offset, side="right"))
            for place in range(first, int(np.searchsorted(ends, offset + here, side="left")) + 1):
                group = self.groups[order[place]]
                begin = int(ends[place]) - len(group.positions)
                own = group.positions[max(offset - begin, 0) : offset + here - begin]
                rows.append(self._build_row(group, own, random))
            start, size = start + here, size - here
        return rows

    @cached_property
    def group_sizes(self) -> Int64Array:
        """The number of examples of each group."""
        return np.array([len(group.positions) for group in self.groups], dtype=np.int64)

    def draw_epoch_order(self, seed: int, epoch: int) -> tuple[Int64Array, Int64Array]:
        """Return the groups of an epoch in drawn order, and where the examples of each end; the last one is kept."""
        if (seed, epoch) not in self._orders:
            self._orders.clear()
            random = np.random.default_rng(derive_seed(seed, self.task.name, epoch))
            order = random.permutation(len(self.groups))
            self._orders[seed, epoch] = (order, np.cumsum(self.group_sizes[order]))
        return self._orders[seed, epoch]

    def _build_row(
        self, group: PlainGroup, positions: list[int], random: np.random.Generator | None
    ) -> SharedPrefixRow:
        if self.task.scope is Scope.ITEM:
            prompt = [*self.item_tokens(group.owner), *self.prompt_suffix]
            return SharedPrefixRow([], [self._answer(0, prompt, group.owner, (group.owner, 0))])
        rows = self.histories.train_sequence(group.owner).tolist()
        chunks = [self.item_tokens(row) for row in rows[group.first : positions[-1]]]
        cuts = np.cumsum([len(chunk) for chunk in chunks]).tolist()
        answers = [
            self._answer(cuts[p - group.first - 1], self.prompt_suffix, rows[p], (group.owner, p)) for p in positions
        ]
        again = [] if random is None or self.task.target is not View.SID else self._negatives(group, answers, random)
        return SharedPrefixRow([token for chunk in chunks for token in chunk], answers + again)

    def _answer(self, cut: int, suffix: list[int], row: int, example_id: tuple[int, int]) -> Continuation:
        item = row if self.task.target is View.SID else -1
        return Continuation(cut, suffix, self.target_tokens(row), example_id, item=item)

    def _negatives(
        self, group: PlainGroup, answers: list[Continuation], random: np.random.Generator
    ) -> list[Continuation]:
        rows = self.histories.train_sequence(group.owner)
        drawn = [self.unique_prefixes[rows[random.integers(group.first, one.example_id[1])]] for one in answers]
        return [
            replace(one, target=prefix, item=-1, weights=(0.0,) * (len(prefix) - 1) + (-1.0,))
            for one, prefix in zip(answers, drawn, strict=True)
            if one.target[: len(prefix)] != prefix
        ]

    @cached_property
    def unique_prefixes(self) -> list[list[int]]:
        """Each item's target as far as it takes to tell it from all others."""
        return find_plain_unique_prefixes([self.target_tokens(row) for row in range(len(self.target))])

    def build_prompt(self, rows: Int64Array) -> list[int]:
        """Return the whole prompt for a history."""
        rows, cap = rows[-self.settings.max_history :], self.settings.max_history
        shown = rows[find_prompt_start(self.token_counts[rows], cap, self.item_budget) :]
        items = [token for row in shown for token in self.item_tokens(int(row))]
        return [*self.prompt_header, *items, *self.prompt_suffix]
