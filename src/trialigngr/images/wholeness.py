"""Load a picture whose file is whole: decoders take some that end early, and leave the rest black or grey."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from PIL.ImageFile import ImageFile

MARKS = (85, 171)
"""Values that are put where a decoder writes last, one a try: what still stands there after both was never written."""
GREYS = {127, 128}
"""What JPEG shows where nothing was coded."""
END, SCAN, PROGRESSIVE = 0xD9, 0xDA, 0xC2
"""Markers of a JPEG file: its end, a scan, the header of one whose scans refine each other."""
ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers that nothing belongs to."""
_NEXT = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""The next marker after coded pixels: no stuffed byte, no restart."""
MORE = bytes(range(1, 255)) * 2
"""Coded pixels of nothing in particular."""


def load_complete(image: ImageFile, path: Path, again: Callable[[], ImageFile]) -> None:
    """Load the pixels; raise `OSError` when the file ends before they do.

    ``again`` opens the same file once more (for what looks as if it ended early, about one picture in ten thousand).
    """
    left = _load_marked(image, MARKS[0])
    if left:
        with again() as other:
            if left & _load_marked(other, MARKS[1]):
                raise OSError("its pixels end early")
    if image.format in ("JPEG", "MPO") and _jpeg_ends_early(image, path.read_bytes()):
        raise OSError("its pixels end early")


def _load_marked(image: ImageFile, mark: int) -> set[tuple[int, int, int]]:
    """Load the pixels; return where a mark is still to be seen: column, row and channel."""
    places, prepare = set(_last_places(image)), image.load_prepare

    def prepare_marked() -> None:
        prepare()
        if not getattr(image, "map", None):  # of a file that is its own memory, the size was checked
            for place in places:
                image.im.putpixel(place, mark if image.im.bands == 1 else (mark,) * image.im.bands)

    setattr(image, "load_prepare", prepare_marked)  # noqa: B010 - the decoders' own hook
    try:
        image.load()
    finally:
        delattr(image, "load_prepare")  # it holds the picture, which would outlive its last user
    return {
        (*place, band) for place in places for band, value in enumerate(_pixel_values(image, place)) if value == mark
    }


def _pixel_values(image: Image.Image, place: tuple[int, int]) -> tuple[Any, ...]:
    value = image.im.getpixel(place)
    return value if isinstance(value, tuple) else (value,)


def _last_places(image: ImageFile) -> Iterator[tuple[int, int]]:
    """Yield the pixels that decoders write last: of each tile from the top, from the bottom, and by every other row."""
    for tile in image.tile:
        left, top, right, bottom = tile.extents or (0, 0, *image.size)
        right, bottom = min(right, image.width), min(bottom, image.height)
        if left < right and top < bottom:
            yield from ((right - 1, row) for row in {bottom - 1, max(bottom - 2, top), top})


def _jpeg_ends_early(image: ImageFile, body: bytes) -> bool:
    """Return whether scans are missing, or a scan's end: then the picture would be another one if more stood there."""
    segments = list(_iter_segments(body))
    if not _has_all_scans(segments):
        return True
    markers = {marker: place for marker, place, _ in segments}
    # A scan that refines the others leaves no grey where it ends.
    if PROGRESSIVE not in markers and not set(_pixel_values(image, (image.width - 1, image.height - 1))) <= GREYS:
        return False
    end = markers.get(END, len(body))
    with Image.open(io.BytesIO(body[:end] + MORE + body[end:]), formats=("JPEG", "MPO")) as longer:
        longer.draft(image.mode, image.size)
        return longer.size != image.size or ImageChops.difference(image, longer).getbbox() is not None


def _iter_segments(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, place and content of each segment up to the first end."""
    place = 2
    while (found := _NEXT.search(body, place)) is not None:
        marker, place = found[1][0], found.end()
        length = 0 if marker in ALONE or marker == END else int.from_bytes(body[place : place + 2])
        yield marker, found.start(), body[place + 2 : place + length]
        if marker == END:
            return
        place += length


def _has_all_scans(segments: list[tuple[int, int, bytes]]) -> bool:
    """Return whether the scans of a progressive JPEG bring every component to its last bit; of another, yes."""
    header = next((content for marker, _, content in segments if marker == PROGRESSIVE), None)
    if header is None:
        return True
    whole: set[tuple[int, bool]] = set()
    for _, _, content in (one for one in segments if one[0] == SCAN):
        _, last, bits = content[-3:]
        if not bits & 15:
            whole |= {(one, last > 0) for one in content[1:-3:2] if last in (0, 63)}
    return {(one, fine) for one in header[6::3] for fine in (False, True)} <= whole
