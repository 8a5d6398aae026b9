"""Small pictures inside the page: decoded safely, made anew by us, never the file's own bytes."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from trialigngr.foundation.errors import ImageError
from trialigngr.images.image_open import open_image

MAX_EDGE = 160
WEBP_QUALITY = 78


class Thumbnails:
    """Pictures as data URIs, each file read once."""

    def __init__(self) -> None:
        self._uris: dict[Path, str | None] = {}

    @property
    def failed_paths(self) -> list[Path]:
        """The files that were asked for and could not be used."""
        return [path for path, uri in self._uris.items() if uri is None]

    def __call__(self, path: Path | None) -> str | None:
        """Return a WebP data URI of at most `MAX_EDGE` pixels a side; None without a picture, or when it cannot be
        read."""
        if path is None:
            return None
        if path not in self._uris:
            self._uris[path] = _encode_data_uri(path)
        return self._uris[path]


def _encode_data_uri(path: Path) -> str | None:
    try:
        picture = open_image(path)
    except ImageError:
        return None  # counted by `Thumbnails.failed_paths`, which the page prints
    picture.thumbnail((MAX_EDGE, MAX_EDGE))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
