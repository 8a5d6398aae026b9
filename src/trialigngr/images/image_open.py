"""Open a picture that nobody vouches for: small enough, whole, RGB, upright, on white."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from trialigngr.foundation.errors import ImageError
from trialigngr.foundation.memory import MemoryBudget, return_freed_memory
from trialigngr.images.settings import LONGEST_EDGE, MAX_BYTES
from trialigngr.images.wholeness import load_complete

MAX_PIXELS = 64_000_000
MAX_SIDE = 32_768
BYTES_A_PIXEL, HEAD = 16, 64 * 1024 * 1024
"""Most that any decoder here holds for a pixel (WebP with alpha), and for texts and profiles beside the pixels."""
BUDGET = MemoryBudget(BYTES_A_PIXEL * MAX_PIXELS + 2 * MAX_BYTES + HEAD)
"""What all threads of this process decode in together: one of the largest pictures, or many small ones."""
LARGE = HEAD + BUDGET.most // 16
"""After a picture that took more, memory is given back to the system: the C library would keep it for the thread."""
BAND = 1 << 20
"""Pixels that are brought to RGB at a time."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO")
"""Formats that are pixels and nothing else: no EPS, PDF or anything that starts an interpreter."""
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""More than 8 bits a channel: a plain conversion would clip them to white."""


FILE_REASONS = ("missing", "empty", "too many bytes", "too many pixels", "not a picture", "broken")
HOST_NOT_ALLOWED = "host not allowed"
DOWNLOAD_REASONS = (
    "bad address",
    HOST_NOT_ALLOWED,
    "private address",
    "too many redirects",
    "not found",
    "refused",
    "compressed",
    "server error",
    "connection failed",
    "too slow",
)
FAILURE_REASONS = FILE_REASONS + DOWNLOAD_REASONS
"""Why a picture cannot be used, in the words of `ImageError.reason`."""


def is_file(path: Path) -> bool:
    """Return whether a path, of which a catalogue may have made anything, is that of a file."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def open_image(path: Path, longest_edge: int = LONGEST_EDGE) -> Image.Image:
    """Return the picture as RGB, upright by its EXIF orientation, alpha on white, no side longer than ``longest_edge``.

    Of an animation it is the first frame. Sizes are checked on the file and its header, before a pixel is decoded. A
    file that ends early is broken, also where its decoder would fill the rest with black or grey.

    Raises:
        PictureError: one sentence, and a ``reason`` of `FILE_REASONS`.

    """
    with ignore_pillow_warnings():
        return decode_image(path, longest_edge)


def ignore_pillow_warnings() -> warnings.catch_warnings[None]:
    """Keep Pillow's many words about odd files to itself: what cannot be used is said once, by `ImageError`.

    Filters of warnings belong to all threads: a thread pool is opened inside, it does not open this in its threads.
    """
    return warnings.catch_warnings(action="ignore")


def decode_image(path: Path, longest_edge: int) -> Image.Image:
    """Return what `open_image` does, for use inside `quiet`. It waits while other threads fill the `BUDGET`."""
    needed = BYTES_A_PIXEL * _read_head(path, longest_edge)[1] + _count_held_bytes(path)
    with BUDGET.reserve(needed):
        found = _decode_image(path, longest_edge)
        if needed > LARGE:
            return_freed_memory()
    if isinstance(found, ImageError):
        raise found
    return found


def _decode_image(path: Path, long_side: int) -> Image.Image | ImageError:
    """Return the picture, or a new error: one that was raised in a decoder holds its pixels as long as it lives."""
    try:
        with _open_and_check(path) as image:
            image.draft("RGB", (long_side, long_side))
            load_complete(image, path, lambda: _open_image(path))
            return _convert_to_rgb(image, long_side)
    except ImageError as error:
        return ImageError(str(error), error.reason)


def exceeds_longest_edge(path: Path, longest_edge: int) -> bool:
    """Say by its header whether a picture has a side longer than ``longest_edge``; raises as `decode_image` does."""
    return max(_read_head(path, longest_edge)[0]) > longest_edge


def _read_head(path: Path, long_side: int) -> tuple[tuple[int, int], int]:
    """Return the picture's size, and how many pixels are decoded to reach ``long_side``."""
    with BUDGET.reserve(_count_held_bytes(path)), _open_and_check(path) as image:
        size = image.size
        if not image.info.get("progressive"):  # those are held whole, however small they are wanted
            image.draft("RGB", (long_side, long_side))
        return size, image.width * image.height


def _count_held_bytes(path: Path) -> int:
    """Return the bytes that are held of a file that is open; some decoders read all of it, and copy it."""
    return 2 * _check_file(path) + HEAD


def _open_image(path: Path) -> ImageFile:
    return Image.open(path, formats=_list_decodable_formats())


@contextmanager
def _open_and_check(path: Path) -> Iterator[ImageFile]:
    """Give the picture with its header read and its size checked; say what fails inside as a `ImageError`."""
    try:
        with _open_image(path) as image:
            _check_pixels(path, image)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(
            f"{path} is not a picture in a known format ({', '.join(FORMATS)}).", "not a picture"
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} would unpack to far too many pixels; make it smaller.", "too many pixels") from None
    except Exception as error:  # noqa: BLE001 - decoders meet damage with whatever they stumble over, of any class
        raise ImageError(f"{path} is broken ({error or type(error).__name__}); replace it.", "broken") from None


@cache
def _list_decodable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_file(path: Path) -> int:
    """Return the file's size; raise `ImageError` when it is none to be opened."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        raise ImageError(f"{path} is not there.", "missing") from None
    if not path.is_file():
        raise ImageError(f"{path} is not a file.", "missing")
    if size == 0:
        raise ImageError(f"{path} is empty.", "empty")
    if size > MAX_BYTES:
        raise ImageError(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}; make it smaller.", "too many bytes")
    return size


def _check_pixels(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        sentence = f"{path} has {width:,} x {height:,} pixels, more than {MAX_PIXELS:,} in all; make it smaller."
        raise ImageError(sentence, "too many pixels")
    if max(width, height) > MAX_SIDE:
        sentence = f"{path} has {width:,} x {height:,} pixels, more than {MAX_SIDE:,} on a side; make it smaller."
        raise ImageError(sentence, "too many pixels")


def _convert_to_rgb(image: ImageFile, longest_edge: int) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    plain: Image.Image = image
    if image.mode != "RGB" or image.has_transparency_data:
        plain = _in_bands(image, _convert_to_8_bits(image) if image.mode in DEEP_MODES else _on_white)
    plain.thumbnail((longest_edge, longest_edge), Image.Resampling.BOX)
    return plain.copy() if plain is image else plain  # without the decoder, which may hold more than the pixels


def _in_bands(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the picture as RGB, some rows changed at a time: whole, each step would hold another copy of it."""
    plain = Image.new("RGB", image.size)
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        plain.paste(change(band), (0, top))
    return plain


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _convert_to_8_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return what scales parts of the picture to 8 bits a channel: what is white is known from the whole of it."""
    full = 65535.0 if image.mode != "F" else 255.0 if _max_value(image) > 1 else 1.0

    def scale(band: Image.Image) -> Image.Image:
        values_HW = np.nan_to_num(np.asarray(band, np.float64))
        return Image.fromarray((values_HW / full * 255).clip(0, 255).astype(np.uint8), "L").convert("RGB")

    return scale


def _max_value(image: Image.Image) -> float:
    """Return the highest value of a picture of one channel."""
    highest = image.getextrema()[1]
    return highest if isinstance(highest, (int, float)) else max(highest)


def count_reasons(problems: Iterable[str | None]) -> dict[str, int]:
    """Return how many pictures failed, by reason, the most frequent first."""
    return dict(Counter(problem for problem in problems if problem is not None).most_common())
