"""The drawn shop as a data folder: same seed, same bytes; texts and pictures that keep the secret they should keep."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from trialigngr.catalog.prepare import load_dataset, prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.datasets.synthetic.descriptions import load_phrases
from trialigngr.datasets.synthetic.draw import draw_shop, make_interactions, make_items_table, make_stock
from trialigngr.datasets.synthetic.settings import ShopSettings
from trialigngr.datasets.synthetic.shapes import SHAPES
from trialigngr.datasets.synthetic.stock import DEPARTMENTS, N_INTERESTS, N_LOOKS
from trialigngr.datasets.synthetic.textures import TEXTURES
from trialigngr.foundation.errors import CatalogError, RecipeError

SMALL = ShopSettings(num_items=48, num_shoppers=60)
LOOK_WORDS = re.compile(
    r"\b(white|black|gr[ea]y|red|orange|yellow|green|blue|teal|navy|purple|violet|pink|brown|beige|cream|mint|mustard|indigo"
    r"|turquoise|gold(?:en)?|silver|terracotta|pastel|plain|strip\w*|dots?|dotted|spotted|check\w*|zigzag|chevron|wav[ey]\w*"
    r"|floral|lea(?:f|ves)|terrazzo|starry|stars?|bright|dark|pale|light|colou?r\w*|pattern\w*|print\w*)\b"
)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shop")
    draw_shop(out, SMALL)
    return out


def test_same_seed_same_bytes_and_another_seed_another_shop(small: Path, tmp_path: Path) -> None:
    draw_shop(tmp_path / "again", SMALL)
    assert digests(tmp_path / "again") == digests(small)
    draw_shop(tmp_path / "again", SMALL.model_copy(update={"seed": 1, "num_items": 16}))
    other = digests(tmp_path / "again")
    assert not set(other.values()) & set(digests(small).values())
    assert len(other) == 4 + 16, "nothing of the shop that was drawn over is left"


def test_it_is_a_data_folder_like_any_other(small: Path, tmp_path: Path) -> None:
    prepare_catalog(CatalogSettings(k_core=1), small, tmp_path)
    dataset = load_dataset(tmp_path)
    assert len(dataset.histories) == 60
    assert all(8 <= length <= 14 for length in dataset.histories.sequence_lengths)
    for row in range(len(dataset.catalog)):
        path = dataset.catalog.image_file(row)
        assert path is not None
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((144, 144), "RGB")
    assert all(item.title and item.description and item.brand and item.categories for item in dataset.catalog)
    assert not set(dataset.catalog.table.columns) & {"look", "interest"}


def test_a_folder_that_is_no_shop_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\nmine\n", encoding="utf-8")
    with pytest.raises(CatalogError, match="not a drawn shop"):
        draw_shop(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["items.csv"]


def test_a_drawing_that_breaks_off_leaves_what_stood_there_and_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_shop(tmp_path, SMALL)
    whole = digests(tmp_path)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Image.Image, "save", full_disk)
        with pytest.raises(OSError, match="No space"):
            draw_shop(tmp_path, SMALL)
        with pytest.raises(OSError, match="No space"):
            draw_shop(tmp_path / "new", SMALL)
    assert not (tmp_path / "new").exists()
    assert digests(tmp_path) == whole
    draw_shop(tmp_path, SMALL)
    assert digests(tmp_path) == whole


def test_every_noun_has_a_shape_and_every_material_a_texture() -> None:
    assert {noun for department in DEPARTMENTS for noun in department.nouns} == set(SHAPES)
    assert {material for department in DEPARTMENTS for material in department.materials} == set(TEXTURES)
    assert len(load_phrases()["products"]) == len(DEPARTMENTS)
    assert len(load_phrases()["interests"]) == N_INTERESTS


def test_titles_are_unique_and_labels_balanced() -> None:
    settings = ShopSettings()
    stock = make_stock(settings)
    assert make_items_table(stock, settings)["title"].n_unique() == settings.num_items
    cells = Counter(
        zip(stock.product_departments.tolist(), stock.looks.tolist(), stock.interests.tolist(), strict=True)
    )
    assert len(cells) == len(DEPARTMENTS) * N_LOOKS * N_INTERESTS
    assert set(cells.values()) == {1, 2}


def test_no_text_names_a_look() -> None:
    settings = ShopSettings()
    items = make_items_table(make_stock(settings), settings)
    text = " ".join([*items["title"], *items["description"], *items["brand"], *items["categories"].explode()]).lower()
    assert set(LOOK_WORDS.findall(text)) == set()


def test_no_word_gives_an_interest_away() -> None:
    """Of the words that lean to an interest, none stands in half of its descriptions: it takes several to tell."""
    settings = ShopSettings()
    stock = make_stock(settings)
    texts = make_items_table(stock, settings)["description"]
    words = [set(re.findall(r"[a-z]{4,}", text.lower())) for text in texts]
    everywhere = Counter(word for bag in words for word in bag)
    for interest in range(N_INTERESTS):
        mine = [bag for bag, label in zip(words, stock.interests, strict=True) if label == interest]
        for word, count in Counter(word for bag in mine for word in bag).items():
            leans = count / everywhere[word] > 2.5 / N_INTERESTS
            assert not (leans and count > 0.5 * len(mine)), (interest, word, count / len(mine))
    assert all(3 <= len(re.findall(r"[.?!](?: |$)", text)) <= 4 for text in texts)


@pytest.mark.parametrize("control", ["shuffle_visuals", "shuffle_interests"])
def test_a_control_changes_what_is_shown_or_told_and_not_the_log(control: str) -> None:
    plain, shuffled = ShopSettings(num_shoppers=100), ShopSettings(num_shoppers=100, **{control: True})
    stock, other = make_stock(plain), make_stock(shuffled)
    assert make_interactions(stock, plain)[0].equals(make_interactions(other, shuffled)[0])
    same_looks = float(np.mean(other.shown_looks == other.looks))
    same_interests = float(np.mean(other.described_interests == other.interests))
    before, after = make_items_table(stock, plain), make_items_table(other, shuffled)
    assert before.drop("description").equals(after.drop("description"))
    if control == "shuffle_visuals":
        assert same_looks < 0.3
        assert same_interests == 1
        assert before.equals(after)
    else:
        assert same_looks == 1
        assert same_interests < 0.3
    assert Counter(other.shown_looks.tolist()) == Counter(stock.shown_looks.tolist())
    assert Counter(other.described_interests.tolist()) == Counter(stock.described_interests.tolist())


def test_nobody_takes_an_item_twice_and_time_goes_on() -> None:
    settings = ShopSettings(num_items=96, num_shoppers=200)
    interactions, tastes = make_interactions(make_stock(settings), settings)
    assert interactions.select("user_id", "item_id").is_unique().all()
    assert interactions["user_id"].n_unique() == tastes.height == 200
    gaps = interactions.select(pl.col("timestamp").diff().over("user_id")).drop_nulls()
    assert gaps["timestamp"].min() > 0


def test_nothing_else_in_the_package_knows_the_shop_from_inside(root: Path) -> None:
    """The shop may be drawn (by the command line and the pipeline); its truth and its words are nobody else's."""
    package = root / "src" / "trialigngr"
    others = [path for path in package.rglob("*.py") if package / "datasets" / "synthetic" not in path.parents]
    inside = re.compile(r"truth\.parquet|tastes\.parquet|datasets\.synthetic\.(?!(?:draw|settings)\b)|phrases\.toml")
    assert [path.name for path in others if inside.search(path.read_text(encoding="utf-8"))] == []
    blind = ("enrich", "embed", "sids", "tasks", "models", "train", "decode", "evaluate", "baselines", "report")
    seeing = [path for path in others if path.relative_to(package).parts[0] in blind]
    assert len(seeing) > 10
    assert [path.name for path in seeing if "datasets.synthetic" in path.read_text(encoding="utf-8")] == []


def test_too_few_items_are_refused() -> None:
    from trialigngr.foundation.config import parse_settings

    with pytest.raises(RecipeError, match="items"):
        parse_settings(ShopSettings, {"items": 3}, "recipe")
