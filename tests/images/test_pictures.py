from __future__ import annotations

import gc
import io
import os
import struct
import traceback
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from trialigngr.foundation.errors import ImageError
from trialigngr.foundation.memory import MemoryBudget
from trialigngr.images.image_open import (
    BUDGET,
    BYTES_A_PIXEL,
    HEAD,
    MAX_PIXELS,
    MAX_SIDE,
    count_reasons,
    decode_image,
    ignore_pillow_warnings,
    open_image,
)
from trialigngr.images.settings import LONGEST_EDGE, MAX_BYTES


def reason(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert str(caught.value).endswith(".")
    assert path.name in str(caught.value)
    return caught.value.reason


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


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
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    assert open_image(tmp_path / "half.png").getpixel((0, 0)) == (127, 127, 127)


def test_other_colour_models_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    Image.new("L", (4, 4), 99).save(tmp_path / "l.png")
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "deep.png")
    assert open_image(tmp_path / "c.tif").getpixel((0, 0)) == (255, 0, 0)
    assert open_image(tmp_path / "l.png").getpixel((0, 0)) == (99, 99, 99)
    assert open_image(tmp_path / "deep.png").getpixel((0, 0)) == (127, 127, 127)


def test_upright_by_exif(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    opened = open_image(tmp_path / "turned.jpg")
    assert opened.size == (20, 40)
    assert opened.getpixel((10, 2))[0] < 30
    assert opened.getpixel((10, 38))[0] > 225


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "moving.gif").getpixel((4, 4)) == (255, 0, 0)


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500), "green").save(tmp_path / "large.jpg")
    opened = open_image(tmp_path / "large.jpg")
    assert max(opened.size) <= LONGEST_EDGE
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
    with suppress(ImageError):
        assert open_image(path).mode == "RGB"


def test_reasons_are_counted() -> None:
    assert count_reasons([None, "broken", "missing", "broken"]) == {"broken": 2, "missing": 1}


def noisy(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(3).integers(0, 256, (100, 60, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def png_of(picture: Image.Image, rows: int) -> bytes:
    """Return a PNG without a fault but that its pixels end after some rows."""
    held = io.BytesIO()
    picture.save(held, "PNG")
    whole, place, out, pixels = held.getvalue(), 8, held.getvalue()[:8], b""
    while place < len(whole):
        length = int.from_bytes(whole[place : place + 4])
        kind, body = whole[place + 4 : place + 8], whole[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IDAT":
            pixels += body
            continue
        if kind == b"IEND":
            raw = zlib.decompress(pixels)
            out += png_chunk(b"IDAT", zlib.compress(raw[: len(raw) * rows // picture.height]))
        out += png_chunk(kind, body)
    return out


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_png_whose_rows_end_early_is_broken(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "short.png"
    for picture in (noisy(mode), Image.new("RGB", (60, 100), "black").convert(mode)):
        for rows in (10, 99):
            path.write_bytes(png_of(picture, rows))
            assert reason(path) == "broken"
        path.write_bytes(png_of(picture, 100))
        assert open_image(path).size == (60, 100)


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("clear", [{}, {"transparency": 5}])
def test_a_gif_whose_rows_end_early_is_broken(tmp_path: Path, interlace: int, clear: dict[str, int]) -> None:
    path = tmp_path / "short.gif"
    noisy().crop((0, 0, 60, 30)).convert("P").save(path, interlace=interlace, **clear)
    assert open_image(path).size == (60, 30)
    body = bytearray(path.read_bytes())
    frame = body.index(b"\x2c\0\0\0\0")
    body[8:10] = body[frame + 7 : frame + 9] = struct.pack("<H", 100)
    path.write_bytes(bytes(body))
    assert reason(path) == "broken"


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_ends_early_but_properly_is_broken(tmp_path: Path, mode: str, how: dict[str, int]) -> None:
    path = tmp_path / "short.jpg"
    noisy(mode).save(path, **how)
    whole = path.read_bytes()
    assert open_image(path).size == (60, 100)
    for share in (0.3, 0.6, 0.9, 0.97):
        path.write_bytes(whole[: int(len(whole) * share)] + b"\xff\xd9")
        assert reason(path) == "broken"


@pytest.mark.parametrize("level", [85, 127, 128, 171])
@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.avif"])
def test_a_picture_of_one_grey_is_whole(tmp_path: Path, name: str, level: int) -> None:
    Image.new("RGB", (60, 40), (level, level, level)).save(tmp_path / name)
    assert open_image(tmp_path / name).size == (60, 40)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.webp", "a.bmp", "a.tif", "a.avif", "a.mpo"])
def test_a_changed_byte_is_a_broken_picture_or_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    noisy().crop((0, 0, 24, 24)).save(path, **({"save_all": True} if name.endswith("mpo") else {}))
    whole, rng = path.read_bytes(), np.random.default_rng(4)
    for place in rng.integers(0, len(whole), 60).tolist() + list(range(60)):
        path.write_bytes(whole[:place] + bytes([int(rng.integers(256))]) + whole[place + 1 :])
        with suppress(ImageError):
            assert open_image(path).mode == "RGB"


def test_a_decoder_s_own_error_is_a_broken_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OddError(Exception):
        pass

    def fail(*_: object) -> None:
        raise OddError

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_end", fail)
    assert reason(tmp_path / "a.png") == "broken"


@pytest.mark.parametrize("size", [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)])
def test_a_side_has_its_limit(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("1", size).save(tmp_path / "long.png")
    assert reason(tmp_path / "long.png") == "too many pixels"


def test_bands_change_no_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = Image.fromarray(np.random.default_rng(5).integers(0, 1 << 16, (50, 40), dtype=np.uint16))
    made = {"deep.png": deep, "rgba.png": noisy("RGBA"), "la.png": noisy("LA"), "p.png": noisy("P")}
    made |= {"float.tif": Image.fromarray(np.random.default_rng(6).random((50, 40), dtype=np.float32))}
    for name, picture in made.items():
        picture.save(tmp_path / name)
    whole = {name: open_image(tmp_path / name).tobytes() for name in made}
    monkeypatch.setattr("trialigngr.images.image_open.BAND", 130)
    assert {name: open_image(tmp_path / name).tobytes() for name in made} == whole
    values_HW = np.asarray(deep, np.float64)
    assert whole["deep.png"] == np.repeat((values_HW / 65535 * 255).astype(np.uint8)[..., None], 3, -1).tobytes()


def test_threads_share_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pictures fit at one time, whatever the number of threads; and all are opened."""
    most = 2 * (BYTES_A_PIXEL * 600 * 500 + HEAD) + 50_000
    budget, seen = MemoryBudget(most), []

    class Watched(MemoryBudget):
        @contextmanager
        def reserve(self, size: int) -> Iterator[None]:
            with budget.reserve(size):
                seen.append(budget.used)
                yield

    monkeypatch.setattr("trialigngr.images.image_open.BUDGET", Watched(0))
    Image.new("RGB", (600, 500), "red").save(tmp_path / "a.png")
    with ignore_pillow_warnings(), ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: decode_image(tmp_path / "a.png", 1024), range(24)))
    assert {one.size for one in opened} == {(600, 500)}
    assert most / 3 < max(seen) <= most
    assert budget.used == 0


def test_the_largest_picture_fits_the_budget() -> None:
    assert BYTES_A_PIXEL * MAX_PIXELS + 2 * MAX_BYTES + HEAD <= BUDGET.most < 1.3e9


def test_an_error_holds_no_pixels(tmp_path: Path) -> None:
    """Hundreds of errors wait to be counted; each would keep the frames of its decoder, and what they hold."""
    (tmp_path / "short.png").write_bytes(png_of(noisy(), 10))
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "short.png")
    assert caught.value.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert not [one for frame in frames for one in frame.f_locals.values() if isinstance(one, Image.Image)]


def test_a_picture_is_gone_with_its_last_user(tmp_path: Path) -> None:
    def alive() -> int:
        return sum(type(one) is WebPImageFile for one in gc.get_objects())

    noisy("RGBA").save(tmp_path / "a.webp")
    gc.collect()
    before = alive()
    gc.disable()
    try:
        open_image(tmp_path / "a.webp")
        assert alive() == before
    finally:
        gc.enable()
