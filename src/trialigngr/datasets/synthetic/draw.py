"""`draw_shop` writes a small shop as a data folder: products with drawn pictures, texts, shoppers, histories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from pydantic import Field

from trialigngr.datasets.synthetic.easel import Easel
from trialigngr.datasets.synthetic.looks import mix_paint
from trialigngr.datasets.synthetic.shapes import SHAPES
from trialigngr.datasets.synthetic.shoppers import (
    Floats,
    draw_shopper,
    popularity,
    pull,
    shop,
    transitions,
    visit_times,
)
from trialigngr.datasets.synthetic.stock import DEPARTMENTS, Labels, Product, departments_of, hidden_labels, stock_shelf
from trialigngr.datasets.synthetic.textures import TEXTURES
from trialigngr.datasets.synthetic.words import describe
from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import track
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.files import HALF, remove
from trialigngr.foundation.seeds import child
from trialigngr.foundation.tables import write_table

TRUTH = "truth.parquet"
LOG = "interactions.parquet"
SIDE = 144
CANVAS = 2 * SIDE


class ShopSettings(Settings):
    """What the shop is drawn from. The same settings give the same bytes."""

    seed: int = 0
    """Everything random in the shop follows from it."""
    items: int = Field(default=384, ge=16)
    """How many products there are."""
    shoppers: int = Field(default=1500, ge=1)
    """How many people shop; each takes 8 to 14 items."""
    shuffle_looks: bool = False
    """Paint the pictures in looks that were shuffled among the items after the log was made: a control."""
    shuffle_interests: bool = False
    """Write the descriptions for interests that were shuffled among the items after the log was made: a control."""


@dataclass(frozen=True)
class Stock:
    """N products and the truth about them [N]: look and interest as shoppers feel them, and as shown and told."""

    products: list[Product]
    looks: Labels
    interests: Labels
    shown: Labels
    told: Labels
    popularity: Floats

    @property
    def ids(self) -> list[str]:
        """Item ids in row order."""
        return [f"p{number:04d}" for number in range(len(self.products))]

    @property
    def department(self) -> Labels:
        """The department of each product [N]."""
        return np.array([product.department for product in self.products])


def draw_shop(out: Path, settings: ShopSettings) -> dict[str, Any]:
    """Write the shop into ``out`` and return its counts.

    ``items.parquet``, ``interactions.parquet`` and ``images/`` are a data folder like any other; ``truth.parquet``
    (item_id, category, look, interest, what the picture and the description show, popularity) and ``tastes.parquet``
    (user_id, looks, interests) are for tests and benchmarks only. An existing shop in ``out`` is drawn anew; it
    stays until the new one is whole. Raises `CatalogError` when ``out`` holds a data folder that is not a drawn shop.
    """
    if any(out.glob("items.*")) and not (out / TRUTH).exists():
        raise CatalogError(f"{out} holds a data folder that is not a drawn shop; draw the shop into another folder.")
    was_there, half = out.exists(), out / HALF
    remove(half)
    try:
        facts = _draw(half, settings)
        _put_into_place(half, out)
    finally:
        remove(half)
        if not was_there and out.exists() and not any(out.iterdir()):
            out.rmdir()
    return facts


def _draw(out: Path, settings: ShopSettings) -> dict[str, Any]:
    (out / "images").mkdir(parents=True)
    stock = make_stock(settings)
    write_table(truth_table(stock), out / TRUTH)
    write_table(items_table(stock, settings), out / "items.parquet")
    for row, item_id in enumerate(track(stock.ids, "drawing the shop")):
        picture = draw_picture(stock.products[row], int(stock.shown[row]), _rng(settings, "picture", row))
        picture.save(out / _image_path(item_id))
    interactions, tastes = make_log(stock, settings)
    write_table(tastes, out / "tastes.parquet")
    write_table(interactions, out / LOG)
    return {"items": settings.items, "shoppers": settings.shoppers, "interactions": interactions.height}


def _put_into_place(half: Path, out: Path) -> None:
    """Put what was drawn into ``out``: first what says that it is a drawn shop, and last the log, so that what a kill
    leaves is not taken for a whole one."""
    remove(out / LOG)
    for path in sorted(half.iterdir(), key=lambda path: (path.name == LOG, path.name != TRUTH)):
        remove(out / path.name)
        path.replace(out / path.name)


def draw_picture(product: Product, look: int, rng: np.random.Generator) -> Image.Image:
    """Return the product's picture: its shape from the noun, its grain from the material, its colours from the look."""
    texture, gloss = TEXTURES[product.material]
    sizes = DEPARTMENTS[product.department].sizes
    zoom = 0.88 + 0.16 * sizes.index(product.size) / (len(sizes) - 1)
    easel = Easel(mix_paint(look, CANVAS, rng), texture(CANVAS, rng), gloss, zoom, flipped=bool(rng.random() < 0.3))
    SHAPES[product.noun](easel)
    return easel.picture(SIDE)


def _rng(settings: ShopSettings, *names: str | int) -> np.random.Generator:
    return np.random.default_rng(child(settings.seed, "shop", *names))


def _image_path(item_id: str) -> str:
    return f"images/{item_id}.png"


def make_stock(settings: ShopSettings) -> Stock:
    """Return the products and their hidden labels; with a control switched on, what is shown or told is shuffled."""
    department_N = departments_of(settings.items)
    shelves = enumerate(np.bincount(department_N))
    rng = _rng(settings, "products")
    products = [product for number, count in shelves for product in stock_shelf(number, int(count), rng)]
    look_N, interest_N = hidden_labels(department_N, _rng(settings, "labels"))
    shown_N = _rng(settings, "shuffled looks").permutation(look_N) if settings.shuffle_looks else look_N
    told_N = _rng(settings, "shuffled interests").permutation(interest_N) if settings.shuffle_interests else interest_N
    return Stock(
        products, look_N, interest_N, shown_N, told_N, popularity(settings.items, _rng(settings, "popularity"))
    )


def _opaque(kind: str, labels: Labels | tuple[int, ...]) -> list[str]:
    return [f"{kind}_{label}" for label in labels]


def truth_table(stock: Stock) -> pl.DataFrame:
    """Return ``truth.parquet``. Labels are opaque: nothing can be read off their names."""
    labels = {
        "look": _opaque("look", stock.looks),
        "look_shown": _opaque("look", stock.shown),
        "interest": _opaque("interest", stock.interests),
        "interest_told": _opaque("interest", stock.told),
    }
    categories = [DEPARTMENTS[product.department].categories[-1] for product in stock.products]
    return pl.DataFrame({"item_id": stock.ids, "category": categories, **labels, "popularity": stock.popularity})


def items_table(stock: Stock, settings: ShopSettings) -> pl.DataFrame:
    """Return ``items.parquet``."""
    products = stock.products
    told = enumerate(zip(products, stock.told, strict=True))
    return pl.DataFrame(
        {
            "item_id": stock.ids,
            "title": [product.title for product in products],
            "description": [
                describe(product, int(about), _rng(settings, "words", row)) for row, (product, about) in told
            ],
            "brand": [product.brand for product in products],
            "categories": [list(DEPARTMENTS[product.department].categories) for product in products],
            "image_path": [_image_path(item_id) for item_id in stock.ids],
        }
    )


def make_log(stock: Stock, settings: ShopSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the interactions in order of time, and the shoppers' tastes."""
    ids, department_N = stock.ids, stock.department
    chances_CC = transitions(_rng(settings, "departments"))
    log: list[tuple[str, str, int]] = []
    tastes: list[tuple[str, list[str], list[str]]] = []
    for number in range(settings.shoppers):
        rng, user_id = _rng(settings, "shopper", number), f"u{number:05d}"
        shopper = draw_shopper(rng)
        weight_N = stock.popularity * pull(shopper, stock.looks, stock.interests)
        taken = shop(weight_N, department_N, chances_CC, shopper.length, rng)
        log += [(user_id, ids[row], int(time)) for row, time in zip(taken, visit_times(len(taken), rng), strict=True)]
        tastes.append((user_id, _opaque("look", shopper.looks), _opaque("interest", shopper.interests)))
    columns = ["user_id", "item_id", "timestamp"]
    interactions = pl.DataFrame(log, schema=columns, orient="row").sort("timestamp", "user_id")
    return interactions, pl.DataFrame(tastes, schema=["user_id", "looks", "interests"], orient="row")
