"""`draw_shop` writes a small shop as a data folder: products with drawn pictures, texts, shoppers, histories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from trialigngr.datasets.synthetic.canvas import Canvas
from trialigngr.datasets.synthetic.descriptions import describe_product
from trialigngr.datasets.synthetic.looks import mix_paint
from trialigngr.datasets.synthetic.settings import ShopSettings
from trialigngr.datasets.synthetic.shapes import SHAPES
from trialigngr.datasets.synthetic.shoppers import (
    Float64Array,
    choose_items,
    compute_taste_weights,
    draw_popularity,
    draw_shopper,
    draw_visit_times,
    make_transitions,
)
from trialigngr.datasets.synthetic.stock import (
    DEPARTMENTS,
    Labels,
    Product,
    assign_departments,
    draw_hidden_labels,
    make_products,
)
from trialigngr.datasets.synthetic.textures import TEXTURES
from trialigngr.foundation.console import track_progress
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.files import HALF, remove_path
from trialigngr.foundation.seeds import derive_seed
from trialigngr.foundation.tables import write_table

TRUTH_FILE = "truth.parquet"
INTERACTIONS_FILE = "interactions.parquet"
IMAGE_SIDE = 144
CANVAS_SIDE = 2 * IMAGE_SIDE


@dataclass(frozen=True)
class Stock:
    """N products and the truth about them [N]: look and interest as shoppers feel them, and as shown and told."""

    products: list[Product]
    looks: Labels
    interests: Labels
    shown_looks: Labels
    described_interests: Labels
    popularity: Float64Array

    @property
    def item_ids(self) -> list[str]:
        """Item ids in row order."""
        return [f"p{number:04d}" for number in range(len(self.products))]

    @property
    def product_departments(self) -> Labels:
        """The department of each product [N]."""
        return np.array([product.department for product in self.products])


def draw_shop(out: Path, settings: ShopSettings) -> dict[str, Any]:
    """Write the shop into ``out`` and return its counts.

    ``items.parquet``, ``interactions.parquet`` and ``images/`` are a data folder like any other; ``truth.parquet``
    (item_id, category, look, interest, what the picture and the description show, popularity) and ``tastes.parquet``
    (user_id, looks, interests) are for tests and benchmarks only. An existing shop in ``out`` is drawn anew; it
    stays until the new one is whole. Raises `CatalogError` when ``out`` holds a data folder that is not a drawn shop.
    """
    if any(out.glob("items.*")) and not (out / TRUTH_FILE).exists():
        raise CatalogError(f"{out} holds a data folder that is not a drawn shop; draw the shop into another folder.")
    was_there, half = out.exists(), out / HALF
    remove_path(half)
    try:
        facts = _draw_shop(half, settings)
        _put_into_place(half, out)
    finally:
        remove_path(half)
        if not was_there and out.exists() and not any(out.iterdir()):
            out.rmdir()
    return facts


def _draw_shop(out: Path, settings: ShopSettings) -> dict[str, Any]:
    (out / "images").mkdir(parents=True)
    stock = make_stock(settings)
    write_table(make_truth_table(stock), out / TRUTH_FILE)
    write_table(make_items_table(stock, settings), out / "items.parquet")
    for row, item_id in enumerate(track_progress(stock.item_ids, "drawing the shop")):
        picture = draw_image(stock.products[row], int(stock.shown_looks[row]), _make_rng(settings, "picture", row))
        picture.save(out / _image_path(item_id))
    interactions, tastes = make_interactions(stock, settings)
    write_table(tastes, out / "tastes.parquet")
    write_table(interactions, out / INTERACTIONS_FILE)
    return {"items": settings.num_items, "shoppers": settings.num_shoppers, "interactions": interactions.height}


def _put_into_place(half: Path, out: Path) -> None:
    """Put what was drawn into ``out``: first what says that it is a drawn shop, and last the log, so that what a kill
    leaves is not taken for a whole one."""
    remove_path(out / INTERACTIONS_FILE)
    for path in sorted(half.iterdir(), key=lambda path: (path.name == INTERACTIONS_FILE, path.name != TRUTH_FILE)):
        remove_path(out / path.name)
        path.replace(out / path.name)


def draw_image(product: Product, look: int, rng: np.random.Generator) -> Image.Image:
    """Return the product's picture: its shape from the noun, its grain from the material, its colours from the look."""
    texture, gloss = TEXTURES[product.material]
    sizes = DEPARTMENTS[product.department].sizes
    zoom = 0.88 + 0.16 * sizes.index(product.size) / (len(sizes) - 1)
    easel = Canvas(
        mix_paint(look, CANVAS_SIDE, rng), texture(CANVAS_SIDE, rng), gloss, zoom, is_flipped=bool(rng.random() < 0.3)
    )
    SHAPES[product.noun](easel)
    return easel.render_image(IMAGE_SIDE)


def _make_rng(settings: ShopSettings, *names: str | int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(settings.seed, "shop", *names))


def _image_path(item_id: str) -> str:
    return f"images/{item_id}.png"


def make_stock(settings: ShopSettings) -> Stock:
    """Return the products and their hidden labels; with a control switched on, what is shown or told is shuffled."""
    department_N = assign_departments(settings.num_items)
    shelves = enumerate(np.bincount(department_N))
    rng = _make_rng(settings, "products")
    products = [product for number, count in shelves for product in make_products(number, int(count), rng)]
    look_N, interest_N = draw_hidden_labels(department_N, _make_rng(settings, "labels"))
    shown_N = _make_rng(settings, "shuffled looks").permutation(look_N) if settings.shuffle_visuals else look_N
    told_N = (
        _make_rng(settings, "shuffled interests").permutation(interest_N) if settings.shuffle_interests else interest_N
    )
    return Stock(
        products,
        look_N,
        interest_N,
        shown_N,
        told_N,
        draw_popularity(settings.num_items, _make_rng(settings, "popularity")),
    )


def _format_labels(kind: str, labels: Labels | tuple[int, ...]) -> list[str]:
    return [f"{kind}_{label}" for label in labels]


def make_truth_table(stock: Stock) -> pl.DataFrame:
    """Return ``truth.parquet``. Labels are opaque: nothing can be read off their names."""
    labels = {
        "look": _format_labels("look", stock.looks),
        "look_shown": _format_labels("look", stock.shown_looks),
        "interest": _format_labels("interest", stock.interests),
        "interest_told": _format_labels("interest", stock.described_interests),
    }
    categories = [DEPARTMENTS[product.department].categories[-1] for product in stock.products]
    return pl.DataFrame({"item_id": stock.item_ids, "category": categories, **labels, "popularity": stock.popularity})


def make_items_table(stock: Stock, settings: ShopSettings) -> pl.DataFrame:
    """Return ``items.parquet``."""
    products = stock.products
    described_products = enumerate(zip(products, stock.described_interests, strict=True))
    return pl.DataFrame(
        {
            "item_id": stock.item_ids,
            "title": [product.title for product in products],
            "description": [
                describe_product(product, int(about), _make_rng(settings, "words", row))
                for row, (product, about) in described_products
            ],
            "brand": [product.brand for product in products],
            "categories": [list(DEPARTMENTS[product.department].categories) for product in products],
            "image_path": [_image_path(item_id) for item_id in stock.item_ids],
        }
    )


def make_interactions(stock: Stock, settings: ShopSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the interactions in order of time, and the shoppers' tastes."""
    ids, department_N = stock.item_ids, stock.product_departments
    chances_CC = make_transitions(_make_rng(settings, "departments"))
    log: list[tuple[str, str, int]] = []
    tastes: list[tuple[str, list[str], list[str]]] = []
    for number in range(settings.num_shoppers):
        rng, user_id = _make_rng(settings, "shopper", number), f"u{number:05d}"
        shopper = draw_shopper(rng)
        weight_N = stock.popularity * compute_taste_weights(shopper, stock.looks, stock.interests)
        taken = choose_items(weight_N, department_N, chances_CC, shopper.history_length, rng)
        log += [
            (user_id, ids[row], int(time)) for row, time in zip(taken, draw_visit_times(len(taken), rng), strict=True)
        ]
        tastes.append((user_id, _format_labels("look", shopper.looks), _format_labels("interest", shopper.interests)))
    columns = ["user_id", "item_id", "timestamp"]
    interactions = pl.DataFrame(log, schema=columns, orient="row").sort("timestamp", "user_id")
    return interactions, pl.DataFrame(tastes, schema=["user_id", "looks", "interests"], orient="row")
