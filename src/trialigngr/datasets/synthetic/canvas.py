"""The easel: fills shapes with cloth, light and shadow on a square canvas measured 0..100 in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from trialigngr.datasets.synthetic.looks import RGB, Paint

Float32Array = npt.NDArray[np.float32]
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Color = Literal["cloth", "ground", "motif", "accent", "wood", "metal", "ink", "pale", "glow"]
Shading = Literal["round", "soft", "flat"]

FIXED_COLORS: dict[str, RGB] = {
    "wood": (0.60, 0.43, 0.28),
    "metal": (0.70, 0.71, 0.73),
    "ink": (0.17, 0.17, 0.19),
    "pale": (0.96, 0.94, 0.90),
    "glow": (1.0, 0.94, 0.74),
}


def smooth_curve(points: Sequence[Point], closed: bool = True, steps: int = 8) -> list[Point]:
    """Return points on a smooth line through ``points`` (Catmull-Rom)."""
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
    ]
    line = np.concatenate([*pieces, *([] if closed else [p[-1:]])])
    return [(float(x), float(y)) for x, y in line]


def mirror_outline(points: list[Point], axis: float = 50) -> list[Point]:
    """Return a symmetrical outline from its left half (top to bottom)."""
    return points + [(2 * axis - x, y) for x, y in reversed(points)]


@cache
def _compute_daylight(size: int) -> Float32Array:
    """Return the light on wall and table [H, W], around 1."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    light = 1.04 - 0.10 * y - 0.10 * ((x - 0.45) ** 2 + (y - 0.4) ** 2)
    return np.asarray(light - 0.05 / (1 + np.exp(-(y - 0.80) * 60)), np.float32)


class Canvas:
    """A canvas that is painted back to front.

    ``texture_HW`` (around 1) is the grain of the cloth's material; ``zoom`` scales what stands on the table and
    ``is_flipped`` turns it to the other side.
    """

    def __init__(
        self, paint: Paint, texture_HW: Float32Array, gloss: float, zoom: float = 1, is_flipped: bool = False
    ) -> None:
        self.size = len(texture_HW)
        self.paint, self.texture_HW, self.gloss, self.zoom, self.is_flipped = paint, texture_HW, gloss, zoom, is_flipped
        self.pixels_HWC = self._paint_backdrop()

    def _paint_backdrop(self) -> Float32Array:
        wall: Float32Array = np.asarray(self.paint.backdrop, np.float32) * _compute_daylight(self.size)[..., None]
        return wall

    def _make_mask(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        mask = Image.new("L", (self.size, self.size))
        return mask, ImageDraw.Draw(mask)

    def _points_to_pixels(self, points: Sequence[Point]) -> list[Point]:
        unit, side = self.size / 100, -1 if self.is_flipped else 1
        return [((50 + side * self.zoom * (x - 50)) * unit, (86 + self.zoom * (y - 86)) * unit) for x, y in points]

    def _box_to_pixels(self, box: Box) -> Box:
        (left, top), (right, bottom) = self._points_to_pixels([box[:2], box[2:]])
        return min(left, right), top, max(left, right), bottom

    def _length_to_pixels(self, length: float) -> float:
        return length * self.zoom * self.size / 100

    def draw_shadow(self, box: Box, strength: float = 0.38) -> None:
        """Lay a soft shadow on the table."""
        mask, draw = self._make_mask()
        draw.ellipse(self._box_to_pixels(box), fill=255)
        blurred = mask.filter(ImageFilter.GaussianBlur(self.size * 0.02))
        self.pixels_HWC *= 1 - strength * (np.asarray(blurred, np.float32) / 255)[..., None]

    def draw_polygon(self, points: Sequence[Point], color: Color = "cloth", shading: Shading = "soft") -> None:
        """Fill a polygon."""
        mask, draw = self._make_mask()
        draw.polygon(self._points_to_pixels(points), fill=255)
        self._fill_mask(mask, color, shading)

    def draw_ellipse(self, box: Box, color: Color = "cloth", shading: Shading = "soft") -> None:
        """Fill an ellipse."""
        mask, draw = self._make_mask()
        draw.ellipse(self._box_to_pixels(box), fill=255)
        self._fill_mask(mask, color, shading)

    def draw_box(self, box: Box, radius: float = 2, color: Color = "cloth", shading: Shading = "soft") -> None:
        """Fill a rectangle with round corners."""
        mask, draw = self._make_mask()
        draw.rounded_rectangle(self._box_to_pixels(box), self._length_to_pixels(radius), fill=255)
        self._fill_mask(mask, color, shading)

    def draw_stroke(
        self, points: Sequence[Point], width: float, color: Color = "cloth", shading: Shading = "soft"
    ) -> None:
        """Draw a line with round ends."""
        mask, draw = self._make_mask()
        line = self._points_to_pixels(points)
        thickness = max(1, round(self._length_to_pixels(width)))
        draw.line(line, fill=255, width=thickness, joint="curve")
        for x, y in (line[0], line[-1]):
            draw.ellipse((x - thickness / 2, y - thickness / 2, x + thickness / 2, y + thickness / 2), fill=255)
        self._fill_mask(mask, color, shading)

    def _fill_mask(self, mask: Image.Image, color: Color, shading: Shading) -> None:
        area = mask.getbbox()
        if area is None:
            return
        left, top, right, bottom = area
        alpha_HW = np.asarray(mask.crop(area), np.float32) / 255
        part_HWC = self._color_area(color, shading, area) * self._shade_area(mask, area, shading, color)[..., None]
        spot = self.pixels_HWC[top:bottom, left:right]
        spot += alpha_HW[..., None] * (part_HWC - spot)

    def _color_area(self, color: Color, shading: Shading, area: tuple[int, int, int, int]) -> Float32Array:
        left, top, right, bottom = area
        if color in FIXED_COLORS:
            return np.broadcast_to(np.asarray(FIXED_COLORS[color], np.float32), (bottom - top, right - left, 3))
        grain = self.texture_HW[top:bottom, left:right, None]
        if color != "cloth":
            return np.asarray(getattr(self.paint, color), np.float32) * grain
        rows, columns = np.mgrid[top:bottom, left:right]
        if shading == "round":  # a print bends round a body
            across = (columns - left) / max(1, right - left) * 2 - 1
            rows = np.clip(rows + np.round(0.035 * self.size * (1 - across**2)).astype(int), 0, self.size - 1)
        printed: Float32Array = self.paint.cloth[rows, columns] * grain
        return printed

    def _shade_area(
        self, mask: Image.Image, area: tuple[int, int, int, int], shading: Shading, color: Color
    ) -> Float32Array:
        """Return the light on a part (around 1): from the upper left, with darker rims; a body gets a highlight."""
        left, top, right, bottom = area
        height, width = bottom - top, right - left
        if color == "glow":
            return np.ones((height, width), np.float32)
        if shading == "flat":
            return np.broadcast_to(np.linspace(1.03, 0.95, height, dtype=np.float32)[:, None], (height, width))
        if shading == "round":
            x = np.linspace(0, 1, width, dtype=np.float32)
            profile = 0.66 + 0.44 * np.cos((x - 0.36) * 2.1) ** 2 + self.gloss * np.exp(-(((x - 0.24) / 0.05) ** 2))
            return np.broadcast_to(profile[None, :], (height, width))
        return self._shade_cushion(mask, area)

    def _shade_cushion(self, mask: Image.Image, area: tuple[int, int, int, int]) -> Float32Array:
        left, top, right, bottom = area
        height, width = bottom - top, right - left
        reach = max(2, round(min(width, height) * 0.12))
        around = mask.crop((left - reach, top - reach, right + reach, bottom + reach))
        swollen = np.asarray(around.filter(ImageFilter.GaussianBlur(reach)), np.float32) / 255
        lit = swollen[2 * reach :, 2 * reach :] - swollen[:height, :width]
        return np.asarray(0.80 + 0.22 * swollen[reach:-reach, reach:-reach] + 0.20 * lit, np.float32)

    def render_image(self, size: int) -> Image.Image:
        """Return what is on the canvas, scaled down to ``size`` × ``size``."""
        pixels = np.clip(self.pixels_HWC * 255 + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS)
