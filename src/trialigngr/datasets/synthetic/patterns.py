"""Patterns: prints that a look may bear, seen flat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Float32Array = npt.NDArray[np.float32]
Print = npt.NDArray[np.uint8]
PatternFunction = Callable[[int, np.random.Generator], Print]
"""A print of ``size`` × ``size``: 0 is the ground, 1 the motif, 2 the odd motif in the accent colour."""


def _make_grid(size: int) -> tuple[Float32Array, Float32Array]:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    return x, y


def _rotate_grid(size: int, degrees: float) -> tuple[Float32Array, Float32Array]:
    x, y = _make_grid(size)
    c, s = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    return x * c - y * s, x * s + y * c


def draw_plain(size: int, rng: np.random.Generator) -> Print:
    """Nothing but the ground."""
    return np.zeros((size, size), np.uint8)


def draw_stripes(size: int, rng: np.random.Generator) -> Print:
    """Even horizontal stripes."""
    _, y = _make_grid(size)
    return np.asarray(np.modf(y * rng.uniform(11, 15))[0] < 0.5, np.uint8)


def draw_bands(size: int, rng: np.random.Generator) -> Print:
    """Broad horizontal bands, each with a thin accent line."""
    _, y = _make_grid(size)
    phase = np.modf(y * rng.uniform(5, 7))[0]
    return np.where(phase < 0.45, 1, np.where((phase > 0.66) & (phase < 0.78), 2, 0)).astype(np.uint8)


def draw_dots(size: int, rng: np.random.Generator) -> Print:
    """Polka dots in staggered rows."""
    x, y = _rotate_grid(size, rng.uniform(-8, 8))
    n = rng.uniform(10, 13)
    row = np.floor(y * n)
    dx, dy = np.modf(x * n + 0.5 * (row % 2) + 9)[0] - 0.5, np.modf(y * n + 9)[0] - 0.5
    return np.where(dx**2 + dy**2 < 0.09, np.where(row % 3 == 1, 2, 1), 0).astype(np.uint8)


def draw_confetti(size: int, rng: np.random.Generator) -> Print:
    """Short strokes thrown in all directions."""
    return _scatter_motifs(size, rng, 230, lambda draw, x, y, r: _draw_stroke(draw, x, y, r * 0.8, rng))


def draw_terrazzo(size: int, rng: np.random.Generator) -> Print:
    """Angular chips of several sizes."""
    return _scatter_motifs(size, rng, 170, lambda draw, x, y, r: _draw_chip(draw, x, y, r, rng))


def draw_stars(size: int, rng: np.random.Generator) -> Print:
    """Small points of light, a few larger."""
    return _scatter_motifs(size, rng, 190, lambda draw, x, y, r: _draw_star(draw, x, y, r, rng))


def draw_sprigs(size: int, rng: np.random.Generator) -> Print:
    """Leaves in pairs on short stems."""
    return _scatter_motifs(size, rng, 75, lambda draw, x, y, r: _draw_sprig(draw, x, y, r * 1.25, rng))


def draw_waves(size: int, rng: np.random.Generator) -> Print:
    """Thin undulating lines."""
    x, y = _make_grid(size)
    phase = y * rng.uniform(11, 14) + rng.uniform(0.35, 0.5) * np.sin(
        2 * np.pi * (x * rng.uniform(3.5, 5) + rng.random())
    )
    line, number = np.modf(phase + 9)
    return np.where(line < 0.26, np.where(number % 4 == 0, 2, 1), 0).astype(np.uint8)


def draw_checks(size: int, rng: np.random.Generator) -> Print:
    """A chequerboard."""
    x, y = _make_grid(size)
    n = rng.uniform(9, 13)
    return np.asarray((np.floor(x * n) + np.floor(y * n)) % 2, np.uint8)


def draw_zigzag(size: int, rng: np.random.Generator) -> Print:
    """Chevrons."""
    x, y = _make_grid(size)
    fold = np.abs(np.modf(x * rng.uniform(6, 8))[0] - 0.5)
    return np.asarray(np.modf(y * rng.uniform(9, 12) + fold * 1.6)[0] < 0.5, np.uint8)


def draw_diagonals(size: int, rng: np.random.Generator) -> Print:
    """Slanting stripes, every other one thin and in the accent colour."""
    _, y = _rotate_grid(size, 45)
    phase = np.modf(y * rng.uniform(6, 8) + 9)[0]
    return np.where(phase < 0.4, 1, np.where((phase > 0.64) & (phase < 0.76), 2, 0)).astype(np.uint8)


def _scatter_motifs(
    size: int, rng: np.random.Generator, count: int, motif: Callable[[ImageDraw.ImageDraw, float, float, float], None]
) -> Print:
    """Throw motifs so that they keep apart: a jittered grid."""
    label = Image.new("L", (size, size))
    draw = ImageDraw.Draw(label)
    side = int(np.sqrt(count))
    step = size / side
    for row in range(side + 1):
        for column in range(side + 1):
            jitter = rng.uniform(-0.25, 0.25, 2)
            x, y = (column + 0.5 * (row % 2) + jitter[0]) * step, (row + jitter[1]) * step
            motif(draw, x, y, step * 0.5)
    return np.asarray(label)


def _choose_ink(rng: np.random.Generator) -> int:
    return 2 if rng.random() < 0.3 else 1


def _draw_stroke(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, rng: np.random.Generator) -> None:
    angle = rng.uniform(0, np.pi)
    dx, dy = r * np.cos(angle), r * np.sin(angle)
    draw.line((x - dx, y - dy, x + dx, y + dy), fill=_choose_ink(rng), width=max(2, round(r * 0.55)))


def _draw_chip(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, rng: np.random.Generator) -> None:
    angles = np.sort(rng.uniform(0, 2 * np.pi, 5))
    radius = r * rng.uniform(0.35, 0.85)
    draw.polygon([(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles], fill=_choose_ink(rng))


def _draw_star(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, rng: np.random.Generator) -> None:
    radius = r * (0.5 if rng.random() < 0.25 else 0.18)
    if radius > r * 0.4:
        points = [
            (x + q * np.cos(a), y + q * np.sin(a))
            for q, a in zip([radius, radius * 0.35] * 4, np.arange(8) * np.pi / 4, strict=True)
        ]
        draw.polygon(points, fill=2)
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)


def _draw_sprig(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, rng: np.random.Generator) -> None:
    angle = rng.uniform(0, 2 * np.pi)
    ink = _choose_ink(rng)
    tip = (x + r * np.cos(angle), y + r * np.sin(angle))
    draw.line((x, y, *tip), fill=ink, width=2)
    for along, side in ((0.25, 0.9), (0.25, -0.9), (0.7, 0.7), (0.7, -0.7)):
        root = (x + along * r * np.cos(angle), y + along * r * np.sin(angle))
        draw.polygon(_outline_leaf(root, angle + side, r * 0.6), fill=ink)


def _outline_leaf(root: tuple[float, float], angle: float, length: float) -> list[tuple[float, float]]:
    along = np.concatenate([np.linspace(0, 1, 7), np.linspace(1, 0, 7)])
    across = 0.26 * np.sin(np.pi * along) * np.repeat([1, -1], 7)
    c, s = np.cos(angle), np.sin(angle)
    return [
        (root[0] + length * (a * c - b * s), root[1] + length * (a * s + b * c))
        for a, b in zip(along, across, strict=True)
    ]
