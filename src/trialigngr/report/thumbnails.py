"""Small pictures inside the page: decoded safely, made anew by us, never the file's own bytes."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

EDGE = 160
MOST_PIXELS = 50_000_000


class Thumbnails:
    """Pictures as data URIs, each file read once. ``failed`` lists the files that could not be used."""

    def __init__(self) -> None:
        self._known: dict[Path, str | None] = {}

    @property
    def failed(self) -> list[Path]:
        """The files that could not be shown."""
        return [path for path, uri in self._known.items() if uri is None]

    def __call__(self, path: Path | None) -> str | None:
        """Return a data URI of at most `EDGE` pixels a side, or None when there is no picture or it cannot be read."""
        if path is None:
            return None
        if path not in self._known:
            self._known[path] = _data_uri(path)
        return self._known[path]


def _data_uri(path: Path) -> str | None:
    try:
        picture = _opened(path)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None  # counted by `failed`, which the page prints
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=78, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _opened(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as file:
            if file.width * file.height > MOST_PIXELS:
                raise ValueError(f"{path} has more than {MOST_PIXELS} pixels")
            file.draft("RGB", (2 * EDGE, 2 * EDGE))
            upright = ImageOps.exif_transpose(file)
            layered = upright.convert("RGBA")
    paper = Image.new("RGBA", layered.size, "white")
    paper.alpha_composite(layered)
    picture = paper.convert("RGB")
    picture.thumbnail((EDGE, EDGE))
    return picture
