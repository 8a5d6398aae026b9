"""Textures: how a material catches the light. Multipliers around 1, the same whatever the look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Float32Array = npt.NDArray[np.float32]
Texture = Callable[[int, np.random.Generator], Float32Array]


def _make_noise(size: int, blur: tuple[float, float], rng: np.random.Generator) -> Float32Array:
    """Return smooth noise with mean 0 and deviation 1; ``blur`` in pixels (x, y)."""
    raw = Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8))
    noise: Float32Array = np.asarray(raw.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    noise = (noise - noise.mean()) / (noise.std() + np.float32(1e-6))
    return noise


def make_smooth_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Glaze, glass, enamel."""
    return np.ones((size, size), np.float32)


def make_speckle_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Stoneware, cork: dark specks."""
    return np.asarray(
        1 - 0.22 * (_make_noise(size, (1.1, 1.1), rng) > 2.1) + 0.012 * _make_noise(size, (6, 6), rng), np.float32
    )


def make_weave_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Linen, canvas: threads across threads."""
    return np.asarray(
        1 + 0.035 * _make_noise(size, (7, 0.8), rng) + 0.035 * _make_noise(size, (0.8, 7), rng), np.float32
    )


def make_knit_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Wool, boucle: rows of small loops."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    loops = np.sin(x * 1.05 + 1.2 * np.sin(y * 0.6)) * np.sin(y * 0.6)
    return np.asarray(1 + 0.06 * loops + 0.03 * _make_noise(size, (1.5, 1.5), rng), np.float32)


def make_nap_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Suede, velvet, felt: a cloudy pile."""
    return np.asarray(
        1 + 0.035 * _make_noise(size, (1.2, 1.2), rng) + 0.03 * _make_noise(size, (12, 12), rng), np.float32
    )


def make_grain_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Leather: fine cells."""
    return np.asarray(1 - 0.05 * np.abs(_make_noise(size, (2.2, 2.2), rng)) + 0.04, np.float32)


def make_steel_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Steel: long strokes."""
    return np.asarray(1 + 0.06 * _make_noise(size, (25, 0.6), rng), np.float32)


def make_rib_texture(size: int, rng: np.random.Generator) -> Float32Array:
    """Corduroy: upright ribs."""
    x = np.arange(size, dtype=np.float32)
    return np.broadcast_to(1 + 0.10 * np.sin(x * 2 * np.pi / (size / 42)), (size, size)).astype(np.float32)


TEXTURES: dict[str, tuple[Texture, float]] = {
    "Stoneware": (make_speckle_texture, 0.10),
    "Porcelain": (make_smooth_texture, 0.30),
    "Enamel": (make_smooth_texture, 0.22),
    "Earthenware": (make_speckle_texture, 0.04),
    "Cast-Iron": (make_grain_texture, 0.10),
    "Linen": (make_weave_texture, 0.0),
    "Paper": (make_nap_texture, 0.0),
    "Steel": (make_steel_texture, 0.25),
    "Glass": (make_smooth_texture, 0.35),
    "Velvet": (make_nap_texture, 0.10),
    "Leather": (make_grain_texture, 0.14),
    "Boucle": (make_knit_texture, 0.0),
    "Wool": (make_knit_texture, 0.0),
    "Cotton": (make_weave_texture, 0.0),
    "Nylon": (make_smooth_texture, 0.14),
    "Corduroy": (make_rib_texture, 0.0),
    "Suede": (make_nap_texture, 0.0),
    "Canvas": (make_weave_texture, 0.0),
    "Felt": (make_nap_texture, 0.0),
    "Cork": (make_speckle_texture, 0.0),
}
"""Material → its texture and how much it shines (0 is matt)."""
