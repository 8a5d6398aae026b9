"""Colour names: a table of our own, and the nearest name in OKLab (Ottosson 2020), where distance is what eyes see."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

# Anchors were set by eye; some names have two, where one word covers a wide stretch of the space.
COLOR_TABLE: tuple[tuple[str, str], ...] = (
    ("black", "0c0c0d"), ("black", "1c1b1c"), ("charcoal grey", "3d3d40"), ("grey", "7b7b7c"), ("grey", "9a9a9a"),
    ("light grey", "c4c4c4"), ("white", "f0f0f0"), ("white", "ffffff"), ("cream", "f4ead0"), ("beige", "dcc7a0"),
    ("tan", "bf9a6a"), ("brown", "8a5a30"), ("brown", "714a35"), ("dark brown", "40271a"), ("maroon", "5c1420"),
    ("dark red", "8c1a1c"), ("red", "c81e24"), ("red", "e8302c"), ("coral", "f07a60"), ("salmon pink", "e7a498"),
    ("pink", "f2b4c8"), ("hot pink", "e8489a"), ("magenta", "b41e82"), ("plum", "5e2452"), ("plum", "46324f"),
    ("purple", "7b3aa8"),
    ("lavender", "b9a5dc"), ("indigo", "3c3090"), ("navy blue", "16204a"), ("navy blue", "1f2f66"), ("blue", "2350b8"),
    ("bright blue", "3c7fe0"), ("sky blue", "8ac4ec"), ("slate blue", "566f8c"), ("steel grey", "8d9aa6"),
    ("dark teal", "12414a"), ("teal", "1f8080"), ("turquoise", "3cc4c0"), ("mint green", "aee2c8"),
    ("dark green", "1c3d24"), ("green", "2f8a3e"), ("bright green", "50c24a"), ("sage green", "96aa84"),
    ("olive green", "6a6a2c"), ("khaki", "9c9266"), ("lime green", "b0d83c"), ("yellow", "f4dc3c"),
    ("mustard yellow", "cc9c28"), ("orange", "ec7c20"), ("burnt orange", "b8521c"), ("peach", "f6c69c"),
)  # fmt: skip
COLOR_NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for name, _ in COLOR_TABLE))
COLOR_FAMILIES: dict[str, tuple[str, ...]] = {
    "black": ("black", "charcoal grey"), "grey": ("grey", "light grey", "steel grey"), "white": ("white", "cream"),
    "brown": ("beige", "tan", "brown", "dark brown", "khaki"), "red": ("maroon", "dark red", "red", "coral"),
    "pink": ("salmon pink", "pink", "hot pink", "magenta"), "purple": ("plum", "purple", "lavender", "indigo"),
    "blue": ("navy blue", "blue", "bright blue", "sky blue", "slate blue"),
    "teal": ("dark teal", "teal", "turquoise", "mint green"), "yellow": ("yellow", "mustard yellow"),
    "green": ("dark green", "green", "bright green", "sage green", "olive green", "lime green"),
    "orange": ("orange", "burnt orange", "peach"),
}  # fmt: skip
"""Names that shade into each other: a surface that runs through several of one family is said to have one colour."""

_TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]], np.float32,
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]], np.float32,
)  # fmt: skip


@cache
def _linear_levels() -> Float32Array:
    levels = np.arange(256, dtype=np.float32) / 255
    linear: Float32Array = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )
    return linear


def to_oklab(pixels: npt.NDArray[np.uint8]) -> Float32Array:
    """Return lightness 0…1, green–red and blue–yellow (each about −0.4…0.4) of sRGB uint8 [..., 3]."""
    lab: Float32Array = np.cbrt(_linear_levels()[pixels] @ _TO_LMS.T) @ _TO_LAB.T
    return lab


@cache
def compute_name_chroma() -> Float32Array:
    """Return how colourful each of `NAMES` is [C], 0…about 0.3."""
    anchors_K3, names_K = _load_anchors()
    chroma_K = np.hypot(anchors_K3[:, 1], anchors_K3[:, 2])
    return np.array([chroma_K[names_K == name].mean() for name in range(len(COLOR_NAMES))], np.float32)


@cache
def _load_anchors() -> tuple[Float32Array, npt.NDArray[np.intp]]:
    rgb = np.array([list(bytes.fromhex(code)) for _, code in COLOR_TABLE], np.uint8)
    return to_oklab(rgb), np.array([COLOR_NAMES.index(name) for name, _ in COLOR_TABLE], np.intp)


def find_nearest_names(lab: Float32Array) -> npt.NDArray[np.intp]:
    """Return the index into `NAMES` of each colour, [...] of OKLab [..., 3]."""
    anchors_K3, names_K = _load_anchors()
    flat = lab.reshape(-1, 3)
    # |x - a|² = |x|² - 2 x·a + |a|²; the first term is the same for every anchor
    cost = (anchors_K3**2).sum(1) - 2 * flat @ anchors_K3.T
    return names_K[cost.argmin(1)].reshape(lab.shape[:-1])


def compute_color_shares(lab: Float32Array) -> Float32Array:
    """Return which share of the colours OKLab [..., 3] bears each of `NAMES`, float32 [C]; zeros if there are none."""
    counts = np.bincount(find_nearest_names(lab).ravel(), minlength=len(COLOR_NAMES))
    return (counts / max(1, counts.sum())).astype(np.float32)
