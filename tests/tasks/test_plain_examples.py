"""Views and examples as arrays are the plain lists that they stand for: the same batches, token for token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.training.plain_examples import (
    PlainExamples,
    PlainViews,
    encode_plain_views,
    find_plain_unique_prefixes,
)
from tests.support.world import World
from trialigngr.catalog.histories import Histories
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.item_views import ItemViews, encode_views
from trialigngr.tasks.settings import PromptSettings
from trialigngr.tasks.task import TASKS, View
from trialigngr.tasks.token_lists import TokenLists
from trialigngr.tasks.unique_prefixes import count_unique_prefix_tokens

SEPARATORS: dict[View, list[int]] = {View.SID: [], View.TITLE: [9, 9], View.VISUAL: [9]}
MAX_TITLE_TOKENS = 20


def draw_lists(random: np.random.Generator, items: int, lacking: float, longest: int) -> list[list[int] | None]:
    return [
        None if random.random() < lacking else random.integers(0, 4, random.integers(1, longest + 1)).tolist()
        for _ in range(items)
    ]


def draw_views(random: np.random.Generator) -> PlainViews:
    """Return a small catalogue: SIDs that repeat each other, of one length or not; texts that some items lack."""
    items, lacking = int(random.integers(2, 30)), random.choice([0.0, 0.3, 0.9])
    sids = draw_lists(random, items, 0, 3)
    if random.random() < 0.5:
        sids = random.integers(0, 4, (items, 3)).tolist()
    texts = {view: draw_lists(random, items, lacking, MAX_TITLE_TOKENS) for view in (View.TITLE, View.VISUAL)}
    return {View.SID: sids, **texts}


def draw_histories(random: np.random.Generator, items: int) -> Histories:
    users = int(random.integers(1, 12))
    lengths = random.choice([0, 1, 2, 3, 4, 7, 8, 9, 20, 60], users)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    trained = np.maximum(lengths - random.integers(0, 3, users), 0)
    names = [f"u{user}" for user in range(users)]
    return Histories(names, offsets, random.integers(0, items, offsets[-1]), trained, np.minimum(trained + 1, lengths))


def draw_settings(random: np.random.Generator) -> dict[str, Any]:
    return {
        "max_history": int(random.choice([1, 3, 8, 50])),
        "window_overlap": int(random.choice([0, 2, 10])),
        "history_in_completion": bool(random.random() < 0.5),
    }


def make_views(lists: PlainViews) -> ItemViews:
    return ItemViews({view: TokenLists.from_chunks([column]) for view, column in lists.items()}, SEPARATORS)


def assert_equal_batches(ours: TaskExamples, plain: PlainExamples, random: np.random.Generator) -> None:
    assert ours.prompt_header == plain.prompt_header
    assert len(ours) == sum(len(group.positions) for group in plain.groups)
    if not len(ours):
        return
    for _ in range(6):
        seed, number = random.integers(0, 5, 2).tolist()
        size, negatives = int(random.choice([1, 3, 7, 40])), bool(random.random() < 0.5)
        found = ours.draw_batch(seed, number, size, with_negatives=negatives)
        assert found == plain.draw_batch(seed, number, size, with_negatives=negatives)
    for user in range(len(ours.histories)):
        rows = ours.histories.train_sequence(user)
        assert ours.build_prompt(rows) == plain.build_prompt(rows)


@pytest.mark.parametrize("name", TASKS)
@given(seed=st.integers(0, 10**6))
def test_batches_are_those_of_plain_lists(world: World, name: str, seed: int):
    """Items without a view, histories longer than a window, and token budgets from the least to more than enough."""
    random = np.random.default_rng(seed)
    lists = draw_views(random)
    histories = draw_histories(random, len(lists[View.SID]))
    known = draw_settings(random)
    for room in random.choice([1, 3, 8, 30, 400], 2, replace=False).tolist():
        wide = PlainExamples(TASKS[name], lists, SEPARATORS, histories, world.chat, PromptSettings(**known))
        settings = PromptSettings(**known, max_length=wide.settings.max_length - wide.item_budget + room)
        try:
            ours = TaskExamples(TASKS[name], make_views(lists), histories, world.chat, settings)
        except RecipeError:
            assert room <= 5
            continue
        plain = PlainExamples(TASKS[name], lists, SEPARATORS, histories, world.chat, settings)
        assert_equal_batches(ours, plain, random)


def test_a_history_of_hundreds_and_tokens_of_a_large_vocabulary(world: World):
    """Numbers that take two bytes, and four."""
    random = np.random.default_rng(0)
    lists: PlainViews = {
        View.SID: random.integers(0, 1 << 20, (700, 3)).tolist(),
        View.TITLE: [None if row % 7 == 0 else [200_000 + row] * (row % 5 + 1) for row in range(700)],
    }
    offsets = np.array([0, 650, 655])
    histories = Histories(["a", "b"], offsets, random.integers(0, 700, 655), np.array([648, 3]), np.array([649, 4]))
    for name in ("sids_to_sid", "titles_to_title", "sids_to_title", "title_to_sid"):
        settings = PromptSettings(max_history=300, max_length=900)
        ours = TaskExamples(TASKS[name], make_views(lists), histories, world.chat, settings)
        plain = PlainExamples(TASKS[name], lists, SEPARATORS, histories, world.chat, settings)
        assert_equal_batches(ours, plain, random)


def test_views_are_those_of_plain_lists(world: World, tokenizer: Any):
    """Every kind of tokenizer, titles that are cut, lacking, blank or attack."""
    chat, limits = ChatTemplate(tokenizer), {View.TITLE: 5, View.VISUAL: 64}
    ours = encode_views(world.catalog, world.sids, world.captions, chat, limits)
    plain = encode_plain_views(world.catalog, world.sids, world.captions, chat, limits)
    for view, lists in plain.items():
        found = ours.token_ids[view]
        assert [found[row] for row in range(len(found))] == lists
        assert ours.count_missing(view) == lists.count(None)
        assert ours.count_distinct_lengths(view) == len({len(ids) for ids in lists if ids})


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=12))
def test_unique_prefixes_are_those_that_are_counted(sids: Sequence[Sequence[int]]):
    lengths = count_unique_prefix_tokens(TokenLists.from_chunks([sids]))
    end = [7]
    prefixes = [[*sid, *end][:length] for sid, length in zip(sids, lengths.tolist(), strict=True)]
    assert prefixes == find_plain_unique_prefixes([[*sid, *end] for sid in sids])
