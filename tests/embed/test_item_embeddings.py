from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import load_file, save_file

from trialigngr.catalog.items import ITEM_COLUMNS, Catalog
from trialigngr.embed import embeddings as items
from trialigngr.embed.embeddings import load_embeddings, write_embeddings
from trialigngr.embed.encoder import Modality
from trialigngr.embed.encoders import ENCODERS
from trialigngr.embed.settings import EmbedSettings
from trialigngr.foundation.errors import ArtifactError, RecipeError


class Letters:
    """Counts letters of the text; dies after so many items."""

    name, dimension = "letters", 26
    modality: Modality = "text"
    weight = 1.0

    def __init__(self, lives: int = 1_000_000) -> None:
        self.lives = lives

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> np.ndarray:
        self.lives -= len(texts)
        if self.lives < 0:
            raise KeyboardInterrupt
        return np.array([[text.count(chr(97 + letter)) for letter in range(26)] for text in texts], np.float32)


class Middle:
    """Sees the colour in the middle."""

    name, dimension = "middle", 3
    modality: Modality = "picture"
    weight = 1.0

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> np.ndarray:
        zero = (0, 0, 0)
        rows = [zero if one is None else one.getpixel((one.width // 2, one.height // 2)) for one in images]
        return np.array(rows, np.float32)


class Nothing(Letters):
    """Gives NaN."""

    name = "nothing"

    def encode(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> np.ndarray:
        return np.full((len(texts), 26), np.nan, np.float32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> EmbedSettings:
    monkeypatch.setitem(ENCODERS, "small", lambda device: [Letters(), Middle()])
    return EmbedSettings(encoder="small")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    folder = tmp_path / "data"
    folder.mkdir()
    for colour in ("red", "lime", "blue"):
        picture = Image.new("RGB", (90, 90), "white")
        ImageDraw.Draw(picture).ellipse((15, 15, 75, 75), fill=colour)
        picture.save(folder / f"{colour}.png")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    rows = [
        {"item_id": "a", "title": "tent", "image_path": "red.png"},
        {"item_id": "b", "title": "kettle", "image_path": "bad.png"},
        {"item_id": "c", "title": "lamp", "image_path": "lime.png"},
        {"item_id": "d", "title": "book"},
        {"item_id": "e", "title": "mug", "image_path": "blue.png"},
        {"item_id": "f", "title": "scarf", "image_path": "gone.png"},
    ]
    return Catalog(pl.DataFrame(rows, schema=ITEM_COLUMNS), folder)


def write(settings: EmbedSettings, catalog: Catalog, out: Path, **rest: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    captions = rest.get("captions", [None] * len(catalog))
    return write_embeddings(settings, catalog, captions, rest.get("tags", [[]] * len(catalog)), out)


def test_a_failed_picture_leaves_its_item_without_one(small: EmbedSettings, catalog: Catalog, tmp_path: Path) -> None:
    facts = write(small, catalog, tmp_path / "out")
    embeddings = load_embeddings(tmp_path / "out")
    seen = [True, False, True, False, True, False]
    assert load_file(tmp_path / "out" / items.EMBEDDINGS_FILE)["has_image"].tolist() == seen
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert [bool(row.any()) for row in embeddings[:, 26:]] == seen
    assert facts == {
        "encoders": ["letters", "middle"],
        "modalities": {"letters": "text", "middle": "picture"},
        "items": 6,
        "dimensions": embeddings.shape[1],
        "items_with_image": 3,
        "failed_images": {"not a picture": 1, "missing": 1},
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        items.EMBEDDINGS_FILE,
        items.FUSION_FILE,
        items.TEXTS_FILE,
    ]


def test_a_failed_picture_leaves_no_vector_of_another_item(
    small: EmbedSettings, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors are those of a catalogue that never named the pictures that fail, chunk borders or not."""
    usable = pl.col("image_path").is_in(["red.png", "lime.png", "blue.png"])
    honest = Catalog(catalog.table.with_columns(pl.when(usable).then("image_path").alias("image_path")), catalog.root)
    write(small, honest, tmp_path / "honest")
    wanted_ND = load_embeddings(tmp_path / "honest")
    for size in (1, 2, 512):
        monkeypatch.setattr(items, "CHUNK_SIZE", size)
        write(small, catalog, tmp_path / f"failing{size}")
        np.testing.assert_array_equal(load_embeddings(tmp_path / f"failing{size}"), wanted_ND)
    assert len(np.unique(wanted_ND, axis=0)) == len(catalog)


def test_switches_of_the_ablations(small: EmbedSettings, catalog: Catalog, tmp_path: Path) -> None:
    rest = {"captions": ["caption"] * 6, "tags": [["tag one", "tag two"]] * 6}

    def text(**switches: Any) -> str:
        write(small.model_copy(update=switches), catalog, tmp_path / "out", **rest)
        return str(pl.read_parquet(tmp_path / "out" / items.TEXTS_FILE)["text"][0])

    assert text() == "tent\ntag one; tag two\ncaption"
    assert text(use_interests=False) == "tent\ncaption"
    assert text(text_order="interests_last") == "tent\ncaption\ntag one; tag two"
    assert text(use_captions=False, use_images=False) == "tent\ntag one; tag two"
    assert load_embeddings(tmp_path / "out").shape == (6, 26)
    assert not load_file(tmp_path / "out" / items.EMBEDDINGS_FILE)["has_image"].any()


def test_a_kill_costs_nothing_that_was_finished(
    small: EmbedSettings, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "CHUNK_SIZE", 2)
    facts = write(small, catalog, tmp_path / "unbroken")
    monkeypatch.setitem(ENCODERS, "small", lambda device: [Letters(lives=4), Middle()])
    with pytest.raises(KeyboardInterrupt):
        write(small, catalog, tmp_path / "broken")
    stored = sorted((tmp_path / "broken" / "chunks").iterdir())
    assert len(stored) == 2
    stored[1].write_bytes(stored[1].read_bytes()[:40])  # what a full disk leaves
    assert write(small, catalog, tmp_path / "broken") == facts
    np.testing.assert_array_equal(load_embeddings(tmp_path / "broken"), load_embeddings(tmp_path / "unbroken"))


def test_mistakes_are_named(
    small: EmbedSettings, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'packaged'"):
        write(EmbedSettings(encoder="packagd"), catalog, tmp_path / "out")
    with pytest.raises(ArtifactError, match="1 captions"):
        write(small, catalog, tmp_path / "out", captions=[None])
    with pytest.raises(ArtifactError, match="empty"):
        write(small, Catalog(catalog.table.head(0), catalog.root), tmp_path / "out")
    monkeypatch.setitem(ENCODERS, "small", lambda device: [Nothing()])
    with pytest.raises(ArtifactError, match="NaN"):
        write(small, catalog, tmp_path / "out")
    with pytest.raises(ArtifactError, match="run the recipe"):
        load_embeddings(tmp_path / "nowhere")
    save_file({"embeddings": np.full((1, 2), np.nan, np.float32)}, tmp_path / "out" / items.EMBEDDINGS_FILE)
    with pytest.raises(ArtifactError, match="NaN"):
        load_embeddings(tmp_path / "out")


def test_the_packaged_default_twice(catalog: Catalog, tmp_path: Path) -> None:
    settings = EmbedSettings(device="cpu")
    rest = {"captions": ["red disc", None, "green disc", None, "blue disc", None], "tags": [["backpacker"]] * 6}
    facts = write(settings, catalog, tmp_path / "one", **rest)
    write(settings, catalog, tmp_path / "two", **rest)
    first = load_embeddings(tmp_path / "one")
    np.testing.assert_array_equal(first, load_embeddings(tmp_path / "two"))
    assert first.dtype == np.float32
    assert facts["encoders"] == ["all-MiniLM-L6-v2", "efficientnet-lite2", "looks"]
    assert facts["items_with_image"] == 3
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)


def test_posters_of_one_look_are_nearer(shared_data: Any, tmp_path: Path) -> None:
    root = shared_data("movielens_latest_small_posters")
    table = (
        pl.read_parquet(root / "items.parquet")
        .select(*ITEM_COLUMNS)
        .filter(pl.col("image_path").is_not_null())
        .head(12)
    )
    blank = table.with_columns(title=pl.lit("film"), description=pl.lit(None, pl.String))
    paths = blank["image_path"].to_list()
    twin = blank.with_columns(image_path=pl.Series([paths[0], paths[0], *paths[2:]]))
    write(EmbedSettings(device="cpu"), Catalog(twin, root), tmp_path / "out")
    likeness = load_embeddings(tmp_path / "out") @ load_embeddings(tmp_path / "out")[0]
    assert likeness[1] > likeness[2:].max()
