"""Small pictures inside the page: decoded safely, made anew by us, never the file's own bytes."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from trialigngr.foundation.errors import PictureError
from trialigngr.images.pictures import open_picture

EDGE = 160
QUALITY = 78


class Thumbnails:
    """Pictures as data URIs, each file read once."""

    def __init__(self) -> None:
        self._known: dict[Path, str | None] = {}

    @property
    def failed(self) -> list[Path]:
        """The files that were asked for and could not be used."""
        return [path for path, uri in self._known.items() if uri is None]

    def __call__(self, path: Path | None) -> str | None:
        """Return a WebP data URI of at most `EDGE` pixels a side; None without a picture, or when it cannot be read."""
        if path is None:
            return None
        if path not in self._known:
            self._known[path] = _data_uri(path)
        return self._known[path]


def _data_uri(path: Path) -> str | None:
    try:
        picture = open_picture(path)
    except PictureError:
        return None  # counted by `Thumbnails.failed`, which the page prints
    picture.thumbnail((EDGE, EDGE))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
