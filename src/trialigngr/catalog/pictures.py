"""Open a picture that nobody vouches for: small enough, whole, RGB, upright, on white."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trialigngr.foundation.errors import PictureError

MAX_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 64_000_000
LONG_SIDE = 1024
"""Larger pictures are reduced to this unless a setting says otherwise: about what the largest model here sees."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO")
"""Formats that are pixels and nothing else: no EPS, PDF or anything that starts an interpreter."""
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""More than 8 bits a channel: a plain conversion would clip them to white."""


FILE_REASONS = ("missing", "empty", "too many bytes", "too many pixels", "not a picture", "broken")
NOT_ALLOWED = "host not allowed"
FETCH_REASONS = (
    "bad address",
    NOT_ALLOWED,
    "private address",
    "too many redirects",
    "not found",
    "refused",
    "compressed",
    "server error",
    "connection failed",
    "too slow",
)
REASONS = FILE_REASONS + FETCH_REASONS
"""Why a picture cannot be used, in the words of `PictureError.reason`."""


def is_file(path: Path) -> bool:
    """Say whether a path, of which a catalogue may have made anything, is that of a file."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def open_picture(path: Path, long_side: int = LONG_SIDE) -> Image.Image:
    """Return the picture as RGB, upright by its EXIF orientation, alpha on white, no side longer than ``long_side``.

    Of an animation it is the first frame. Sizes are checked on the file and its header, before a pixel is decoded.

    Raises:
        PictureError: one sentence, and a ``reason`` of `FILE_REASONS`.

    """
    with quiet():
        return decode_picture(path, long_side)


def quiet() -> warnings.catch_warnings[None]:
    """Keep Pillow's many words about odd files to itself: what cannot be used is said once, by `PictureError`.

    Filters of warnings belong to all threads: a thread pool is opened inside, it does not open this in its threads.
    """
    return warnings.catch_warnings(action="ignore")


def decode_picture(path: Path, long_side: int) -> Image.Image:
    """Return what `open_picture` does, for use inside `quiet`."""
    with _opened(path) as image:
        image.draft("RGB", (long_side, long_side))
        return _plain_rgb(image, long_side)


def is_longer(path: Path, long_side: int) -> bool:
    """Say by its header whether a picture has a side longer than ``long_side``; raises as `decode_picture` does."""
    with _opened(path) as image:
        return max(image.size) > long_side


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Give the picture with its header read and its size checked; say what fails inside as a `PictureError`."""
    _check_file(path)
    try:
        with Image.open(path, formats=_decoders()) as image:
            _check_pixels(path, image)
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(
            f"{path} is not a picture in a known format ({', '.join(FORMATS)}).", "not a picture"
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(f"{path} would unpack to far too many pixels; make it smaller.", "too many pixels") from None
    # Decoders meet damage with whatever they stumble over; each of these was seen on a damaged file.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise PictureError(f"{path} is broken ({error or type(error).__name__}); replace it.", "broken") from None


@cache
def _decoders() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        raise PictureError(f"{path} is not there.", "missing") from None
    if not path.is_file():
        raise PictureError(f"{path} is not a file.", "missing")
    if size == 0:
        raise PictureError(f"{path} is empty.", "empty")
    if size > MAX_BYTES:
        raise PictureError(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}; make it smaller.", "too many bytes")


def _check_pixels(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        sentence = f"{path} has {width:,} x {height:,} pixels, more than {MAX_PIXELS:,} in all; make it smaller."
        raise PictureError(sentence, "too many pixels")


def _plain_rgb(image: Image.Image, long_side: int) -> Image.Image:
    image.seek(0)
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in DEEP_MODES:
        upright = _eight_bits(upright)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    plain = upright.convert("RGB")
    plain.thumbnail((long_side, long_side), Image.Resampling.BOX)
    return plain


def _eight_bits(image: Image.Image) -> Image.Image:
    values_HW = np.asarray(image, np.float64)
    full = 65535.0 if image.mode != "F" else 255.0 if values_HW.max() > 1 else 1.0
    return Image.fromarray((values_HW / full * 255).clip(0, 255).astype(np.uint8), "L")


def count_reasons(problems: Iterable[str | None]) -> dict[str, int]:
    """Return how many pictures failed, by reason, the most frequent first."""
    return dict(Counter(problem for problem in problems if problem is not None).most_common())
