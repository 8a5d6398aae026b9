"""The arithmetic behind the drawings, by hand and as laws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.evaluate.comparison import SystemRow
from trialigngr.metrics.intervals import Estimate
from trialigngr.report import charts
from trialigngr.report import explanations as words
from trialigngr.report import pipeline_diagram as flow
from trialigngr.report.page import MetricChart, PipelineStep, ReportPage, TrainingCurves
from trialigngr.report.render import (
    flatten_settings,
    format_duration,
    format_percent,
    format_protocol_rows,
    parse_sid_level,
    pick_headline,
    truncate_text,
)


def test_thinning_takes_means_of_neighbours_and_leaves_out_what_is_not_finite() -> None:
    points = [(0, 4.0), (1, math.nan), (2, 2.0), (3, 1.0), (4, math.inf), (5, 3.0)]
    assert charts.downsample_points(points, 2) == [(1.0, 3.0), (4.0, 2.0)]
    assert charts.downsample_points([(0, math.nan)]) == []


def test_whisker_leaves_room_for_the_dot_at_both_ends() -> None:
    assert charts.place_interval(Estimate(0.5, 0.0, 1.0), 0.0, 1.0) == Estimate(50.0, 4.0, 96.0)
    assert charts.place_interval(Estimate(0.0, -0.1, 0.1), -0.2, 0.2) == Estimate(
        50.0, pytest.approx(27.0), pytest.approx(73.0)
    )


def test_reach_holds_every_interval_on_both_sides() -> None:
    assert charts.compute_scale_reach([Estimate(0.1, -0.3, 0.2), Estimate(0.1, 0.0, 0.25)]) == 0.3
    assert charts.compute_scale_reach([]) == 1.0


def test_charts_share_their_axes_and_stay_inside() -> None:
    curves = TrainingCurves(
        {"one": ((0, 8.0), (100, 2.0)), "two": ((50, 1.0),), "none": ((3, math.nan),)},
        ((0, 0.0), (200, 0.07)),
        chosen_step=150,
    )
    drawn = charts.draw_loss_charts(curves)
    one, two = drawn["one"], drawn["two"]
    assert one is not None
    assert two is not None
    assert drawn["none"] is None
    assert (one.x_ticks, one.y_ticks) == (two.x_ticks, two.y_ticks)
    assert two.points[0][0] == pytest.approx((one.points[0][0] + one.points[1][0]) / 2)
    validation = charts.draw_validation_chart(curves, 760)
    assert validation is not None
    assert validation.marked_point == validation.points[-1]
    for chart in (one, two, validation):
        assert all(
            chart.left_margin <= x <= chart.width and 0 <= y <= chart.height - chart.bottom_margin
            for x, y in chart.points
        )


def test_no_validation_no_chart() -> None:
    assert charts.draw_validation_chart(TrainingCurves({}), 760) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.05, "0.05"), (1200, "1.2k"), (2_500_000, "2.5M"), (12, "12"), (6.5, "6.5")]
)
def test_tick_numbers(value: float, text: str) -> None:
    assert charts.format_tick(value) == text


@given(st.text(max_size=300), st.integers(4, 40), st.integers(1, 5))
def test_wrapped_text_fits_its_box(text: str, width: int, lines: int) -> None:
    made = flow.wrap_text(text, width, lines)
    assert 1 <= len(made) <= lines
    assert all(flow._count_cells(line) <= width for line in made)


@given(st.lists(st.text("abcdef", min_size=1, max_size=6), max_size=8))
def test_wrapping_loses_no_word_when_there_is_room(parts: list[str]) -> None:
    assert " ".join(flow.wrap_text(" ".join(parts), 10, 20)) == " ".join(parts)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 9, 10])
@pytest.mark.parametrize("build", [flow.wide_layout, flow.tall_layout])
def test_boxes_do_not_overlap_and_stay_in_the_drawing(
    page: ReportPage, build: Callable[..., flow.DiagramLayout], num_steps: int
) -> None:
    more = PipelineStep("more", "One more stage", "added in one file")
    steps = (*page.steps, more)[:num_steps]
    layout = build(steps)
    assert [box.step for box in layout.boxes] == list(steps)
    assert [box.number for box in layout.boxes] == list(range(1, num_steps + 1))
    assert len(layout.arrows) == num_steps - 1
    assert bool(layout.image_arrow) == (num_steps > 5 or (num_steps == 5 and layout.name == "tall"))
    for box in layout.boxes:
        assert 0 <= box.x <= box.x + box.width <= layout.width
        assert 0 <= box.y <= box.y + box.height <= layout.height
    for one, other in itertools.combinations(layout.boxes, 2):
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y


def test_headline_prefers_hit_rate_at_ten_and_sorts_the_others(page: ReportPage) -> None:
    found = pick_headline(page)
    assert found is not None
    metric, ours, others = found
    assert (metric, ours.name, [system.name for system in others]) == (
        "HR@10",
        "TriAlignGR",
        ["T3 only, text only", "Popularity"],
    )


def test_headline_needs_a_row_of_ours(page: ReportPage) -> None:
    nobody = MetricChart("t", "", (SystemRow("Popularity", {"HR@10": Estimate(0.1, 0.0, 0.2)}),))
    assert pick_headline(ReportPage("", "", "", page.data_counts, (), {}, metric_charts=(nobody,))) is None


def test_numbers_as_people_say_them() -> None:
    assert [format_duration(seconds) for seconds in (0.42, 48, 59.7, 200, 3900)] == [
        "0.4 s",
        "48 s",
        "1 min 00 s",
        "3 min 20 s",
        "1 h 05 min",
    ]
    assert format_percent(0.1283) == "12.8 %"
    assert truncate_text("abcdef", 3) == "abc … (3 more characters)"
    assert [parse_sid_level(text) for text in ("<a_5>", "<c_12>", "<|im_end|>", "x<a_5>")] == [0, 2, None, None]


def test_settings_are_flattened_in_order() -> None:
    settings = {"train": {"rate": 0.1, "bf16": False, "sizes": [64, 32], "stop": {"patience": None}}}
    assert flatten_settings(settings) == [
        ("train.rate", "0.1"),
        ("train.bf16", "no"),
        ("train.sizes", "64, 32"),
        ("train.stop.patience", "none"),
    ]


def test_words_for_metrics_and_protocol() -> None:
    assert "first 10 suggestions" in words.describe_metric("HR@10")
    assert words.describe_metric("something") == ""
    assert [names for names, _ in words.build_glossary(["HR@5", "HR@10", "NDCG@5", "odd"])] == ["HR@5, HR@10", "NDCG@5"]


def test_a_protocol_in_words() -> None:
    rows = format_protocol_rows(
        {"data": {"users": 22363}, "k_core": 5, "seeds": [0, 1], "invalid_rate": 0.00123, "odd_one": 1}
    )
    assert [(name, value) for name, _, value in rows] == [
        ("users", "22,363"), ("k-core", "5"), ("seeds", "0, 1"), ("invalid", "0.12 %"), ("odd one", "1"),
    ]  # fmt: skip
    assert [bool(meaning) for _, meaning, _ in rows] == [True, True, True, True, False]
