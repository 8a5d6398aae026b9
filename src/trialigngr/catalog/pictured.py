"""Items that have a picture (``catalog.item_scope = "pictured"``): one that is named, that is there, and that opens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.catalog.items import Catalog
from trialigngr.foundation.errors import ImageError
from trialigngr.images.image_open import decode_image, ignore_pillow_warnings
from trialigngr.images.paths import URL_PATTERN


def find_named_images(items: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Return [N]: whether an item names a picture that may be had, as a file that is there or by its address."""
    by_address = pl.col("image_url").str.contains(URL_PATTERN).fill_null(False)
    return items.select(pl.col("image_path").is_not_null() | by_address).to_series().to_numpy()


def find_usable_images(catalog: Catalog) -> npt.NDArray[np.bool_]:
    """Return [N]: whether an item's picture opens. Each is decoded for it, on every core."""
    longest_edge = catalog.image_records.longest_edge

    def opens(path: Path | None) -> bool:
        try:
            return path is not None and decode_image(path, longest_edge) is not None
        except ImageError:
            return False

    with ignore_pillow_warnings(), ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(opens, map(catalog.image_file, range(len(catalog))))), dtype=np.bool_)
