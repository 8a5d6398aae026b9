"""Textures: how a material catches the light. Multipliers around 1, the same whatever the look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Floats = npt.NDArray[np.float32]
Texture = Callable[[int, np.random.Generator], Floats]


def _noise(size: int, blur: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Return smooth noise with mean 0 and deviation 1; ``blur`` in pixels (x, y)."""
    raw = Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8))
    noise: Floats = np.asarray(raw.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    noise = (noise - noise.mean()) / (noise.std() + np.float32(1e-6))
    return noise


def smooth(size: int, rng: np.random.Generator) -> Floats:
    """Glaze, glass, enamel."""
    return np.ones((size, size), np.float32)


def speckled(size: int, rng: np.random.Generator) -> Floats:
    """Stoneware, cork: dark specks."""
    return np.asarray(1 - 0.22 * (_noise(size, (1.1, 1.1), rng) > 2.1) + 0.012 * _noise(size, (6, 6), rng), np.float32)


def woven(size: int, rng: np.random.Generator) -> Floats:
    """Linen, canvas: threads across threads."""
    return np.asarray(1 + 0.035 * _noise(size, (7, 0.8), rng) + 0.035 * _noise(size, (0.8, 7), rng), np.float32)


def knitted(size: int, rng: np.random.Generator) -> Floats:
    """Wool, boucle: rows of small loops."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    loops = np.sin(x * 1.05 + 1.2 * np.sin(y * 0.6)) * np.sin(y * 0.6)
    return np.asarray(1 + 0.06 * loops + 0.03 * _noise(size, (1.5, 1.5), rng), np.float32)


def napped(size: int, rng: np.random.Generator) -> Floats:
    """Suede, velvet, felt: a cloudy pile."""
    return np.asarray(1 + 0.035 * _noise(size, (1.2, 1.2), rng) + 0.03 * _noise(size, (12, 12), rng), np.float32)


def grained(size: int, rng: np.random.Generator) -> Floats:
    """Leather: fine cells."""
    return np.asarray(1 - 0.05 * np.abs(_noise(size, (2.2, 2.2), rng)) + 0.04, np.float32)


def brushed(size: int, rng: np.random.Generator) -> Floats:
    """Steel: long strokes."""
    return np.asarray(1 + 0.06 * _noise(size, (25, 0.6), rng), np.float32)


def ribbed(size: int, rng: np.random.Generator) -> Floats:
    """Corduroy: upright ribs."""
    x = np.arange(size, dtype=np.float32)
    return np.broadcast_to(1 + 0.10 * np.sin(x * 2 * np.pi / (size / 42)), (size, size)).astype(np.float32)


TEXTURES: dict[str, tuple[Texture, float]] = {
    "Stoneware": (speckled, 0.10),
    "Porcelain": (smooth, 0.30),
    "Enamel": (smooth, 0.22),
    "Earthenware": (speckled, 0.04),
    "Cast-Iron": (grained, 0.10),
    "Linen": (woven, 0.0),
    "Paper": (napped, 0.0),
    "Steel": (brushed, 0.25),
    "Glass": (smooth, 0.35),
    "Velvet": (napped, 0.10),
    "Leather": (grained, 0.14),
    "Boucle": (knitted, 0.0),
    "Wool": (knitted, 0.0),
    "Cotton": (woven, 0.0),
    "Nylon": (smooth, 0.14),
    "Corduroy": (ribbed, 0.0),
    "Suede": (napped, 0.0),
    "Canvas": (woven, 0.0),
    "Felt": (napped, 0.0),
    "Cork": (speckled, 0.0),
}
"""Material → its texture and how much it shines (0 is matt)."""
