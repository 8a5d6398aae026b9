from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image, ImageDraw

from trialigngr.catalog.items import ITEM_COLUMNS, Catalog


@pytest.fixture
def make_catalog(tmp_path: Path) -> Callable[..., Catalog]:
    """Return a call that makes a catalogue of the given rows in a folder of its own."""

    def make(*rows: dict[str, Any]) -> Catalog:
        filled = [{"item_id": str(number), **row} for number, row in enumerate(rows)]
        return Catalog(pl.DataFrame(filled, schema=ITEM_COLUMNS), tmp_path / "data")

    (tmp_path / "data").mkdir()
    return make


@pytest.fixture
def draw(tmp_path: Path) -> Callable[[str, str], str]:
    """Return a call that draws a disc of a colour and gives the path as a catalogue holds it."""

    def one(name: str, colour: str) -> str:
        picture = Image.new("RGB", (80, 80), "white")
        ImageDraw.Draw(picture).ellipse((12, 12, 68, 68), fill=colour)
        picture.save(tmp_path / "data" / name)
        return name

    return one
