"""Items that lack a view and histories too short to learn from: left out of what needs them, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support.world import World
from trialigngr.catalog.histories import Histories
from trialigngr.catalog.items import Catalog
from trialigngr.tasks import example_groups
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.item_views import encode_views
from trialigngr.tasks.settings import PromptSettings
from trialigngr.tasks.task import TASKS, View


def test_items_without_a_caption_are_in_no_visual_task_and_counted(world: World):
    examples = world.examples("visual_to_sid")
    assert examples.views.count_missing(View.VISUAL) == 3  # items 0, 3 and 7
    asked = {
        branch.example_id[0] for sheet in examples.draw_batch(0, 0, len(examples)) for branch in sheet.continuations
    }
    assert asked == set(range(12)) - {0, 3, 7}
    assert len(world.examples("title_to_sid")) == 11  # of them only item 3, which has no title


def test_a_history_of_one_asks_for_nothing_and_does_no_harm(world: World):
    usual = world.examples("sids_to_sid")
    one = Histories(["a", "b"], np.array([0, 1, 4]), np.array([2, 5, 1, 4]), np.array([1, 3]), np.array([1, 3]))
    examples = TaskExamples(TASKS["sids_to_sid"], usual.views, one, usual.chat_template, PromptSettings())
    assert len(examples) == 2
    assert {branch.example_id for sheet in examples.draw_batch(0, 0, 2) for branch in sheet.continuations} == {
        (1, 1),
        (1, 2),
    }


@pytest.mark.parametrize("name", ["sids_to_sid", "titles_to_title"])
def test_users_in_blocks_are_the_same(world: World, monkeypatch: pytest.MonkeyPatch, name: str):
    """Windows are found for some users at once; the histories of these eight lie on both sides of a block's end."""
    whole = world.examples(name)
    monkeypatch.setattr(example_groups, "USERS_AT_ONCE", 3)
    blocks = world.examples(name)
    assert len(blocks) == len(whole)
    assert blocks.draw_batch(0, 0, 99) == whole.draw_batch(0, 0, 99)


def test_a_title_that_is_empty_after_cleaning_is_no_title(world: World):
    blank = pl.when(pl.col("item_id") == "i0").then(pl.lit(" \n\t ")).otherwise("title")
    catalog = Catalog(world.catalog.table.with_columns(title=blank), Path())
    limits = {View.TITLE: 20, View.VISUAL: 20}
    views = encode_views(catalog, world.sids, world.captions, world.chat, limits)
    examples = TaskExamples(TASKS["title_to_sid"], views, world.histories, world.chat, PromptSettings())
    assert (views.count_missing(View.TITLE), len(examples)) == (2, 10)
