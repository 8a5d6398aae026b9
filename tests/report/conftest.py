"""A made-up run with drawn pictures: everything a page can show, and all of it invented."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trialigngr.enrich.statistics import CaptionStatistics, CategoryTags, EnrichmentStatistics, TagStatistics
from trialigngr.evaluate.comparison import SystemRow
from trialigngr.metrics.intervals import Estimate
from trialigngr.report.page import (
    CaseStudy,
    DataCounts,
    EnrichedItem,
    EnrichmentSection,
    ExampleUser,
    ItemTile,
    MetricChart,
    PageInterest,
    PairedDifference,
    PipelineStep,
    PromptSpan,
    RecommendedTile,
    ReportPage,
    SidSection,
    TaskExample,
    TrainingCurves,
)
from trialigngr.sids.quality import CodebookUsage, SidFigures, SidQuality
from trialigngr.sids.tsne import CodeMap

SHAPES = ("mug", "lamp", "cushion", "notebook")
COLOURS = ("teal", "coral", "goldenrod", "slateblue", "olivedrab", "sienna")
SID_TEXT = ("<a_5>", "<b_130>", "<c_7>")


def _draw(path: Path, shape: str, colour: str) -> Path:
    picture = Image.new("RGB", (240, 240), "whitesmoke")
    pen = ImageDraw.Draw(picture)
    box = {
        "mug": (60, 70, 170, 190),
        "lamp": (80, 30, 160, 210),
        "cushion": (40, 60, 200, 180),
        "notebook": (65, 35, 175, 205),
    }[shape]
    draw = pen.ellipse if shape in ("lamp", "cushion") else pen.rectangle
    draw(box, fill=colour, outline="black", width=4)
    picture.save(path)
    return path


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[ItemTile, ...]:
    folder = tmp_path_factory.mktemp("pictures")
    wares = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    return tuple(
        ItemTile(
            f"{colour.title()} {shape} with a hand-finished rim",
            _draw(folder / f"{shape}-{colour}.png", shape, colour),
            shape.title(),
        )
        for shape, colour in wares
    )


def _people(tiles: tuple[ItemTile, ...], dice: random.Random) -> tuple[ExampleUser, ...]:
    people = []
    for number in range(1, 11):
        drawn = dice.sample(tiles, 20)
        history, taken, rest = drawn[:8], drawn[8], drawn[9:19]
        shown = [RecommendedTile(item, -1.1 - 0.31 * rank) for rank, item in enumerate(rest)]
        if number % 2:
            shown[number - 1] = RecommendedTile(taken, shown[number - 1].score, is_hit=True)
        people.append(
            ExampleUser(
                f"Shopper {number}", tuple(history), tuple(shown), taken, num_earlier_items=6 if number == 2 else 0
            )
        )
    return tuple(people)


def _story(tiles: tuple[ItemTile, ...], place: int) -> CaseStudy:
    item = tiles[place]
    caption = "A squat form in a single saturated colour, thick black outline, on a pale ground; matt and quiet."
    description = (
        "Turned by hand in small numbers. Holds what you give it, stacks when it has to, and forgives the dishwasher."
    )
    interests = (
        PageInterest("slow mornings at home", "high"),
        PageInterest("small-space organiser", "medium"),
        PageInterest("gift giver", "low"),
    )
    tags = "slow mornings at home; small-space organiser"
    text = "\n".join((item.title, tags, description, "Kiln & Co", item.category or "", caption))
    kin = tuple(tile for tile in tiles if tile.category == item.category)[:6]
    labels = ("Home", item.category or "")
    return CaseStudy(item, description, "Kiln & Co", labels, caption, interests, "homebody", text, SID_TEXT, kin)


def _seen(tiles: tuple[ItemTile, ...]) -> EnrichmentSection:
    captions = CaptionStatistics(320, 0.0123, 0.0062, 18.2, 9, 31, 0.97, 0.081, 0.304, 320)
    counts = (("slow mornings at home", 120), ("gift giver", 31))
    tags = TagStatistics(1013, 0.031, 3.13, 2.4, 97, 61.3, 0.021, counts, (CategoryTags("Mugs", 81, counts),))
    story = _story(tiles, 3)
    items = (
        EnrichedItem(story.item, story.caption, story.interests, story.lifestyle),
        EnrichedItem(replace(tiles[1], image=None), None, (), None, "not found", "the answer is no JSON"),
    )
    return EnrichmentSection(EnrichmentStatistics(324, 322, captions, tags), items)


def _figures(scale: float, metrics: tuple[float, ...] = (0.0841, 0.1283, 0.0527, 0.0669)) -> dict[str, Estimate]:
    names = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
    spread = 0.9 * math.sqrt(scale)
    return {
        name: Estimate(value * scale, value * scale - 0.011 * spread, value * scale + 0.012 * spread)
        for name, value in zip(names, metrics, strict=True)
    }


def _systems(scale: float) -> tuple[SystemRow, ...]:
    ours = SystemRow("TriAlignGR", _figures(scale))
    return (
        ours,
        SystemRow("T3 only, text only", _figures(0.71 * scale)),
        SystemRow("Popularity", _figures(0.32 * scale)),
    )


def _tasks(tiles: tuple[ItemTile, ...]) -> tuple[TaskExample, ...]:
    codes = tuple(PromptSpan(text, is_special_token=True) for text in SID_TEXT)
    history = codes + tuple(
        PromptSpan(text, is_special_token=True) for text in ("<a_9>", "<b_2>", "<c_801>", "<a_5>", "<b_77>", "<c_0>")
    )
    titles = (PromptSpan("Titles so far, oldest first.\n" + "\n".join(tile.title for tile in tiles[:5])),)
    look = (
        PromptSpan(
            "It looks like this: A squat form in a single saturated colour, thick black outline, on a pale ground."
        ),
    )
    title = (PromptSpan(tiles[0].title),)
    end = (PromptSpan("<|im_end|>", is_special_token=True),)
    rows = (
        ("T1", "title_to_sid", title, codes),
        ("T2", "sid_to_title", codes, title),
        ("T3", "sids_to_sid", (PromptSpan("Taken so far, oldest first.\n"), *history), codes),
        ("T4", "titles_to_sid", titles, codes),
        ("T5", "sids_to_title", (PromptSpan("Taken so far, oldest first.\n"), *history), title),
        ("T6", "titles_to_title", titles, title),
        ("T7", "visual_to_sid", look, codes),
        ("T8", "visual_to_title", look, title),
    )
    system = (PromptSpan("You are a recommendation model: you write what a shopper takes next."),)
    return tuple(
        TaskExample(number, name, system, user, target + end, 324 * place)
        for place, (number, name, user, target) in enumerate(rows, 1)
    )


def _curves(tasks: tuple[TaskExample, ...], dice: random.Random) -> TrainingCurves:
    loss = {
        task.name: tuple(
            (step, 1.0 + place / 5 + 5 * math.exp(-step / (200 + 60 * place)) + dice.gauss(0, 0.12))
            for step in range(place, 2000, 8)
        )
        for place, task in enumerate(tasks)
    }
    validation = tuple(
        (step, 0.071 * (1 - math.exp(-step / 500)) - (0.000006 * max(0, step - 1400))) for step in range(0, 2001, 200)
    )
    return TrainingCurves(loss, validation, chosen_step=1400)


STAGES = (
    PipelineStep("catalog", "Photo and title", "324 items, 1,200 shoppers", 0.8),
    PipelineStep("captions", "Caption", "324 captions", 6.2, "measured visual attributes, rules v1"),
    PipelineStep("interests", "Interests", "1,013 tags, 3.1 an item", 4.9, "lexicon by MiniLM similarity"),
    PipelineStep("embeddings", "Embedding", "384 + 1,280 → 512 numbers", 21.4, "all-MiniLM-L6-v2 + EfficientNet-Lite2"),
    PipelineStep("sids", "Semantic ID", "3 levels: 64 · 64 · 64 codes", 9.7),
    PipelineStep("tasks", "Eight tasks", "14,200 examples"),
    PipelineStep("model", "Language model", "3.7 M parameters, 2,000 steps", 171.0, "Qwen2, from scratch"),
    PipelineStep("decode", "Beam search", "20 beams on the trie"),
    PipelineStep("evaluation", "Ranked items", "HR@10 0.1283", 12.5),
)


@pytest.fixture(scope="session")
def page(tiles: tuple[ItemTile, ...]) -> ReportPage:
    dice = random.Random(7)
    tasks = _tasks(tiles)
    notes = (
        "2 pictures could not be opened; their items stay without a picture.",
        "3 items have no title and are left out of T1, T2, T4, T5, T6 and T8.",
    )
    return ReportPage(
        title="The drawn shop",
        recipe="trialigngr-demo",
        created_on="14 November 2026",
        data_counts=DataCounts(1200, 324, 9813, 322, 1200, num_titles=321, median_history_length=8.0, notes=notes),
        steps=STAGES,
        settings={
            "catalog": {"core": 5, "split": {"kind": "leave-last-n", "n": 1}, "unknown_items": "refuse"},
            "sids": {"sizes": [64, 64, 64], "policy": "nearest free code", "epochs": 200, "seed": 0},
            "train": {
                "learning_rate": 0.001,
                "batch_size": 64,
                "bf16": False,
                "early_stopping": {"patience": 5, "metric": "NDCG@10"},
            },
            "evaluate": {"num_beams": 20, "max_history": 20, "ks": [5, 10]},
        },
        protocol={
            "split": "leave-last-out",
            "max_history": 20,
            "seen_items": "not masked",
            "candidates": "all items",
            "num_beams": 20,
            "test_users": 1200,
        },
        enrichment=_seen(tiles),
        sid_section=SidSection(
            SidQuality(
                num_items=324,
                num_distinct_sids=324,
                codebook_sizes=(64, 64, 64),
                collisions_items=0.0,
                collisions_sids=0.0,
                unique_share=1.0,
                largest_bucket=1,
                largest_sid="<a_5><b_1><c_7>",
                codebook_usage=tuple(
                    CodebookUsage(64, used, 64 - used, used / 64, 0.9 * used, 0.2) for used in (64, 61, 52)
                ),
                prefix_entropy=(3.9, 5.5, 5.78),
                collisions_targets=0.0,
                fidelity=(0.7, 0.85, 0.91),
                fidelity_held_out=(0.68, 0.81, 0.87),
                neighbor_recall=0.62,
                category_purity=(0.8, 0.9, math.nan),
                cooccurrence=(0.4, 0.2, 0.0),
                busiest_tenth=(0.3, 0.35, 0.35),
                collision_floor=0.0062,
                by_chance=SidFigures(
                    num_distinct_sids=310,
                    collisions_items=0.083,
                    collisions_sids=0.043,
                    unique_share=0.917,
                    largest_bucket=3,
                    codebook_usage=tuple(CodebookUsage(64, 63, 1, 63 / 64, 56.0, 0.25) for _ in range(3)),
                    prefix_entropy=(3.9, 5.4, 5.7),
                    collisions_targets=0.0,
                    fidelity=(0.2, 0.15, 0.1),
                    fidelity_held_out=(0.19, 0.14, 0.1),
                    neighbor_recall=0.03,
                    category_purity=(0.25, 0.26, math.nan),
                    cooccurrence=(0.02, 0.01, 0.0),
                    busiest_tenth=(0.14, 0.2, 0.35),
                ),
            ),
            collision_rate_before=0.031,
            collision_policy="nearest_free",
            num_moved=10,
            code_map=CodeMap(
                np.arange(324),
                np.array([[math.cos(i) * (1 + i % 4), math.sin(i) * (1 + i % 4)] for i in range(324)], np.float32),
                np.array([i % 4 - (i % 9 == 0) for i in range(324)], np.int64).clip(-1),
                ("Mugs", "Lamps", "Cushions", "Notebooks"),
            ),
        ),
        metric_charts=(
            MetricChart(
                "Items, nothing masked",
                "A hit is the very item; items already taken may be suggested again.",
                _systems(1.0),
            ),
            MetricChart(
                "SIDs, nothing masked",
                "A hit is the right SID, whichever item bears it. Never instead of the table above.",
                _systems(1.02),
            ),
            MetricChart(
                "Items, seen items masked",
                "Items already taken are not suggested, for every system alike.",
                _systems(1.15),
            ),
        ),
        differences=tuple(
            PairedDifference(metric, versus, Estimate(value, value - 0.012, value + 0.013))
            for metric, versus, value in (
                ("HR@10", "Popularity", 0.0872),
                ("HR@10", "T3 only, text only", 0.0372),
                ("NDCG@10", "T3 only, text only", 0.009),
            )
        ),
        curves=_curves(tasks, dice),
        task_examples=tasks,
        example_users=_people(tiles, dice),
        sampling_note="They were drawn at random among the tested shoppers.",
        case_studies=tuple(_story(tiles, place) for place in (0, 8, 21)),
        version="0.1.0",
    )


@pytest.fixture(scope="session")
def bare(page: ReportPage) -> ReportPage:
    """The same run on a catalogue of titles, with everything that can be missing gone."""
    gone = "this catalogue has no pictures, so there is no look to describe."
    tasks = tuple(
        TaskExample(task.number, task.name, missing_reason=gone) if task.number in ("T7", "T8") else task
        for task in page.task_examples
    )
    blind = {
        tile.title: replace(tile, image=None)
        for person in page.example_users
        for tile in (*person.history, person.target)
    }

    def strip(tile: ItemTile) -> ItemTile:
        return blind.get(tile.title, replace(tile, image=None))

    people = tuple(
        replace(
            person,
            history=tuple(map(strip, person.history)),
            target=strip(person.target),
            recommendations=tuple(replace(row, item=strip(row.item), score=None) for row in person.recommendations),
        )
        for person in page.example_users
    )
    story = replace(
        page.case_studies[0],
        item=strip(page.case_studies[0].item),
        caption=None,
        interests=(),
        description=None,
        brand=None,
        items_sharing_first_code=(),
    )
    stages = tuple(stage for stage in page.steps if stage.name != "captions")
    nothing = EnrichmentStatistics(
        12101,
        0,
        CaptionStatistics(0, 1.0, None, None, None, None, None, None, None, 0),
        TagStatistics(0, 1.0, 0.0, None, 0, 0.0, None, (), ()),
    )
    return replace(
        page,
        enrichment=EnrichmentSection(nothing, (EnrichedItem(strip(page.case_studies[0].item), None),)),
        data_counts=DataCounts(22363, 12101, 198502, 0, 22363),
        steps=stages,
        task_examples=tasks,
        example_users=people,
        case_studies=(story,),
        sid_section=None,
        curves=None,
    )
