"""`VisualFeatures`: what can be measured on any picture without knowing what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from trialigngr.images.colors import COLOR_NAMES, Float32Array, compute_color_shares, to_oklab
from trialigngr.images.patterns import BoolArray, SurfacePattern, erode_mask, find_pattern

MEASURE_SIDE = 112
"""Pictures are measured at this size (long side): small enough to be quick, large enough for fine stripes."""


@dataclass(frozen=True)
class VisualFeatures:
    """Measurements of one picture. Colours are OKLab; shares are parts of one.

    Attributes:
        background: share of the border that is of one even colour (0…1), and which name it bears.
        subject: share of the picture that stands out from an even background; 1 when there is none.
        offset: how far the subject's centre is from the picture's, in half-widths, right and down.
        fill: share of the subject's bounding box that it covers; ``aspect_ratio``: height over width of that box.
        pinch: how much narrower the subject is at its upper end than at its lower one, −1…1.
        detail: mean gradient, how busy the picture is.
        fall: how much lighter the upper third is than the lower one; ``center_glow``: the centre than the rest.

    """

    width: int
    height: int
    evenness: float
    background_color: str
    subject_share: float
    subject_offset: tuple[float, float]
    box_fill: float
    aspect_ratio: float
    taper: float
    subject_colors: Float32Array
    image_colors: Float32Array
    lightness: float
    contrast: float
    chroma: float
    warmth: float
    detail: float
    vertical_falloff: float
    center_glow: float
    pattern: SurfacePattern

    @property
    def has_background(self) -> bool:
        """Return whether one subject stands on an even background."""
        return _has_one_subject(self.evenness, self.subject_share)

    def to_vector(self) -> Float32Array:
        """Return the measurements as float32 [2 C + 18], each about 0…1."""
        pattern = self.pattern
        turn, striped = np.radians(2 * pattern.angle), pattern.one_way * pattern.periodicity
        rest = [
            self.evenness, self.subject_share, self.box_fill, np.log2(self.aspect_ratio) / 2, self.taper,
            *self.subject_offset, self.lightness, 2 * self.contrast, 4 * self.chroma, 4 * self.warmth, 4 * self.detail,
            self.vertical_falloff, self.center_glow,
            pattern.periodicity, striped * np.cos(turn), striped * np.sin(turn), pattern.two_way * pattern.periodicity,
        ]  # fmt: skip
        return np.concatenate([np.sqrt(self.subject_colors), np.sqrt(self.image_colors), rest]).astype(np.float32)


DIMENSION = 2 * len(COLOR_NAMES) + 18


def measure_image(image: Image.Image) -> VisualFeatures:
    """Return the look of a picture."""
    small = image.copy()
    small.thumbnail((MEASURE_SIDE, MEASURE_SIDE), Image.Resampling.BOX)
    if min(small.size) < 16:  # slivers and dots are stretched, so that every measurement has something to stand on
        small = image.resize((max(16, small.width), max(16, small.height)), Image.Resampling.BOX)
    lab_HW3 = to_oklab(np.asarray(small, np.uint8))
    evenness, background, mask_HW = _segment_subject(lab_HW3)
    subject_HW = mask_HW if _has_one_subject(evenness, float(mask_HW.mean())) else np.ones_like(mask_HW)
    lightness, chroma = lab_HW3[..., 0], np.hypot(lab_HW3[..., 1], lab_HW3[..., 2])
    down, right = np.gradient(lightness)
    shown = lab_HW3[_drop_edges(subject_HW, np.hypot(down, right))]
    offset, fill, tall, pinch = _measure_outline(subject_HW)
    return VisualFeatures(
        image.width, image.height, evenness, background, float(subject_HW.mean()), offset, fill, tall, pinch,
        compute_color_shares(shown), compute_color_shares(lab_HW3), float(lightness.mean()), float(lightness.std()),
        float(chroma.mean()), float((lab_HW3[..., 1] * 0.5 + lab_HW3[..., 2]).mean()),
        float(np.hypot(down, right).mean()), *_measure_falloff(lightness), find_pattern(lab_HW3, subject_HW),
    )  # fmt: skip


def _measure_falloff(lightness_HW: Float32Array) -> tuple[float, float]:
    """Return how much lighter the upper third is than the lower, and the central ninth than the whole."""
    height, width = (max(1, length // 3) for length in lightness_HW.shape)
    centre = lightness_HW[height:-height, width:-width]
    return (
        float(lightness_HW[:height].mean() - lightness_HW[-height:].mean()),
        float(centre.mean() - lightness_HW.mean()),
    )


def _drop_edges(mask_HW: BoolArray, slope_HW: Float32Array) -> BoolArray:
    """Return the mask without the pixels on an edge, which mix two colours into a third, if enough are left."""
    inner_HW = erode_mask(mask_HW, 1) & (slope_HW < 0.1)
    return inner_HW if inner_HW.sum() > 0.3 * mask_HW.sum() else mask_HW


def _has_one_subject(evenness: float, share: float) -> bool:
    return evenness > 0.75 and 0.02 < share < 0.9


def _segment_subject(lab_HW3: Float32Array) -> tuple[float, str, BoolArray]:
    """Return how even the border is, the name of its colour, and which pixels differ from it."""
    rim = max(1, min(lab_HW3.shape[:2]) // 24)
    edge = np.ones(lab_HW3.shape[:2], bool)
    edge[rim:-rim, rim:-rim] = False
    border = lab_HW3[edge]
    colour = np.median(border, 0)
    apart_HW = np.linalg.norm(lab_HW3 - colour, axis=-1)
    return (
        float((apart_HW[edge] < 0.06).mean()),
        COLOR_NAMES[int(compute_color_shares(colour[None]).argmax())],
        apart_HW > 0.08,
    )


def _measure_outline(mask_HW: BoolArray) -> tuple[tuple[float, float], float, float, float]:
    """Return the subject's offset from the centre, how it fills its box, height over width, and its pinch."""
    rows, columns = np.nonzero(mask_HW.sum(1) > 1)[0], np.nonzero(mask_HW.sum(0) > 1)[0]
    if not len(rows) or not len(columns):
        return (0.0, 0.0), 1.0, 1.0, 0.0
    box = mask_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = mask_HW.shape
    offset = ((columns[0] + columns[-1] + 1) / width - 1, (rows[0] + rows[-1] + 1) / height - 1)
    third = max(1, len(box) // 3)
    upper, lower = float(box[:third].mean()), float(box[-third:].mean())
    pinch = (lower - upper) / max(upper, lower, 1e-6)
    return (float(offset[0]), float(offset[1])), float(box.mean()), box.shape[0] / box.shape[1], pinch
