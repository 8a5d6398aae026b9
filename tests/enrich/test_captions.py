from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from trialigngr.catalog.items import Catalog
from trialigngr.enrich import captions
from trialigngr.enrich.caption_table import CAPTIONS_FILE, load_captions
from trialigngr.enrich.captions import CAPTIONERS, write_captions
from trialigngr.enrich.measured_captioner import MeasuredCaptioner
from trialigngr.enrich.settings import CaptionSettings
from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.costs import estimate_cost
from trialigngr.llm.jobs import iter_job_rows
from trialigngr.llm.response_cache import ResponseCache, ResponseRecord
from trialigngr.llm.settings import ServerSettings

MakeCatalog = Callable[..., Catalog]
Draw = Callable[[str, str], str]


class Middle:
    """Says the colour in the middle; dies after so many pictures."""

    def __init__(self, lives: int = 1_000_000) -> None:
        self.lives = lives

    def describe_images(self, images: Sequence[Image.Image]) -> list[str]:
        self.lives -= len(images)
        if self.lives < 0:
            raise KeyboardInterrupt
        return [str(picture.getpixel((picture.width // 2, picture.height // 2))) for picture in images]


@pytest.fixture
def middle(monkeypatch: pytest.MonkeyPatch) -> CaptionSettings:
    monkeypatch.setitem(CAPTIONERS, "middle", lambda settings: Middle())
    return CaptionSettings(generator="middle")


def test_a_broken_picture_takes_no_caption_of_its_neighbour(
    make_catalog: MakeCatalog, draw: Draw, middle: CaptionSettings, tmp_path: Path
) -> None:
    draw("whole.png", "red")
    data = tmp_path / "data"
    (data / "half.png").write_bytes((data / "whole.png").read_bytes()[:60])
    (data / "empty.png").touch()
    catalog = make_catalog(
        {"image_path": draw("a.png", "red")}, {"image_path": "half.png"}, {}, {"image_path": "gone.png"},
        {"image_path": draw("b.png", "blue")}, {"image_path": "empty.png"}, {"image_path": draw("c.png", "lime")},
    )  # fmt: skip
    facts = write_captions(middle, catalog, tmp_path)
    colours = ["(255, 0, 0)", None, None, None, "(0, 0, 255)", None, "(0, 255, 0)"]
    assert load_captions(tmp_path) == colours
    table = pl.read_parquet(tmp_path / CAPTIONS_FILE)
    assert table.columns == ["item_id", "caption", "generator", "problem"]
    assert table["problem"].to_list() == [None, "broken", None, "missing", None, "empty", None]
    assert table["generator"].to_list() == ["middle" if colour else None for colour in colours]
    assert facts == {
        "generator": "middle",
        "captions": 3,
        "distinct_captions": 3,
        "items_without_image": 1,
        "failed_images": {"broken": 1, "missing": 1, "empty": 1},
        "failed_items": {},
    }
    assert [path.name for path in tmp_path.glob("captions*")] == [CAPTIONS_FILE]


def test_a_kill_costs_nothing_that_was_finished(
    make_catalog: MakeCatalog, draw: Draw, middle: CaptionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captions, "BATCH_SIZE", 2)
    colours = ["red", "lime", "blue", "white", "black", "yellow", "cyan"]
    catalog = make_catalog(*({"image_path": draw(f"{colour}.png", colour)} for colour in colours))
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    broken.mkdir()
    write_captions(middle, catalog, unbroken)
    monkeypatch.setitem(CAPTIONERS, "middle", lambda settings: Middle(lives=4))
    with pytest.raises(KeyboardInterrupt):
        write_captions(middle, catalog, broken)
    monkeypatch.setitem(CAPTIONERS, "middle", lambda settings: Middle(lives=3))
    write_captions(middle, catalog, broken)
    assert load_captions(broken) == load_captions(unbroken)
    assert (broken / CAPTIONS_FILE).read_bytes() == (unbroken / CAPTIONS_FILE).read_bytes()


def test_a_picture_of_two_items_costs_once(make_catalog: MakeCatalog, draw: Draw, tmp_path: Path) -> None:
    one = make_catalog({"image_path": draw("a.png", "red")}, {"image_path": draw("b.png", "red")}, {"title": "a"})
    settings, server = (
        CaptionSettings(generator="openai", model="m", max_tokens=50),
        ServerSettings(completion_price=1e6),
    )
    inquiry, recorded = captions.CaptionJob(settings, one, "openai:m"), settings.identify_model("openai")[1]
    cost = estimate_cost(inquiry, settings, server, 1, tmp_path / "responses.sqlite", 3)
    assert (cost.num_items, cost.num_remaining, cost.completion_tokens, cost.total_price) == (1, 1, 50, 50.0)
    with ResponseCache(tmp_path / "responses.sqlite") as book:
        (key,) = {row.key for row in iter_job_rows(inquiry, recorded, range(3))}
        book.lease_keys([key], inquiry.origin, 1)
        book.record_responses([ResponseRecord(key, "A disc.", None, False, 1, 300, 9)])
    assert estimate_cost(inquiry, settings, server, 1, tmp_path / "responses.sqlite", 3).num_remaining == 0


def test_an_unknown_generator(make_catalog: MakeCatalog, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"start `vllm serve MODEL`, and set captions.generator = \"openai\""):
        write_captions(CaptionSettings(generator="vllm"), make_catalog(), tmp_path)
    with pytest.raises(RecipeError, match="Did you mean 'measured'"):
        write_captions(CaptionSettings(generator="mesured"), make_catalog(), tmp_path)


def test_an_empty_catalogue_and_one_without_pictures(
    make_catalog: MakeCatalog, middle: CaptionSettings, tmp_path: Path
) -> None:
    assert write_captions(middle, make_catalog(), tmp_path)["captions"] == 0
    assert load_captions(tmp_path) == []
    write_captions(middle, make_catalog({"title": "a"}, {"title": "b"}), tmp_path)
    assert load_captions(tmp_path) == [None, None]


def test_the_offline_default_says_what_can_be_seen(make_catalog: MakeCatalog, draw: Draw, tmp_path: Path) -> None:
    catalog = make_catalog({"image_path": draw("a.png", "navy")}, {"image_path": draw("b.png", "red")})
    facts = write_captions(CaptionSettings(device="cpu"), catalog, tmp_path)
    first, second = load_captions(tmp_path)
    assert facts["generator"] == "measured"
    assert first is not None
    assert second is not None
    assert first.startswith("A round subject in navy blue")
    assert second.startswith("A round subject in red")
    assert "on a plain white background" in first


def test_no_picture_no_caption() -> None:
    assert MeasuredCaptioner("cpu").describe_images([]) == []
