"""A thousand mutated pictures of eight formats, and the memory of sixteen large ones that are opened at once."""

from __future__ import annotations

import io
import random
import resource
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.attacks.cases import Outcome, count_ends, try_cases
from benchmarks.harness import Check, at_least, below, peak_memory
from trialigngr.foundation.errors import ImageError
from trialigngr.images.image_open import exceeds_longest_edge, ignore_pillow_warnings, open_image
from trialigngr.images.settings import LONGEST_EDGE

SEED = 27
MUTATED = 1000
SECONDS = 20.0
WIDTH, HEIGHT = 150, 100
GOOD = {"opened", "refused"}
LARGE, THREADS, GOAL_GB = (8000, 8000), 16, 1.5
MOST_ADDRESSES = 12 * 1024**3
"""Bytes that the process may ask for whose memory is measured, so that a fault does not take the machine's."""


def measure(folder: Path) -> list[Check]:
    """Return how the mutated pictures were met, and the peak of the large ones."""
    cases = {case.name: case for case in mutations(MUTATED)}
    ends = count_ends("mutated pictures", try_cases(meet, cases, folder / "pictures.jsonl", SECONDS), GOOD)
    raised = sum(ends[end] for end in ("traceback", "abort", "hang"))
    peak, opened = _large(folder)
    return [
        below(f"{len(cases)} mutated pictures: raised something else, aborted or hung", raised, 1),
        below("… cut, and opened as something else than they were", ends["half a picture"], 1),
        below(f"peak memory of {THREADS} pictures of 64 megapixels in {THREADS} threads", peak / 1e9, GOAL_GB, "GB"),
        at_least("… of which so many opened", opened, THREADS),
    ]


# --- what is mutated ---


def _drawn() -> Image.Image:
    """Return a picture with edges, slopes and noise, and no two rows alike."""
    noise = np.random.default_rng(SEED).integers(0, 60, (HEIGHT, WIDTH, 3))
    slope = np.linspace(0, 160, HEIGHT)[:, None, None] + np.linspace(0, 35, WIDTH)[None, :, None]
    return Image.fromarray((noise + slope).astype(np.uint8))


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@cache
def sound_pictures() -> dict[str, list[bytes]]:
    """Return whole pictures by format, several kinds of each."""
    plain = _drawn()
    grey, clear, few = plain.convert("L"), plain.convert("RGBA"), plain.quantize(64)
    clear.putalpha(grey)
    blocks = plain.resize((15, 10)).resize(plain.size, Image.Resampling.NEAREST)  # a small file, read in one piece
    deep, real = Image.fromarray(np.asarray(grey, np.uint16) * 257), Image.fromarray(np.asarray(grey, np.float32))
    turned = Image.Exif()
    turned[0x0112] = 6
    more = {"save_all": True, "append_images": [plain.rotate(90), plain.rotate(180)]}
    return {
        "png": [_saved(one, "PNG") for one in (plain, clear, few, deep, grey.convert("1"), blocks)],
        "jpeg": [
            *(_saved(plain, "JPEG"), _saved(plain, "JPEG", progressive=True, exif=turned), _saved(grey, "JPEG")),
            *(_saved(plain.convert("CMYK"), "JPEG"), _saved(plain, "MPO", **more)),
        ],
        "gif": [_saved(few, "GIF"), _saved(plain, "GIF", **more), _saved(few, "GIF", transparency=3)],
        "webp": [_saved(plain, "WEBP"), _saved(clear, "WEBP", lossless=True), _saved(plain, "WEBP", **more)],
        "bmp": [_saved(one, "BMP") for one in (plain, grey, few, grey.convert("1"))],
        "tiff": [
            *(_saved(plain, "TIFF"), _saved(clear, "TIFF", compression="tiff_lzw"), _saved(deep, "TIFF")),
            *(_saved(real, "TIFF", compression="tiff_deflate"), _saved(plain, "TIFF", compression="jpeg")),
            _saved(grey.convert("1"), "TIFF", compression="group4"),
        ],
        "avif": [_saved(plain, "AVIF"), _saved(clear, "AVIF"), _saved(plain, "AVIF", **more)],
        "ppm": [_saved(plain, "PPM"), _saved(few, "ICO")],
    }


@dataclass(frozen=True)
class Mutation:
    """A picture, which kind of its format, how it is mutated, and the number that chance depends on."""

    form: str
    kind: int
    how: str
    number: int

    @property
    def name(self) -> str:
        """What the case is called."""
        return f"{self.form} {self.kind}, {self.how}, {self.number}"


def _some_bytes(body: bytes, draw: random.Random) -> bytes:
    out = bytearray(body)
    for _ in range(draw.choice((2, 5, 20))):
        out[draw.randrange(len(out))] = draw.randrange(256)
    return bytes(out)


def _one_byte(body: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(min(len(body), draw.choice((64, 500, 500, len(body)))))
    return body[:place] + bytes([draw.choice((body[place] ^ 0xFF, 0, 255, body[place] ^ 1))]) + body[place + 1 :]


def _inserted(body: bytes, draw: random.Random) -> bytes:
    place, length = draw.randrange(len(body)), draw.choice((1, 4, 100, 5000))
    return body[:place] + draw.choice((draw.randbytes(length), b"\0" * length, body[:length])) + body[place:]


def _taken_out(body: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(body))
    return body[:place] + body[place + draw.choice((1, 4, 100)) :]


def _header_sizes(body: bytes, draw: random.Random) -> bytes:
    """Return the picture with another width or height wherever its header may say one."""
    layout = draw.choice((">I", "<I", ">H", "<H"))
    largest = 2 ** (8 * struct.calcsize(layout)) - 1
    old = struct.pack(layout, draw.choice((WIDTH, HEIGHT, WIDTH - 1, HEIGHT - 1)))
    new = struct.pack(layout, min(draw.choice((0, 1, 99, 8000, 65535, 2**31 - 1, 2**32 - 1)), largest))
    head = body[:600].replace(old, new)
    return (head if head != body[:600] else _one_byte(body[:60], draw) + body[60:600]) + body[600:]


def _ended_early(body: bytes, draw: random.Random) -> bytes:
    """Return the picture without the last of its rows, whole in its form: of a PNG every checksum fits."""
    if not body.startswith(b"\x89PNG"):
        place = draw.randrange(len(body) // 4, len(body) - 40)
        return body[:place] + body[-2:]
    out, rows, at = [body[:8]], b"", 8
    while at < len(body):
        (length,), kind = struct.unpack_from(">I", body, at), body[at + 4 : at + 8]
        inside, at = body[at + 8 : at + 8 + length], at + 12 + length
        if kind == b"IDAT":
            rows += inside
            continue
        if kind == b"IEND":
            pixels = zlib.decompress(rows)
            pixels = pixels[: len(pixels) // HEIGHT * draw.randrange(1, HEIGHT)]
            packer = zlib.compressobj()
            end = draw.choice((zlib.Z_FINISH, zlib.Z_SYNC_FLUSH))
            out.append(_chunk(b"IDAT", packer.compress(pixels) + packer.flush(end)))
        out.append(_chunk(kind, inside))
    return b"".join(out)


def _chunk(kind: bytes, inside: bytes) -> bytes:
    return struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(kind + inside))


CUT = ("cut", "ended early")
"""Mutations after which a picture must be refused, or open as what it was."""
MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "one byte": _one_byte,
    "some bytes": _some_bytes,
    "cut": lambda body, draw: body[: draw.randrange(1, len(body))],
    "ended early": _ended_early,
    "inserted": _inserted,
    "taken out": _taken_out,
    "header sizes": _header_sizes,
}


def mutations(count: int) -> Iterator[Mutation]:
    """Yield so many cases, formats in turn."""
    forms, hows = sound_pictures(), list(MUTATIONS)
    for number in range(count):
        form = list(forms)[number % len(forms)]
        turn = number // len(forms)
        yield Mutation(form, turn // len(hows) % len(forms[form]), hows[turn % len(hows)], number)


def mutated(case: Mutation) -> bytes:
    """Return the bytes of a case."""
    return MUTATIONS[case.how](sound_pictures()[case.form][case.kind], random.Random(f"{SEED} {case.name}"))


def meet(case: Mutation) -> Outcome:
    """Return what opening a mutated picture came to. What lacks its end must be refused, or open as what it was."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"picture.{case.form}"
        path.write_bytes(mutated(case))
        try:
            with ignore_pillow_warnings():
                exceeds_longest_edge(path, LONGEST_EDGE)
            picture = open_image(path)
        except ImageError as error:
            return Outcome("refused", error.reason)
        assert picture.mode == "RGB", picture.mode
        assert max(picture.size) <= LONGEST_EDGE, picture.size
        if case.how not in CUT:
            return Outcome("opened")
        path.write_bytes(sound_pictures()[case.form][case.kind])
        whole = open_image(path)
        same = whole.size == picture.size and whole.tobytes() == picture.tobytes()
        return Outcome("opened" if same else "half a picture", f"{len(mutated(case))} of {path.stat().st_size} bytes")


# --- the large ones ---


def _large(folder: Path) -> tuple[int, int]:
    """Return the peak memory of opening the large pictures, and how many opened."""
    pictures = folder / "large"
    made = try_cases(draw_large, {str(n): (n, pictures) for n in range(THREADS)}, folder / "large.jsonl", 300)
    count_ends("large pictures", made, {"drawn"})
    if not (pictures / "peak").exists():
        peak = peak_memory([sys.executable, "-m", "benchmarks.attacks.pictures", str(pictures)])
        (pictures / "peak").write_text(f"{peak}", encoding="utf-8")
    return int((pictures / "peak").read_text("utf-8")), int((pictures / "opened").read_text("utf-8"))


LARGE_KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("RGB", "PNG", {}),
    ("RGBA", "PNG", {}),
    ("P", "PNG", {"transparency": 1}),
    ("I;16", "PNG", {}),
    ("LA", "PNG", {}),
    ("1", "PNG", {}),
    ("RGB", "JPEG", {"progressive": True}),
    ("CMYK", "JPEG", {}),
    ("RGBA", "WEBP", {"lossless": True, "method": 0}),
    ("RGB", "WEBP", {"method": 0}),
    ("P", "GIF", {}),
    ("RGBA", "TIFF", {"compression": "tiff_lzw"}),
    ("F", "TIFF", {"compression": "tiff_deflate"}),
    ("I;16", "TIFF", {"compression": "tiff_deflate"}),
    ("1", "BMP", {}),
    ("RGB", "AVIF", {"speed": 10}),
)
"""Mode, format and options: every way in which a picture is opened."""


def draw_large(case: tuple[int, Path]) -> Outcome:
    """Draw the n-th large picture into a file of a few hundred kilobytes."""
    number, folder = case
    mode, form, options = LARGE_KINDS[number]
    folder.mkdir(exist_ok=True, parents=True)
    Image.new(mode, LARGE).save(folder / f"{number:02}.{form.lower()}", form, **options)
    return Outcome("drawn", f"{mode} {form}")


def main(folder: Path) -> None:
    """Open every picture of a folder, each in a thread of its own, and write down how many opened."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    paths = sorted(path for path in folder.iterdir() if path.suffix)

    def opens(path: Path) -> bool:
        try:
            return max(open_image(path).size) == LONGEST_EDGE
        except ImageError as error:
            print(error)
            return False

    with ThreadPoolExecutor(THREADS) as pool:
        opened = sum(pool.map(opens, paths))
    (folder / "opened").write_text(f"{opened}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
