"""Examples: each target once an epoch, a stream that is a function of seed and number, prompts as they are at test."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.support.world import World
from trialigngr.foundation.errors import RecipeError
from trialigngr.tasks.examples import TaskExamples, unshare_rows
from trialigngr.tasks.item_views import ItemViews
from trialigngr.tasks.mixture import Mixture
from trialigngr.tasks.packing import Continuation, SharedPrefixRow
from trialigngr.tasks.settings import PromptSettings, TaskSettings
from trialigngr.tasks.task import TASKS, Scope, View
from trialigngr.tasks.token_lists import TokenLists

NAMES = list(TASKS)


def asked(sheets: list[SharedPrefixRow]) -> list[tuple[int, int]]:
    return [branch.example_id for sheet in sheets for branch in sheet.continuations if branch.num_targets]


def negatives(sheet: SharedPrefixRow) -> list[Continuation]:
    return [branch for branch in sheet.continuations if not branch.num_targets]


def expected(world: World, examples: TaskExamples) -> set[tuple[int, int]]:
    """Return (item, 0), or (user, position), of everything a task can ask: by the definition, item by item."""
    has = {
        View.SID: [True] * 12,
        View.TITLE: [item.title is not None for item in world.catalog],
        View.VISUAL: [caption is not None for caption in world.captions],
    }
    source, target = has[examples.task.source], has[examples.task.target]
    if examples.task.scope is Scope.ITEM:
        return {(row, 0) for row in range(12) if source[row] and target[row]}
    return {
        (user, place)
        for user, rows in enumerate(world.histories.train_sequences())
        for place in range(1, len(rows))
        if target[rows[place]] and any(source[row] for row in rows[:place])
    }


@pytest.mark.parametrize("room", [None, 24])
@pytest.mark.parametrize("name", NAMES)
def test_each_target_once_an_epoch(world: World, name: str, room: int | None):
    examples = world.examples(name, room)
    wanted = expected(world, examples)
    assert len(wanted) > 5
    assert len(examples) == len(wanted)
    for epoch in range(3):
        assert Counter(asked(examples.draw_batch(0, epoch, len(examples)))) == Counter(wanted)


@pytest.mark.parametrize("room", [None, 24])
@pytest.mark.parametrize("name", ["sids_to_sid", "titles_to_sid"])
def test_what_must_not_be_written_is_any_item_shown_but_the_answer(world: World, name: str, room: int | None):
    examples = world.examples(name, room)
    cap, ends, ages = examples.settings.max_history, {}, set()
    for row in range(12):
        ends.setdefault((*(examples.views.token_ids[View.SID][row] or []), *examples.target_suffix), []).append(row)
    sheets = [
        sheet for number in range(9) for sheet in examples.draw_batch(1, number, len(examples), with_negatives=True)
    ]
    for sheet in sheets:
        answers = {branch.example_id: branch for branch in sheet.continuations if branch.num_targets}
        assert sheet.continuations == [*answers.values(), *negatives(sheet)]
        for one in negatives(sheet):
            assert one.weights == (0,) * (len(one.target) - 1) + (-1,)
            user, place = one.example_id
            meant = {sid for sid in ends if list(sid[: len(one.target)]) == one.target}
            (sid,) = meant  # no other SID begins so, and with one token less some other would
            assert len(one.target) == 1 or sum(list(sid[: len(one.target) - 1]) == one.target[:-1] for sid in ends) > 1
            found = [
                age for age, row in enumerate(world.histories.train_sequence(user)[:place][::-1]) if row in ends[sid]
            ]
            assert found[0] < cap
            ages.add(found[0])
            asked_for = answers[one.example_id]
            assert (one.prefix_length, one.prompt_suffix) == (asked_for.prefix_length, asked_for.prompt_suffix)
            assert asked_for.target[: len(one.target)] != one.target
    assert len(ages) >= (4 if room is None else 2)
    again = [
        sheet for number in range(9) for sheet in examples.draw_batch(1, number, len(examples), with_negatives=True)
    ]
    assert again == sheets
    plain = [sheet for number in range(9) for sheet in examples.draw_batch(1, number, len(examples))]
    assert [
        replace(sheet, continuations=[one for one in sheet.continuations if one.num_targets]) for sheet in sheets
    ] == plain


@pytest.mark.parametrize("name", ["title_to_sid", "sids_to_title"])
def test_only_a_sid_behind_a_history_can_be_a_repeat(world: World, name: str):
    examples = world.examples(name)
    assert not any(negatives(sheet) for sheet in examples.draw_batch(1, 0, len(examples), with_negatives=True))


@pytest.mark.parametrize("name", ["title_to_sid", "titles_to_sid"])
def test_a_batch_is_exactly_its_size_and_the_stream_has_no_seams(world: World, name: str):
    examples = world.examples(name)
    size, total = 7, len(examples)
    stream = [example for number in range(total) for example in asked(examples.draw_batch(5, number, size))]
    assert len(stream) == total * size
    for epoch in range(size):
        assert len(set(stream[epoch * total : (epoch + 1) * total])) == total
    assert len(asked(examples.draw_batch(5, 0, 3 * total + 1))) == 3 * total + 1


def test_the_stream_is_a_function_of_seed_and_number(world: World):
    examples = world.examples("sids_to_sid")
    first = [examples.draw_batch(1, number, 8) for number in range(20)]
    fresh = world.examples("sids_to_sid")
    assert [fresh.draw_batch(1, number, 8) for number in reversed(range(20))] == first[::-1]
    assert [fresh.draw_batch(2, number, 8) for number in range(20)] != first
    assert asked(fresh.draw_batch(1, 0, len(fresh))) != asked(fresh.draw_batch(1, 1, len(fresh)))


def test_targets_of_a_window_share_its_trunk(world: World):
    examples = world.examples("sids_to_sid")
    sheets = examples.draw_batch(0, 0, len(examples))
    longest = max(sheets, key=lambda sheet: len(sheet.continuations))
    assert len(longest.continuations) == 6
    assert sum(map(len, sheets)) < sum(map(len, unshare_rows(sheets))) / 1.3


def test_what_a_branch_shows_is_what_came_before(world: World):
    """Every user and position: the tokens shown are the SIDs of items that the user took before, and no others."""
    examples = world.examples("sids_to_sid")
    vocabulary = world.chat.tokenizer.get_vocab()
    for sheet in examples.draw_batch(0, 0, len(examples)):
        for branch in sheet.continuations:
            user, place = branch.example_id
            rows = world.histories.train_sequence(user)
            before = [vocabulary[token] for row in rows[:place] for token in world.sids.item_tokens(int(row))]
            shown = sheet.prefix_tokens[: branch.prefix_length]
            assert shown
            assert before[len(before) - len(shown) :] == shown
            assert (
                branch.target
                == [vocabulary[t] for t in world.sids.item_tokens(int(rows[place]))] + world.chat.assistant_suffix
            )


def test_a_continued_history_is_its_own_target(world: World):
    """SIDs of one length stand one behind the other in the assistant's turn: three tokens a target, and no more."""
    usual = world.examples("sids_to_sid")
    sids = [[700 + row, 800 + row, 900 + row] for row in range(len(world.sids))]
    titles = {View.TITLE: usual.views.token_ids[View.TITLE]}
    settings = PromptSettings(max_history=6, window_overlap=3, history_in_completion=True)
    views = ItemViews({**titles, View.SID: TokenLists.from_chunks([sids])}, usual.views.separator_ids)
    examples = TaskExamples(TASKS["sids_to_sid"], views, world.histories, world.chat, settings)
    assert examples.prompt_header == [*usual.prompt_header, *world.chat.assistant_prefix]
    assert len(examples) == len(usual)
    for sheet in examples.draw_batch(0, 0, len(examples)):
        shown, last = sheet.prefix_tokens, sheet.continuations[-1]
        assert len(sheet) == len(shown) + 2
        assert last.prefix_length == len(shown)
        for branch in sheet.continuations:
            user, place = branch.example_id
            rows = world.histories.train_sequence(user)
            assert branch.target == sids[rows[place]]
            assert shown[branch.prefix_length - 3 : branch.prefix_length] == sids[rows[place - 1]]
            prompt = examples.build_prompt(rows[:place])
            assert prompt[len(examples.prompt_header) :] == [token for row in rows[:place][-6:] for token in sids[row]]
    # A SID is never cut, its end included: where not one finds room, that is said.
    shorter = TokenLists.from_chunks([[*sids[:-1], [700, 800]]])
    uneven = ItemViews({**titles, View.SID: shorter}, usual.views.separator_ids)
    paid = len(examples.prompt_header) + 2 * (3 + len(world.chat.assistant_suffix))
    tight = settings.model_copy(update={"max_length": paid})
    cut = TaskExamples(TASKS["sids_to_sid"], uneven, world.histories, world.chat, tight)
    assert cut._lay_out_items(np.array([0]))[0] == [700, 800, 900, *world.chat.assistant_suffix]
    tighter = settings.model_copy(update={"max_length": paid - 1})
    with pytest.raises(RecipeError, match="leaves no room"):
        TaskExamples(TASKS["sids_to_sid"], uneven, world.histories, world.chat, tighter)
    # Only SIDs behind SIDs can be read on.
    other = TaskExamples(TASKS["titles_to_sid"], views, world.histories, world.chat, settings)
    assert other.prompt_suffix == world.chat.assistant_prefix


@pytest.mark.parametrize("room", [None, 24])
@pytest.mark.parametrize("name", ["sids_to_sid", "titles_to_sid", "sids_to_title", "titles_to_title"])
def test_the_prompt_at_test_is_the_one_of_training(world: World, name: str, room: int | None):
    examples, compared = world.examples(name, room), 0
    longest = max(len(ids) for ids in examples.views.token_ids[examples.task.target] if ids) + len(
        world.chat.assistant_suffix
    )
    for sheet in examples.draw_batch(0, 0, len(examples)):
        for branch in sheet.continuations:
            user, place = branch.example_id
            rows = world.histories.train_sequence(user)[:place]
            prompt = examples.build_prompt(rows)
            shown = [*examples.prompt_header, *sheet.prefix_tokens[: branch.prefix_length], *branch.prompt_suffix]
            whole = [
                *examples.prompt_header,
                *examples._lay_out_items(rows)[0],
                *world.chat.assistant_prefix,
            ]
            if place <= 6 and len(whole) + longest <= examples.settings.max_length:
                assert prompt == shown == whole
                compared += 1
            assert len(shown) <= len(prompt)
            for tokens in (prompt, shown):
                assert len(tokens) + len(branch.target) <= examples.settings.max_length
    assert compared > 5


def test_the_prompt_shows_at_most_the_cap(world: World):
    examples = world.examples("sids_to_sid")
    rows = np.arange(12)
    vocabulary = world.chat.tokenizer.get_vocab()
    last = [vocabulary[token] for row in rows[-6:] for token in world.sids.item_tokens(int(row))]
    assert examples.build_prompt(rows) == [*examples.prompt_header, *last, *world.chat.assistant_prefix]
    assert examples.build_prompt(rows[:0]) == [*examples.prompt_header, *world.chat.assistant_prefix]


@pytest.mark.parametrize("name", ["title_to_sid", "titles_to_sid", "titles_to_title", "visual_to_title"])
def test_a_text_longer_than_the_room_is_cut(world: World, name: str):
    examples = world.examples(name, room=4)
    lengths = []
    for row in unshare_rows(examples.draw_batch(0, 0, len(examples))):
        (branch,) = row.continuations
        lengths.append(
            len(examples.prompt_header) + len(row.prefix_tokens) + len(branch.prompt_suffix) + len(branch.target)
        )
    assert max(lengths) == examples.settings.max_length
    assert len(examples) == len(world.examples(name))


def test_no_room_for_an_item_is_a_sentence(world: World):
    world.examples("sids_to_sid", room=3)
    with pytest.raises(RecipeError, match=r"prompt\.max_length = \d+ leaves no room for an item in sids_to_sid"):
        world.examples("sids_to_sid", room=2)


@pytest.mark.parametrize("name", ["sid_to_title", "sids_to_title", "titles_to_title", "visual_to_title"])
def test_a_target_longer_than_the_maximum_length_is_a_sentence(world: World, name: str):
    assert max(len(ids or []) for ids in world.examples(name, max_title_tokens=99).views.token_ids[View.TITLE]) > 40
    with pytest.raises(RecipeError, match=rf"prompt\.max_length = 40 leaves no room for an item in {name}: .*Give at"):
        world.examples(name, max_title_tokens=99, max_length=40)


def test_one_item_of_history_and_no_overlap(world: World):
    examples = world.examples("sids_to_sid", max_history=1, window_overlap=10)
    assert sorted(asked(examples.draw_batch(0, 0, len(examples)))) == sorted(expected(world, examples))
    assert {len(sheet.prefix_tokens) for sheet in examples.draw_batch(0, 0, len(examples))} == {2, 3}


def mixture(world: World, steps: int, seed: int = 0, **weights: float) -> Mixture:
    tasks = {name: world.examples(name) for name in ("title_to_sid", "sids_to_sid", "visual_to_sid")}
    return Mixture(tasks, TaskSettings(weights=weights), batch_size=5, steps=steps, seed=seed)


def test_the_mixture_is_a_function_of_seed_and_step(world: World):
    short, long = mixture(world, 30), mixture(world, 300)
    for step in reversed(range(30)):
        drawn, same = short.draw_batch(step), long.draw_batch(step)
        assert drawn.task.task == same.task.task
        assert drawn.rows == same.rows
        assert len(asked(drawn.rows)) == 5
    other = mixture(world, 30, seed=1)
    assert [other.draw_batch(step).rows for step in range(30)] != [short.draw_batch(step).rows for step in range(30)]


def test_a_task_goes_on_where_its_last_batch_ended(world: World):
    mixed = mixture(world, 60)
    drawn = [mixed.draw_batch(step) for step in range(60)]
    mine = [asked(batch.rows) for batch in drawn if batch.name == "sids_to_sid"]
    own = world.examples("sids_to_sid")
    assert mine == [asked(own.draw_batch(0, number, 5)) for number in range(len(mine))]


def test_tasks_are_drawn_uniformly_or_by_weight(world: World):
    draws = Counter(int(draw) for draw in mixture(world, 30_000)._task_by_step)
    assert all(abs(count - 10_000) < 400 for count in draws.values())
    weighted = mixture(world, 30_000, title_to_sid=0, sids_to_sid=3)
    assert weighted.curriculum == [(30_000, {"title_to_sid": 0, "sids_to_sid": 3, "visual_to_sid": 1})]
    counts = Counter(int(draw) for draw in weighted._task_by_step)
    assert set(counts) == {1, 2}
    assert abs(counts[1] - 22_500) < 400


def test_another_task_stands_beside_the_one_that_recommends(world: World):
    tasks = {name: world.examples(name) for name in ("title_to_sid", "sids_to_sid", "visual_to_sid")}
    settings = TaskSettings(auxiliary_batch_size=2, weights={"T1": 3.0, "T3": 0.0})
    mixed = Mixture(tasks, settings, 5, 400, 0)
    drawn = [mixed.draw_batch(step) for step in range(400)]
    recommends, own = world.examples("sids_to_sid"), [batch.parts for batch in drawn]
    assert [asked(main.rows) for main, _ in own] == [asked(recommends.draw_batch(0, step, 5)) for step in range(400)]
    assert {len(asked(beside.rows)) for _, beside in own} == {2}
    counts = Counter(beside.name for _, beside in own)
    assert set(counts) == {"title_to_sid", "visual_to_sid"}
    assert abs(counts["title_to_sid"] - 300) < 40
    mine = [asked(beside.rows) for _, beside in own if beside.name == "title_to_sid"]
    assert mine == [asked(tasks["title_to_sid"].draw_batch(0, number, 2)) for number in range(len(mine))]
    assert (drawn[0].name, drawn[0].label) == (f"sids_to_sid+{own[0][1].name}", f"T3+{own[0][1].label}")
    assert drawn[0].num_tokens == sum(len(row) for part in own[0] for row in part.rows)
    alone = Mixture({"sids_to_sid": recommends}, settings, 5, 9, 0)
    assert alone.draw_batch(8).rows == recommends.draw_batch(0, 8, 5)
    assert alone.draw_batch(8).auxiliary is None


def test_weights_that_train_nothing(world: World):
    with pytest.raises(RecipeError, match="All task weights are zero"):
        mixture(world, 3, title_to_sid=0, sids_to_sid=0, visual_to_sid=0)
    with pytest.raises(RecipeError, match=r"tasks\.weights\.sids_to_sid is below 0"):
        mixture(world, 3, sids_to_sid=-1)


def test_an_epoch_is_all_examples_of_all_tasks(world: World):
    tasks = {name: world.examples(name) for name in NAMES}
    examples = {name: len(task) for name, task in tasks.items()}
    total = sum(examples.values())
    assert TaskSettings().count_epoch_steps(examples, 64) == -(-total // 64)
    assert TaskSettings().count_epoch_steps(examples, total) == 1
    beside = TaskSettings(auxiliary_batch_size=8)
    assert beside.count_epoch_steps(examples, 64) == -(-examples["sids_to_sid"] // 64)


def test_temperature_draws_large_tasks_more_often(world: World):
    tasks = {name: world.examples(name) for name in ("title_to_sid", "sids_to_sid")}
    sizes = [len(task) for task in tasks.values()]
    for temperature, power in ((1.0, 1.0), (2.0, 0.5)):
        settings = TaskSettings(temperature=temperature, weights={"title_to_sid": 2.0})
        draws = Counter(int(draw) for draw in Mixture(tasks, settings, 5, 20_000, 0)._task_by_step)
        wanted = 2 * sizes[0] ** power / (2 * sizes[0] ** power + sizes[1] ** power)
        assert abs(draws[0] / 20_000 - wanted) < 0.02


def test_stages_draw_by_their_own_weights_and_then_come_the_usual_ones(world: World):
    names = ("title_to_sid", "sids_to_sid", "visual_to_sid")
    tasks = {name: world.examples(name) for name in names}
    stages = ({"until": 0.25, "weights": {"T1": 1.0}}, {"until": 0.5, "weights": {"T1": 1.0, "T7": 1.0}})
    settings = TaskSettings(curriculum=stages, weights={"title_to_sid": 0.0, "visual_to_sid": 0.0})
    mixed = Mixture(tasks, settings, 5, 400, 0)
    drawn = [mixed.draw_batch(step).name for step in range(400)]
    assert set(drawn[:100]) == {"title_to_sid"}
    assert set(drawn[100:200]) == {"title_to_sid", "visual_to_sid"}
    assert set(drawn[200:]) == {"sids_to_sid"}
    assert all(settings.is_ever_drawn(name) for name in names)
    assert not TaskSettings(weights={"T1": 0}).is_ever_drawn("title_to_sid")


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([(0.5, {"T3": 1.0}), (0.2, {"T1": 1.0})], "must be in order"),
        ([(0.5, {"T33": 1.0})], "There is no task 'T33'"),
        ([(0.5, {"T8": 1.0})], "All task weights are zero"),
        ([(0.5, {"T1": -1.0})], "is below 0"),
    ],
)
def test_stages_that_cannot_be(world: World, stages: list[tuple[float, dict[str, float]]], sentence: str):
    tasks = {name: world.examples(name) for name in ("title_to_sid", "sids_to_sid")}
    given = [{"until": until, "weights": weights} for until, weights in stages]
    with pytest.raises(RecipeError, match=sentence):
        Mixture(tasks, TaskSettings(curriculum=given), 5, 10, 0)
