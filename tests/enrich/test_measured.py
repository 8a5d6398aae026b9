from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trialigngr.enrich.measured_captioner import MeasuredCaptioner, add_article, compose_caption, describe_palette
from trialigngr.images.colors import COLOR_NAMES
from trialigngr.images.visual_features import measure_image


def mug(colour: str, ground: str = "white") -> Image.Image:
    picture = Image.new("RGB", (200, 200), ground)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((60, 60, 130, 150), fill=colour)
    pen.ellipse((115, 80, 165, 130), outline=colour, width=12)
    return picture


def spread(**shares: float) -> np.ndarray:
    return np.array([shares.get(name.replace(" ", "_"), 0.0) for name in COLOR_NAMES], np.float32)


def test_the_palette_in_words() -> None:
    assert describe_palette(spread(red=1.0)) == "red"
    assert describe_palette(spread(navy_blue=0.8, white=0.2)) == "mainly navy blue with white"
    assert describe_palette(spread(red=0.5, white=0.5)) == "red and white"
    # one surface from dark to bright blue is one colour, said once
    assert describe_palette(spread(navy_blue=0.3, blue=0.4, bright_blue=0.3)) == "blue"
    assert describe_palette(spread(black=0.99, red=0.01)) == "black"
    # a little of a strong colour is seen, a little grey is not
    assert describe_palette(spread(black=0.94, red=0.06)) == "mainly black with red"
    assert describe_palette(spread(black=0.97, red=0.03)) == "black plus a touch of red"
    assert describe_palette(spread(black=0.94, grey=0.06)) == "black"
    assert describe_palette(spread()) == "grey"


def test_articles() -> None:
    assert add_article("analog clock") == "an analog clock"
    assert add_article("mug") == "a mug"


def test_captions_tell_colours_apart_and_nothing_else() -> None:
    words = [compose_caption(measure_image(mug(colour))) for colour in ("navy", "red", "green", "black")]
    assert len(set(words)) == 4
    shapes = {re.sub(r"in .*?, with", "in COLOUR, with", text.split(".")[0]) for text in words}
    assert len(shapes) == 1


@pytest.mark.parametrize("colour", ["navy", "red", "darkgreen", "orange", "purple"])
def test_a_slightly_different_picture_gets_the_same_words(colour: str) -> None:
    first = mug(colour)
    file = io.BytesIO()
    first.resize((170, 170), Image.Resampling.BICUBIC).save(file, "JPEG", quality=70)
    assert compose_caption(measure_image(first)) == compose_caption(measure_image(Image.open(file)))


def test_an_object_is_named_only_when_the_classifier_is_sure() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    assert compose_caption(measure_image(noise), "tabby cat").endswith("It resembles a tabby cat.")
    assert "resembles" not in compose_caption(measure_image(noise))


def test_frame_and_busyness_without_a_subject() -> None:
    rng = np.random.default_rng(0)
    tall = Image.fromarray(rng.integers(0, 255, (120, 80, 3), dtype=np.uint8))
    assert compose_caption(measure_image(tall)).startswith("A busy, detailed portrait picture in ")
    calm = Image.fromarray(np.linspace(30, 220, 160, dtype=np.uint8)[None, :, None].repeat(90, 0).repeat(3, 2))
    assert "landscape picture" in compose_caption(measure_image(calm))


def test_the_same_pixels_the_same_words() -> None:
    captioner = MeasuredCaptioner("cpu")
    pictures = [mug("red"), mug("blue"), mug("red")]
    first = captioner.describe_images(pictures)
    assert first[0] == first[2] != first[1]
    assert captioner.describe_images(pictures[::-1]) == first[::-1]
