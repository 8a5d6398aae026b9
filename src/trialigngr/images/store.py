"""Pictures by content in a folder: what was fetched, unpacked or reduced once is decoded small ever after.

ab/abcd….img         a picture's own bytes, of which abcd… is the hash
ab/abcd…-1024.png    the same, reduced to 1024 pixels on its longer side
sources/12/1234…     the content of an address, of which 1234… is the hash
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import get_ident
from urllib.parse import unquote_to_bytes

from trialigngr.foundation.errors import PictureError
from trialigngr.foundation.files import whole_file
from trialigngr.images.download import Fetcher, PictureSettings
from trialigngr.images.paths import DATA, is_url
from trialigngr.images.pictures import decode_picture, is_longer

HEAD = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
"""What stands before the content of a data URL."""


class PictureStore:
    """A folder of pictures, which processes may share. Used inside `catalog.pictures.quiet`, from any thread."""

    def __init__(self, folder: Path, settings: PictureSettings, fetcher: Fetcher) -> None:
        self.folder, self._settings, self._fetcher = folder, settings, fetcher

    def place(self, source: str, root: Path) -> Path | None:
        """Return where the picture is kept that ``source`` names; None for a file that serves as it is.

        Raises `PictureError`, of a file only when it can be told by its header that it must be reduced.
        """
        if re.match(DATA, source):
            return self._kept(unpacked(source, self._settings.most_bytes))
        return self._fetched(source) if is_url(source) else self._reduced(root / source)

    def _fetched(self, url: str) -> Path:
        self._fetcher.permitted(url)  # what another run kept here may be none of this run's
        source = _hash(url.encode())
        note = self.folder / "sources" / source[:2] / source
        if note.is_file() and (found := self._found(note.read_text(encoding="utf-8"))) is not None:
            return found
        kept = self._kept(self._fetcher.fetch(url))
        content = kept.stem.partition("-")[0]
        _written(note, lambda to: to.write_text(content, encoding="utf-8"))
        return kept

    def _reduced(self, path: Path) -> Path | None:
        """Return the reduced copy of a file whose picture is longer than wanted."""
        try:
            if not is_longer(path, self._settings.long_side):
                return None
            return self._found(_hash(path.read_bytes()), path)
        except PictureError:
            return None  # the stages that open it say and count why it cannot be used

    def _kept(self, body: bytes) -> Path:
        """Return where bytes are kept that hold a picture; raise `PictureError` when they hold none."""
        content = _hash(body)
        if (found := self._found(content)) is not None:
            return found
        whole = self._own(content).with_suffix(f".{os.getpid()}-{get_ident()}")
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.unlink(missing_ok=True)
        try:
            with whole.open("xb") as file:
                file.write(body)
            decode_picture(whole, self._settings.long_side)
            if is_longer(whole, self._settings.long_side):
                return self._small(content, whole)
            return whole.replace(self._own(content))
        finally:
            whole.unlink(missing_ok=True)

    def _found(self, content: str, source: Path | None = None) -> Path | None:
        """Return where a picture of some content is kept, reduced from its source if need be; None if it is not."""
        source = source or self._own(content)
        small = self._small_name(content)
        if small.is_file():
            return small
        if not source.is_file():
            return None
        return self._small(content, source) if is_longer(source, self._settings.long_side) else source

    def _small(self, content: str, source: Path) -> Path:
        """Reduce a picture, losing nothing more by it: what is kept opens to the very pixels that its source would."""
        picture = decode_picture(source, self._settings.long_side)
        return _written(self._small_name(content), lambda to: picture.save(to, "PNG", compress_level=1))

    def _own(self, content: str) -> Path:
        return self.folder / content[:2] / f"{content}.img"

    def _small_name(self, content: str) -> Path:
        return self.folder / content[:2] / f"{content}-{self._settings.long_side}.png"


def _written(path: Path, write: Callable[[Path], object]) -> Path:
    """Return ``path`` after ``write`` has filled it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as half:
        write(half)
    return path


def _hash(body: bytes) -> str:
    return sha256(body).hexdigest()[:32]


def unpacked(url: str, most: int) -> bytes:
    """Return the bytes in a ``data:`` URL; raise `PictureError` when there are more than ``most``, or it is broken."""
    head = HEAD.match(url)
    if head is None:
        raise PictureError(f"{url[:60]!r} is no data URL.", "broken")
    encoded = url[head.end() :]
    if len(encoded) > most * 4:
        raise PictureError(f"A data URL holds more than {most:,} bytes.", "too many bytes")
    body = unquote_to_bytes(encoded)
    if head[0][:-1].rstrip().lower().endswith(";base64"):
        try:
            body = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error as error:
            raise PictureError(f"A data URL is no base64 ({error}).", "broken") from None
    if len(body) > most:
        raise PictureError(f"A data URL holds more than {most:,} bytes.", "too many bytes")
    return body
