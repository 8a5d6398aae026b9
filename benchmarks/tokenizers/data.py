"""What is quantised: Beauty's texts by MiniLM, a mixture of any size, text and pictures of films and of the shop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.catalog.dataset import load_dataset
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.datasets.synthetic.draw import draw_shop
from trialigngr.datasets.synthetic.settings import ShopSettings
from trialigngr.images.image_open import open_image

Vectors = npt.NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("TRIALIGNGR_SHARED_DATA", ROOT.parent / "shared" / "data"))
CACHE = ROOT / ".scratch" / "bench-sids"


def cached(name: str, make: Callable[[], Vectors]) -> Vectors:
    """Return what ``make`` made, from a file when it was made before."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}.npy"
    if not path.is_file():
        np.save(path.with_suffix(".new.npy"), make())
        path.with_suffix(".new.npy").replace(path)
    loaded: Vectors = np.load(path)
    return loaded


def beauty() -> Vectors | None:
    """Return MiniLM vectors [12,101, 384] of title, brand and categories; None where the data set is missing."""
    path = SHARED / "amazon_beauty" / "items.parquet"
    if not path.is_file():
        return None
    return cached("beauty", lambda: _texts(pl.read_parquet(path)))


def films() -> tuple[Vectors, Vectors] | None:
    """Return text and picture vectors of the films that have a poster; None where the data set is missing."""
    folder = SHARED / "movielens_latest_small_posters"
    if not folder.is_dir():
        return None
    items = pl.read_parquet(folder / "items.parquet").filter(pl.col("image_path").is_not_null())
    pictures = [folder / path for path in items["image_path"].to_list()]
    return cached("films-text", lambda: _texts(items)), cached("films-pictures", lambda: _pictures(pictures))


def shop() -> tuple[Vectors, Vectors]:
    """Return text and picture vectors of the drawn shop."""
    root = CACHE / "shop"
    if not (root / "items.parquet").is_file():
        root.mkdir(parents=True, exist_ok=True)
        draw_shop(root, ShopSettings())
        (root / "catalog").mkdir(exist_ok=True)
        prepare_catalog(CatalogSettings(), root, root / "catalog")
    catalog = load_dataset(root / "catalog").catalog
    items = pl.DataFrame(
        {
            "title": [item.title for item in catalog],
            "brand": [item.brand for item in catalog],
            "categories": [list(item.categories) for item in catalog],
        }
    )
    paths = [path for row in range(len(catalog)) if (path := catalog.image_file(row)) is not None]
    return cached("shop-text", lambda: _texts(items)), cached("shop-pictures", lambda: _pictures(paths))


def mixture(n: int, width: int, path: Path) -> Vectors:
    """Write and open, memory-mapped, ``n`` vectors around 5,000 centres of uneven weight."""
    numbers = np.random.default_rng(0)
    centres = numbers.normal(size=(5000, width)).astype(np.float32)
    shares = numbers.dirichlet(np.full(5000, 0.5))
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n, width))
    for start in range(0, n, 50_000):
        stop = min(start + 50_000, n)
        noise = numbers.standard_normal((stop - start, width), dtype=np.float32)
        rows[start:stop] = centres[numbers.choice(5000, stop - start, p=shares)] + 0.7 * noise
    rows.flush()
    opened: Vectors = np.load(path, mmap_mode="r")
    return opened


def _texts(items: pl.DataFrame) -> Vectors:
    from trialigngr.pretrained.minilm import embed_texts

    rows = items.select("title", "brand", "categories").iter_rows()
    return embed_texts([". ".join(filter(None, [title, brand, ", ".join(path or [])])) for title, brand, path in rows])


def _pictures(paths: Sequence[Path]) -> Vectors:
    from trialigngr.pretrained.efficientnet import load_efficientnet

    network = load_efficientnet()
    parts = [
        network.extract_features([open_image(path) for path in paths[i : i + 32]]) for i in range(0, len(paths), 32)
    ]
    return np.concatenate(parts).astype(np.float32)
