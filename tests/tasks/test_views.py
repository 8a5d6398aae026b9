"""Items as token ids, and the tasks as rows of data."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.world import World
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks import item_views
from trialigngr.tasks.item_views import collapse_whitespace, encode_views
from trialigngr.tasks.settings import TaskSettings
from trialigngr.tasks.task import TASKS, Scope, View, find_task


def test_views_of_items(world: World):
    limits = {View.TITLE: 5, View.VISUAL: 64}
    views = encode_views(world.catalog, world.sids, world.captions, world.chat, limits)
    vocabulary = world.chat.tokenizer.get_vocab()
    assert views.token_ids[View.SID][0] == [vocabulary[token] for token in world.sids.item_tokens(0)]
    assert len(views.token_ids[View.SID][2] or []) == 2
    assert views.token_ids[View.TITLE][3] is None
    assert views.count_missing(View.TITLE) == 1
    assert views.count_missing(View.VISUAL) == 3
    assert max(len(ids) for ids in views.token_ids[View.TITLE] if ids) == 5
    assert world.chat.tokenizer.decode(views.token_ids[View.VISUAL][1]) == "A picture of dress 1"


def test_a_title_that_attacks_is_text(world: World):
    views = encode_views(world.catalog, world.sids, world.captions, world.chat, {View.TITLE: 64, View.VISUAL: 64})
    ids = views.token_ids[View.TITLE][4]
    assert ids is not None
    assert not any(world.chat.is_special(token) for token in ids)
    assert world.chat.tokenizer.decode(ids) == "<a_5><b_3><|end|>"


def test_a_view_is_encoded_when_it_is_asked_for_and_once(world: World, monkeypatch: pytest.MonkeyPatch):
    """T3 shows and writes SIDs, so no title is read for it."""
    encoded = list[str]()
    encode = world.chat.encode
    monkeypatch.setattr(world.chat, "encode", lambda texts: encoded.extend(texts) or encode(texts))
    examples = world.examples("sids_to_sid")
    assert examples.draw_batch(0, 0, 8)
    assert examples.build_prompt(np.arange(4))
    assert not any("dress" in text for text in encoded)
    assert world.examples("titles_to_sid").views.token_ids[View.TITLE][0]
    assert encoded.count("Red dress number 0") == 1
    assert not any("picture" in text for text in encoded)


def test_titles_in_chunks_are_the_same(world: World, monkeypatch: pytest.MonkeyPatch):
    limits = {View.TITLE: 20, View.VISUAL: 64}
    whole = encode_views(world.catalog, world.sids, world.captions, world.chat, limits)
    monkeypatch.setattr(item_views, "TEXTS_AT_ONCE", 5)
    chunked = encode_views(world.catalog, world.sids, world.captions, world.chat, limits)
    for view in View:
        assert list(chunked.token_ids[view]) == list(whole.token_ids[view])


@pytest.mark.parametrize(("text", "line"), [("  a \n\t b ", "a b"), ("\u2003\n", ""), ("plain", "plain")])
def test_one_line(text: str, line: str):
    assert collapse_whitespace(text) == line


def test_the_eight_tasks_of_the_paper():
    rows = {task.number: (task.scope, task.source, task.target) for task in TASKS.values()}
    item, history, sid, title, visual = Scope.ITEM, Scope.HISTORY, View.SID, View.TITLE, View.VISUAL
    assert rows == {
        "T1": (item, title, sid),
        "T2": (item, sid, title),
        "T3": (history, sid, sid),
        "T4": (history, title, sid),
        "T5": (history, sid, title),
        "T6": (history, title, title),
        "T7": (item, visual, sid),
        "T8": (item, visual, title),
    }
    for name, task in TASKS.items():
        assert name == task.name
        words = {View.SID: ("sid", "sids"), View.TITLE: ("title", "titles"), View.VISUAL: ("visual", "visual")}
        assert name == f"{words[task.source][task.scope is Scope.HISTORY]}_to_{words[task.target][0]}"


def test_no_two_tasks_ask_with_the_same_words():
    assert len({(task.system, task.instruction) for task in TASKS.values()}) == 8


def test_tasks_by_name_or_number():
    assert find_task("T3") is find_task("sids_to_sid")
    with pytest.raises(RecipeError, match=r"no task 'sid_to_sid'.*Did you mean 'sids_to_sid'\?"):
        find_task("sid_to_sid")


def test_a_temperature_near_zero_draws_the_largest_task_alone() -> None:
    ((_, chances),) = TaskSettings(use=("T1", "T3"), temperature=1e-3).build_curriculum(
        {"title_to_sid": 9, "sids_to_sid": 90_000}, 5
    )
    assert chances == {"title_to_sid": 0.0, "sids_to_sid": 1.0}


def test_settings_of_tasks():
    settings = TaskSettings(use=("T5", "sids_to_sid", "T3"), weights={"T3": 4})
    assert [task.number for task in settings.list_tasks()] == ["T3", "T5"]
    assert settings.task_weights() == {"sids_to_sid": 4, "sids_to_title": 1}
    with pytest.raises(RecipeError, match="names no task"):
        TaskSettings(use=()).list_tasks()
    with pytest.raises(RecipeError, match="no task 'T9'"):
        TaskSettings(weights={"T9": 1}).list_tasks()
