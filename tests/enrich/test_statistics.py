from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.catalog.items import Catalog
from trialigngr.enrich import statistics
from trialigngr.enrich.statistics import CategoryTags, compute_statistics, repeats_title


def test_figures_worked_by_hand(make_catalog: Callable[..., Catalog]) -> None:
    catalog = make_catalog(
        {"title": "Red tea cup", "image_path": "a.png", "categories": ["Home", "Cups"]},
        {"title": "Blue cup", "image_path": "b.png", "categories": ["Cups"]},
        {"title": None, "image_path": "c.png", "categories": ["Lamps"]},
        {"title": "Lamp"},
    )
    captions = ["A red cup.", "a red, red cup", None, None]
    tags = [["tea", "collector"], ["collector", "Cup"], ["collector"], []]
    told = compute_statistics(catalog, captions, tags)
    assert (told.num_items, told.num_images) == (4, 3)
    # Words: a red cup | a red red cup: 7, 3 of them distinct. Pairs: (a red) (red cup) | (a red) (red red) (red cup).
    assert told.captions == statistics.CaptionStatistics(
        num_captions=2, share_without=0.5, image_share_without=1 / 3, mean_words=3.5, min_words=3, max_words=4,
        distinct_share=1.0, distinct_1=3 / 7, distinct_2=3 / 5, sample_size=2,
    )  # fmt: skip
    # Tags: collector 3, tea 1, Cup 1. Of the four on items with a title, tea and Cup are in it.
    entropy = -(0.6 * math.log(0.6) + 2 * 0.2 * math.log(0.2))
    assert told.tags.num_effective == pytest.approx(math.exp(entropy))
    assert told.tags.title_repeat_share == 2 / 4
    assert (told.tags.num_tags, told.tags.num_distinct, told.tags.share_without) == (5, 3, 0.25)
    assert (told.tags.mean_per_item, told.tags.mean_words) == (1.25, 1.0)
    assert told.tags.most_frequent == (("collector", 3), ("Cup", 1), ("tea", 1))
    assert told.tags.tags_by_category == (
        CategoryTags("Cups", 2, (("collector", 2), ("Cup", 1), ("tea", 1))),
        CategoryTags("Lamps", 1, (("collector", 1),)),
    )


def test_nothing_written_is_no_division_by_nothing(make_catalog: Callable[..., Catalog]) -> None:
    told = compute_statistics(make_catalog({"title": "a"}, {}), [None, None], [[], []])
    assert told.captions.share_without == told.tags.share_without == 1.0
    assert told.captions.image_share_without is told.captions.distinct_2 is told.tags.title_repeat_share is None
    assert told.tags.num_effective == 0.0
    lone = compute_statistics(make_catalog({"title": "a"}), ["word"], [["!"]])
    assert lone.captions.distinct_2 is None
    assert lone.tags.title_repeat_share == 0.0


def test_distinct_n_looks_at_a_fixed_number_of_captions(
    make_catalog: Callable[..., Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_SAMPLE_CAPTIONS", 10)
    rows: list[dict[str, Any]] = [{} for _ in range(95)]
    told = compute_statistics(make_catalog(*rows), [f"number {n}" for n in range(95)], [[]] * 95)
    assert told.captions.sample_size == 10
    assert told.captions.distinct_1 == 11 / 20


@given(st.lists(st.sampled_from(["Tea", "red", "cup", "größe", "7"]), min_size=1), st.data())
def test_a_tag_of_words_of_the_title_repeats_it_in_any_order_and_case(title: list[str], data: st.DataObject) -> None:
    tag = data.draw(st.lists(st.sampled_from(title), min_size=1))
    assert repeats_title(" ".join(tag).upper(), ", ".join(title))
    assert not repeats_title(" ".join([*tag, "unheard"]), ", ".join(title))
    assert not repeats_title("…", ", ".join(title))
