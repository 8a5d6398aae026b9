"""What hostile pictures cost: peak memory while 16 of 64 megapixels are decoded in 16 threads, by format."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.harness import Check, below, peak_memory
from trialigngr.images.image_open import decode_image, exceeds_longest_edge, ignore_pillow_warnings

SIDE, PICTURES, LONG_SIDE = 8000, 16, 1024
LIMIT = 1.5


def measure() -> list[Check]:
    """Return the peaks in GB; each decoding is a process of its own, and a few minutes' work."""
    with TemporaryDirectory() as folder:
        drawn = _drawn(Path(folder))
        words = (sys.executable, "-m", "benchmarks.pictures")
        return [below(f"16 x {path.name}", peak_memory([*words, str(path)]) / 1e9, LIMIT, "GB") for path in drawn]


def _drawn(folder: Path) -> list[Path]:
    """Return pictures of a few hundred kilobytes that unpack to as many pixels as are taken."""
    step_S = np.arange(SIDE) // 50
    grey = Image.fromarray(((step_S[:, None] + step_S) % 256).astype(np.uint8))
    saved = {
        "rgb.png": Image.merge("RGB", [grey] * 3),
        "rgba.png": Image.merge("RGBA", [grey] * 4),
        "deep.png": Image.fromarray(np.asarray(grey, np.uint16) * 257),
        "alpha.webp": Image.merge("RGBA", [grey] * 4),
        "progressive.jpg": Image.merge("RGB", [grey] * 3),
    }
    for name, picture in saved.items():
        picture.save(folder / name, progressive=name.endswith("jpg"))
    return [folder / name for name in saved]


def _decode(path: Path) -> None:
    def one(_: int) -> None:
        exceeds_longest_edge(path, LONG_SIDE)
        decode_image(path, LONG_SIDE)

    with ignore_pillow_warnings(), ThreadPoolExecutor(PICTURES) as pool:
        list(pool.map(one, range(PICTURES)))


if __name__ == "__main__":
    _decode(Path(sys.argv[1]))
