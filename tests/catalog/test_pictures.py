from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trialigngr.catalog.pictures import LONG_SIDE, MAX_BYTES, count_reasons, open_picture
from trialigngr.foundation.errors import PictureError


def reason(path: Path) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(path)
    assert str(caught.value).endswith(".")
    assert path.name in str(caught.value)
    return caught.value.reason


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    assert reason(picture) == "missing"
    picture.mkdir()
    assert reason(picture) == "missing"
    empty = tmp_path / "b.png"
    empty.touch()
    assert reason(empty) == "empty"
    words = tmp_path / "c.png"
    words.write_text("not pixels at all")
    assert reason(words) == "not a picture"
    script = tmp_path / "d.eps"
    script.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert reason(script) == "not a picture"


def test_half_a_picture_is_broken(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for name in ("a.jpg", "a.png", "a.webp"):
        path = tmp_path / name
        whole.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert reason(path) == "broken"


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(side, side))
    assert reason(path) == "too many pixels"


def test_too_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    with path.open("wb") as file:
        file.write(png_claiming(4, 4))
        file.truncate(MAX_BYTES + 1)
    assert reason(path) == "too many bytes"


def test_alpha_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert open_picture(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    assert open_picture(tmp_path / "half.png").getpixel((0, 0)) == (127, 127, 127)


def test_other_colour_models_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    Image.new("L", (4, 4), 99).save(tmp_path / "l.png")
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "deep.png")
    assert open_picture(tmp_path / "c.tif").getpixel((0, 0)) == (255, 0, 0)
    assert open_picture(tmp_path / "l.png").getpixel((0, 0)) == (99, 99, 99)
    assert open_picture(tmp_path / "deep.png").getpixel((0, 0)) == (127, 127, 127)


def test_upright_by_exif(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    opened = open_picture(tmp_path / "turned.jpg")
    assert opened.size == (20, 40)
    assert opened.getpixel((10, 2))[0] < 30
    assert opened.getpixel((10, 38))[0] > 225


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_picture(tmp_path / "moving.gif").getpixel((4, 4)) == (255, 0, 0)


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500), "green").save(tmp_path / "large.jpg")
    opened = open_picture(tmp_path / "large.jpg")
    assert max(opened.size) <= LONG_SIDE
    assert opened.size[0] == 2 * opened.size[1]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="every file is readable here")
def test_a_file_without_permission_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    Image.new("RGB", (4, 4)).save(path)
    path.chmod(0)
    assert reason(path) == "broken"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_never_escapes_as_another_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    name = data.draw(st.sampled_from(["d.jpg", "d.png", "d.gif", "d.webp", "d.tif", "d.bmp"]))
    whole = folder / f"whole-{name}"
    if not whole.exists():
        rng = np.random.default_rng(1)
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(whole)
    damaged = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = folder / name
    path.write_bytes(bytes(damaged))
    with suppress(PictureError):
        assert open_picture(path).mode == "RGB"


def test_reasons_are_counted() -> None:
    assert count_reasons([None, "broken", "missing", "broken"]) == {"broken": 2, "missing": 1}
