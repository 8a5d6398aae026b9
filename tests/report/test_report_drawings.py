"""The arithmetic behind the drawings, by hand and as laws."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.metrics.intervals import Estimate
from trialigngr.report import charts, flow, words
from trialigngr.report.page import Curves, MetricTable, Page, Stage, System
from trialigngr.report.write import duration, excerpt, flat, headline, percent, protocol_rows, sid_level


def test_thinning_takes_means_of_neighbours_and_leaves_out_what_is_not_finite() -> None:
    points = [(0, 4.0), (1, math.nan), (2, 2.0), (3, 1.0), (4, math.inf), (5, 3.0)]
    assert charts.thinned(points, 2) == [(1.0, 3.0), (4.0, 2.0)]
    assert charts.thinned([(0, math.nan)]) == []


def test_whisker_leaves_room_for_the_dot_at_both_ends() -> None:
    assert charts.whisker(Estimate(0.5, 0.0, 1.0), 0.0, 1.0) == Estimate(50.0, 4.0, 96.0)
    assert charts.whisker(Estimate(0.0, -0.1, 0.1), -0.2, 0.2) == Estimate(
        50.0, pytest.approx(27.0), pytest.approx(73.0)
    )


def test_reach_holds_every_interval_on_both_sides() -> None:
    assert charts.reach([Estimate(0.1, -0.3, 0.2), Estimate(0.1, 0.0, 0.25)]) == 0.3
    assert charts.reach([]) == 1.0


def test_charts_share_their_axes_and_stay_inside() -> None:
    curves = Curves(
        {"one": ((0, 8.0), (100, 2.0)), "two": ((50, 1.0),), "none": ((3, math.nan),)},
        ((0, 0.0), (200, 0.07)),
        chosen_step=150,
    )
    drawn = charts.loss_charts(curves)
    one, two = drawn["one"], drawn["two"]
    assert one is not None
    assert two is not None
    assert drawn["none"] is None
    assert (one.x_ticks, one.y_ticks) == (two.x_ticks, two.y_ticks)
    assert two.points[0][0] == pytest.approx((one.points[0][0] + one.points[1][0]) / 2)
    validation = charts.validation_chart(curves, 760)
    assert validation is not None
    assert validation.mark == validation.points[-1]
    for chart in (one, two, validation):
        assert all(chart.left <= x <= chart.width and 0 <= y <= chart.height - chart.bottom for x, y in chart.points)


def test_no_validation_no_chart() -> None:
    assert charts.validation_chart(Curves({}), 760) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.05, "0.05"), (1200, "1.2k"), (2_500_000, "2.5M"), (12, "12"), (6.5, "6.5")]
)
def test_tick_numbers(value: float, text: str) -> None:
    assert charts.number(value) == text


@given(st.text(max_size=300), st.integers(4, 40), st.integers(1, 5))
def test_wrapped_text_fits_its_box(text: str, width: int, lines: int) -> None:
    made = flow.wrapped(text, width, lines)
    assert 1 <= len(made) <= lines
    assert all(flow._cells(line) <= width for line in made)


@given(st.lists(st.text("abcdef", min_size=1, max_size=6), max_size=8))
def test_wrapping_loses_no_word_when_there_is_room(parts: list[str]) -> None:
    assert " ".join(flow.wrapped(" ".join(parts), 10, 20)) == " ".join(parts)


@pytest.mark.parametrize("layout", [flow.wide(()), flow.tall(())], ids=["wide", "tall"])
def test_rooms_do_not_overlap_and_stay_in_the_drawing(layout: flow.Layout) -> None:
    assert [room.name for room in layout.rooms] == list(flow.ROOMS)
    for room in layout.rooms:
        assert 0 <= room.x <= room.x + room.width <= layout.width
        assert 0 <= room.y <= room.y + room.height <= layout.height
    for one, other in itertools.combinations(layout.rooms, 2):
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y


def test_a_room_without_its_stage_is_known_as_missing() -> None:
    rooms = {room.name: room.stage for room in flow.wide((Stage("sids", "3 levels"),)).rooms}
    assert rooms["sids"] == Stage("sids", "3 levels")
    assert rooms["captions"] is None


def test_headline_prefers_hit_rate_at_ten_and_sorts_the_others(page: Page) -> None:
    found = headline(page)
    assert found is not None
    metric, ours, others = found
    assert (metric, ours.name, [system.name for system in others]) == (
        "HR@10",
        "TriAlignGR",
        ["T3 only, text only", "Popularity"],
    )


def test_headline_needs_a_row_of_ours(page: Page) -> None:
    nobody = MetricTable("t", "", (System("Popularity", {"HR@10": Estimate(0.1, 0.0, 0.2)}),))
    assert headline(Page("", "", "", page.counts, (), {}, tables=(nobody,))) is None


def test_numbers_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0.42, 48, 59.7, 200, 3900)] == [
        "0.4 s",
        "48 s",
        "1 min 00 s",
        "3 min 20 s",
        "1 h 05 min",
    ]
    assert percent(0.1283) == "12.8 %"
    assert excerpt("abcdef", 3) == "abc … (3 more characters)"
    assert [sid_level(text) for text in ("<a_5>", "<c_12>", "<|im_end|>", "x<a_5>")] == [0, 2, None, None]


def test_settings_are_flattened_in_order() -> None:
    settings = {"train": {"rate": 0.1, "bf16": False, "sizes": [64, 32], "stop": {"patience": None}}}
    assert flat(settings) == [
        ("train.rate", "0.1"),
        ("train.bf16", "no"),
        ("train.sizes", "64, 32"),
        ("train.stop.patience", "none"),
    ]


def test_words_for_metrics_and_protocol() -> None:
    assert "first 10 suggestions" in words.metric_meaning("HR@10")
    assert words.metric_meaning("something") == ""
    assert [names for names, _ in words.glossary(["HR@5", "HR@10", "NDCG@5", "odd"])] == ["HR@5, HR@10", "NDCG@5"]


def test_a_protocol_in_words() -> None:
    rows = protocol_rows(
        {"data": {"users": 22363}, "k_core": 5, "seeds": [0, 1], "invalid_rate": 0.00123, "odd_one": 1}
    )
    assert [(name, value) for name, _, value in rows] == [
        ("users", "22,363"), ("k-core", "5"), ("seeds", "0, 1"), ("invalid", "0.12 %"), ("odd one", "1"),
    ]  # fmt: skip
    assert [bool(meaning) for _, meaning, _ in rows] == [True, True, True, True, False]
