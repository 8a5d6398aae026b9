"""Looks: families of palettes and patterns. A look shows in the picture and nowhere else."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from trialigngr.datasets.synthetic.patterns import (
    PatternFunction,
    draw_bands,
    draw_checks,
    draw_confetti,
    draw_diagonals,
    draw_dots,
    draw_plain,
    draw_sprigs,
    draw_stars,
    draw_stripes,
    draw_terrazzo,
    draw_waves,
    draw_zigzag,
)

Float32Array = npt.NDArray[np.float32]
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """Palettes (ground, motif, accent, backdrop), the patterns of the look, and one that appears now and then."""

    palettes: tuple[tuple[str, str, str, str], ...]
    patterns: tuple[PatternFunction, ...]
    rare_pattern: PatternFunction


@dataclass(frozen=True)
class Paint:
    """One item's share of a look: colours in 0..1 and the printed cloth [H, W, 3]."""

    ground: RGB
    motif: RGB
    accent: RGB
    backdrop: RGB
    cloth: Float32Array


LOOKS: tuple[Look, ...] = (
    Look(
        (
            ("#f4efe2", "#22507f", "#d9543a", "#dcebf3"),
            ("#f7f4ea", "#2c7a94", "#e2a63b", "#e3f0ef"),
            ("#eef1ee", "#1f3f66", "#4aa3b8", "#d7e6f2"),
        ),
        (draw_stripes, draw_bands),
        draw_plain,
    ),
    Look(
        (
            ("#c46741", "#e8c9a6", "#5f3327", "#eadac6"),
            ("#b5543a", "#dcae85", "#3f3a36", "#e8d2bf"),
            ("#cf8a57", "#f0dcc0", "#8a3f2b", "#efe1cf"),
        ),
        (draw_terrazzo, draw_plain),
        draw_diagonals,
    ),
    Look(
        (
            ("#f8c6d2", "#fffaf2", "#f4d35e", "#fdf0ec"),
            ("#c9ecdd", "#ffffff", "#f59fb4", "#eefaf3"),
            ("#fbe7a1", "#ffffff", "#f08aa6", "#fff8e4"),
        ),
        (draw_dots, draw_confetti),
        draw_plain,
    ),
    Look(
        (
            ("#1d2146", "#8fb8de", "#f2d58b", "#3a3f5f"),
            ("#241a3d", "#b79ad8", "#f0c6d8", "#453c5e"),
            ("#10263b", "#6fb7c4", "#e9e2c8", "#334a5c"),
        ),
        (draw_waves, draw_stars),
        draw_plain,
    ),
    Look(
        (
            ("#5d7a45", "#dfe0b0", "#d9a32f", "#cfd9bd"),
            ("#d3a734", "#5b6b2f", "#f5ecd0", "#dcdcb8"),
            ("#47694c", "#b9cf93", "#e8c15a", "#c6d4be"),
        ),
        (draw_sprigs, draw_diagonals),
        draw_plain,
    ),
    Look(
        (
            ("#f5f4f2", "#1d1d1f", "#d6312b", "#d5d6d8"),
            ("#fafafa", "#2a2b2e", "#f2c21b", "#c9cbce"),
            ("#e9e9ea", "#111214", "#7c7f85", "#dedfe0"),
        ),
        (draw_checks, draw_zigzag),
        draw_bands,
    ),
)


def _jitter_color(color: str, rng: np.random.Generator) -> RGB:
    """Return a neighbour of the colour, so that no two items of a look are alike."""
    r, g, b = (channel / 255 for channel in ImageColor.getrgb(color)[:3])
    hue, light, saturation = colorsys.rgb_to_hls(r, g, b)
    hue += rng.normal(0, 0.008)
    return colorsys.hls_to_rgb(
        hue % 1,
        float(np.clip(light + rng.normal(0, 0.02), 0, 1)),
        float(np.clip(saturation * rng.uniform(0.85, 1.1), 0, 1)),
    )


def mix_paint(look: int, size: int, rng: np.random.Generator) -> Paint:
    """Return colours and a printed cloth of ``size`` × ``size`` in the given look."""
    family = LOOKS[look]
    palette = family.palettes[rng.integers(len(family.palettes))]
    ground, motif, accent, backdrop = (_jitter_color(colour, rng) for colour in palette)
    pattern = family.rare_pattern if rng.random() < 0.12 else family.patterns[rng.integers(len(family.patterns))]
    inks = np.array([ground, motif, accent], np.float32)
    return Paint(ground, motif, accent, backdrop, inks[pattern(size, rng)])
