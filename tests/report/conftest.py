"""A made-up run with drawn pictures: everything a page can show, and all of it invented."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trialigngr.enrich.statistics import CaptionFigures, CategoryTags, TagFigures, Written
from trialigngr.metrics.intervals import Estimate
from trialigngr.report.page import (
    Counts,
    Curves,
    Described,
    Difference,
    Interest,
    MetricTable,
    Page,
    Person,
    Recommended,
    Seen,
    SidPanel,
    Span,
    Stage,
    Story,
    System,
    TaskExample,
    Tile,
)
from trialigngr.sids.quality import LevelUse, Quality
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
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tile, ...]:
    folder = tmp_path_factory.mktemp("pictures")
    wares = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    return tuple(
        Tile(
            f"{colour.title()} {shape} with a hand-finished rim",
            _draw(folder / f"{shape}-{colour}.png", shape, colour),
            shape.title(),
        )
        for shape, colour in wares
    )


def _people(tiles: tuple[Tile, ...], dice: random.Random) -> tuple[Person, ...]:
    people = []
    for number in range(1, 11):
        drawn = dice.sample(tiles, 20)
        history, taken, rest = drawn[:8], drawn[8], drawn[9:19]
        shown = [Recommended(item, -1.1 - 0.31 * rank) for rank, item in enumerate(rest)]
        if number % 2:
            shown[number - 1] = Recommended(taken, shown[number - 1].score, taken=True)
        people.append(Person(f"Shopper {number}", tuple(history), tuple(shown), taken, earlier=6 if number == 2 else 0))
    return tuple(people)


def _story(tiles: tuple[Tile, ...], place: int) -> Story:
    item = tiles[place]
    caption = "A squat form in a single saturated colour, thick black outline, on a pale ground; matt and quiet."
    description = (
        "Turned by hand in small numbers. Holds what you give it, stacks when it has to, and forgives the dishwasher."
    )
    interests = (
        Interest("slow mornings at home", "high"),
        Interest("small-space organiser", "medium"),
        Interest("gift giver", "low"),
    )
    tags = "slow mornings at home; small-space organiser"
    text = "\n".join((item.title, tags, description, "Kiln & Co", item.category or "", caption))
    kin = tuple(tile for tile in tiles if tile.category == item.category)[:6]
    labels = ("Home", item.category or "")
    return Story(item, description, "Kiln & Co", labels, caption, interests, "homebody", text, SID_TEXT, kin)


def _seen(tiles: tuple[Tile, ...]) -> Seen:
    captions = CaptionFigures(320, 0.0123, 0.0062, 18.2, 9, 31, 0.97, 0.081, 0.304, 320)
    counts = (("slow mornings at home", 120), ("gift giver", 31))
    tags = TagFigures(1013, 0.031, 3.13, 2.4, 97, 61.3, 0.021, counts, (CategoryTags("Mugs", 81, counts),))
    story = _story(tiles, 3)
    items = (
        Described(story.item, story.caption, story.interests, story.lifestyle),
        Described(replace(tiles[1], picture=None), None, (), None, "not found", "the answer is no JSON"),
    )
    return Seen(Written(324, 322, captions, tags), items)


def _figures(scale: float, metrics: tuple[float, ...] = (0.0841, 0.1283, 0.0527, 0.0669)) -> dict[str, Estimate]:
    names = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
    spread = 0.9 * math.sqrt(scale)
    return {
        name: Estimate(value * scale, value * scale - 0.011 * spread, value * scale + 0.012 * spread)
        for name, value in zip(names, metrics, strict=True)
    }


def _systems(scale: float) -> tuple[System, ...]:
    ours = System("TriAlignGR", _figures(scale), ours=True)
    return (ours, System("T3 only, text only", _figures(0.71 * scale)), System("Popularity", _figures(0.32 * scale)))


def _tasks(tiles: tuple[Tile, ...]) -> tuple[TaskExample, ...]:
    codes = tuple(Span(text, token=True) for text in SID_TEXT)
    history = codes + tuple(
        Span(text, token=True) for text in ("<a_9>", "<b_2>", "<c_801>", "<a_5>", "<b_77>", "<c_0>")
    )
    titles = (Span("Titles so far, oldest first.\n" + "\n".join(tile.title for tile in tiles[:5])),)
    look = (
        Span("It looks like this: A squat form in a single saturated colour, thick black outline, on a pale ground."),
    )
    title = (Span(tiles[0].title),)
    end = (Span("<|im_end|>", token=True),)
    rows = (
        ("T1", "title_to_sid", title, codes),
        ("T2", "sid_to_title", codes, title),
        ("T3", "sids_to_sid", (Span("Taken so far, oldest first.\n"), *history), codes),
        ("T4", "titles_to_sid", titles, codes),
        ("T5", "sids_to_title", (Span("Taken so far, oldest first.\n"), *history), title),
        ("T6", "titles_to_title", titles, title),
        ("T7", "visual_to_sid", look, codes),
        ("T8", "visual_to_title", look, title),
    )
    system = (Span("You are a recommendation model: you write what a shopper takes next."),)
    return tuple(
        TaskExample(number, name, system, user, target + end, 324 * place)
        for place, (number, name, user, target) in enumerate(rows, 1)
    )


def _curves(tasks: tuple[TaskExample, ...], dice: random.Random) -> Curves:
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
    return Curves(loss, validation, chosen_step=1400)


STAGES = (
    Stage("catalog", "324 items, 1,200 shoppers", 0.8),
    Stage("captions", "324 captions", 6.2, "measured visual attributes, rules v1"),
    Stage("interests", "1,013 tags, 3.1 an item", 4.9, "lexicon by MiniLM similarity"),
    Stage("embeddings", "384 + 1,280 → 512 numbers", 21.4, "all-MiniLM-L6-v2 + EfficientNet-Lite2"),
    Stage("sids", "3 levels: 64 · 64 · 64 codes", 9.7),
    Stage("tasks", "14,200 examples"),
    Stage("model", "3.7 M parameters, 2,000 steps", 171.0, "Qwen2, from scratch"),
    Stage("decode", "20 beams on the trie"),
    Stage("evaluation", "HR@10 0.1283", 12.5),
)


@pytest.fixture(scope="session")
def page(tiles: tuple[Tile, ...]) -> Page:
    dice = random.Random(7)
    tasks = _tasks(tiles)
    notes = (
        "2 pictures could not be opened; their items stay without a picture.",
        "3 items have no title and are left out of T1, T2, T4, T5, T6 and T8.",
    )
    return Page(
        title="The drawn shop",
        recipe="trialigngr-demo",
        made_on="14 November 2026",
        counts=Counts(1200, 324, 9813, 322, 1200, titles=321, median_history=8.0, notes=notes),
        stages=STAGES,
        settings={
            "catalog": {"core": 5, "split": {"kind": "leave-last-n", "n": 1}, "unknown_items": "refuse"},
            "sids": {"sizes": [64, 64, 64], "policy": "nearest free code", "epochs": 200, "seed": 0},
            "train": {
                "learning_rate": 0.001,
                "batch_size": 64,
                "bf16": False,
                "early_stopping": {"patience": 5, "metric": "NDCG@10"},
            },
            "evaluate": {"beams": 20, "history_cap": 20, "ks": [5, 10]},
        },
        protocol={
            "split": "leave-last-out",
            "history_cap": 20,
            "seen_items": "not masked",
            "candidates": "all items",
            "beams": 20,
            "test_users": 1200,
        },
        seen=_seen(tiles),
        sids=SidPanel(
            Quality(
                items=324,
                distinct=324,
                sizes=(64, 64, 64),
                collisions_items=0.0,
                collisions_sids=0.0,
                unique=1.0,
                largest_bucket=1,
                largest_sid="<a_5><b_1><c_7>",
                levels=tuple(LevelUse(64, used, 64 - used, used / 64, 0.9 * used, 0.2) for used in (64, 61, 52)),
                prefix_entropy=(3.9, 5.5, 5.78),
                collisions_targets=0.0,
                fidelity=(0.7, 0.85, 0.91),
                fidelity_held_out=(0.68, 0.81, 0.87),
                neighbours_kept=0.62,
                purity=(0.8, 0.9, math.nan),
                purity_by_chance=0.25,
            ),
            raw_sharing=0.031,
            policy="nearest_free",
            moved=10,
            map=CodeMap(
                np.array([[math.cos(i) * (1 + i % 4), math.sin(i) * (1 + i % 4)] for i in range(324)], np.float32),
                np.array([i % 4 - (i % 9 == 0) for i in range(324)], np.int64).clip(-1),
                ("Mugs", "Lamps", "Cushions", "Notebooks"),
            ),
        ),
        tables=(
            MetricTable(
                "Items, nothing masked",
                "A hit is the very item; items already taken may be suggested again.",
                _systems(1.0),
            ),
            MetricTable(
                "SIDs, nothing masked",
                "A hit is the right SID, whichever item bears it. Never instead of the table above.",
                _systems(1.02),
            ),
            MetricTable(
                "Items, seen items masked",
                "Items already taken are not suggested, for every system alike.",
                _systems(1.15),
            ),
        ),
        differences=tuple(
            Difference(metric, versus, Estimate(value, value - 0.012, value + 0.013))
            for metric, versus, value in (
                ("HR@10", "Popularity", 0.0872),
                ("HR@10", "T3 only, text only", 0.0372),
                ("NDCG@10", "T3 only, text only", 0.009),
            )
        ),
        curves=_curves(tasks, dice),
        tasks=tasks,
        people=_people(tiles, dice),
        people_chosen="They were drawn at random among the tested shoppers.",
        stories=tuple(_story(tiles, place) for place in (0, 8, 21)),
        version="0.1.0",
    )


@pytest.fixture(scope="session")
def bare(page: Page) -> Page:
    """The same run on a catalogue of titles, with everything that can be missing gone."""
    gone = "this catalogue has no pictures, so there is no look to describe."
    tasks = tuple(
        TaskExample(task.number, task.name, absent=gone) if task.number in ("T7", "T8") else task for task in page.tasks
    )
    blind = {
        tile.title: replace(tile, picture=None) for person in page.people for tile in (*person.history, person.taken)
    }

    def strip(tile: Tile) -> Tile:
        return blind.get(tile.title, replace(tile, picture=None))

    people = tuple(
        replace(
            person,
            history=tuple(map(strip, person.history)),
            taken=strip(person.taken),
            recommended=tuple(replace(row, item=strip(row.item), score=None) for row in person.recommended),
        )
        for person in page.people
    )
    story = replace(
        page.stories[0],
        item=strip(page.stories[0].item),
        caption=None,
        interests=(),
        description=None,
        brand=None,
        kin=(),
    )
    stages = tuple(stage for stage in page.stages if stage.name != "captions")
    nothing = Written(
        12101,
        0,
        CaptionFigures(0, 1.0, None, None, None, None, None, None, None, 0),
        TagFigures(0, 1.0, 0.0, None, 0, 0.0, None, (), ()),
    )
    return replace(
        page,
        seen=Seen(nothing, (Described(strip(page.stories[0].item), None),)),
        counts=Counts(22363, 12101, 198502, 0, 22363),
        stages=stages,
        tasks=tasks,
        people=people,
        stories=(story,),
        sids=None,
        curves=None,
    )
