from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from trialigngr.images.colors import COLOR_NAMES
from trialigngr.images.visual_features import DIMENSION, measure_image


def draw_cloth(pattern: str) -> Image.Image:
    cloth = Image.new("RGB", (256, 256), "navy")
    pen = ImageDraw.Draw(cloth)
    steps = range(-256, 256, 20)
    for at in steps:
        if pattern == "horizontal stripes":
            pen.rectangle((0, at, 256, at + 8), fill="yellow")
        elif pattern == "vertical stripes":
            pen.rectangle((at, 0, at + 8, 256), fill="yellow")
        elif pattern == "diagonal stripes":
            pen.line((at, 0, at + 256, 256), fill="yellow", width=7)
        elif pattern == "dots":
            for x in range(0, 256, 20):
                pen.ellipse((x, at, x + 9, at + 9), fill="yellow")
        elif pattern == "checks":
            for x in range(0, 256, 40):
                pen.rectangle((x + at % 40, at, x + at % 40 + 19, at + 19), fill="yellow")
    return cloth


def on_white(cloth: Image.Image, shape: str = "ellipse") -> Image.Image:
    picture, mask = Image.new("RGB", (256, 256), "white"), Image.new("L", (256, 256))
    getattr(ImageDraw.Draw(mask), shape)((50, 40, 210, 216), fill=255)
    picture.paste(cloth, mask=mask)
    return picture


ALL = ["plain", "horizontal stripes", "vertical stripes", "diagonal stripes", "dots", "checks"]


@pytest.mark.parametrize("pattern", ALL)
@pytest.mark.parametrize("shape", ["ellipse", "rectangle"])
def test_patterns_are_told_apart(pattern: str, shape: str) -> None:
    assert measure_image(on_white(draw_cloth(pattern), shape)).pattern.name == pattern


@pytest.mark.parametrize("pattern", ALL)
def test_a_worse_copy_has_the_same_look(pattern: str) -> None:
    picture = on_white(draw_cloth(pattern))
    file = io.BytesIO()
    picture.resize((180, 180), Image.Resampling.BICUBIC).save(file, "JPEG", quality=60)
    first, second = measure_image(picture), measure_image(Image.open(file))
    assert first.pattern.name == second.pattern.name
    assert first.background_color == second.background_color == "white"
    cosine = (
        first.to_vector() @ second.to_vector() / np.linalg.norm(first.to_vector()) / np.linalg.norm(second.to_vector())
    )
    assert cosine > 0.98


def test_stripes_have_their_angle() -> None:
    assert measure_image(on_white(draw_cloth("diagonal stripes"))).pattern.angle == pytest.approx(135, abs=3)
    assert measure_image(on_white(draw_cloth("vertical stripes"))).pattern.angle == pytest.approx(90, abs=3)


def test_outline_of_the_subject() -> None:
    round_one = measure_image(on_white(draw_cloth("plain")))
    assert round_one.has_background
    assert round_one.box_fill == pytest.approx(np.pi / 4, abs=0.03)
    assert round_one.subject_share == pytest.approx(np.pi * 80 * 88 / 256**2, abs=0.02)
    assert round_one.aspect_ratio == pytest.approx(176 / 160, abs=0.05)
    assert max(map(abs, round_one.subject_offset)) < 0.05
    assert COLOR_NAMES[int(round_one.subject_colors.argmax())] == "navy blue"


def test_a_picture_of_one_colour_has_no_subject() -> None:
    look = measure_image(Image.new("RGB", (64, 64), "red"))
    assert not look.has_background
    assert (look.pattern.name, look.contrast) == ("plain", pytest.approx(0, abs=1e-6))


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 99), flat=st.booleans())
def test_anything_can_be_measured(width: int, height: int, seed: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (1, 1, 3) if flat else (height, width, 3), dtype=np.uint8)
    vector = measure_image(Image.fromarray(np.broadcast_to(pixels, (height, width, 3)).copy())).to_vector()
    assert vector.shape == (DIMENSION,)
    assert np.isfinite(vector).all()
