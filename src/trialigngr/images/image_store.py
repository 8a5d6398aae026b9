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

from trialigngr.foundation.errors import ImageError
from trialigngr.foundation.files import whole_file
from trialigngr.images.download import ImageDownloader
from trialigngr.images.image_open import decode_image, exceeds_longest_edge
from trialigngr.images.paths import DATA_URL_PATTERN, is_url
from trialigngr.images.settings import ImageSettings

DATA_URL_HEAD = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
"""What stands before the content of a data URL."""


class ImageStore:
    """A folder of pictures, which processes may share. Used inside `image_open.ignore_pillow_warnings`, from any
    thread."""

    def __init__(self, folder: Path, settings: ImageSettings, downloader: ImageDownloader) -> None:
        self.folder, self._settings, self._downloader = folder, settings, downloader

    def store_image(self, source: str, root: Path) -> Path | None:
        """Return where the picture is kept that ``source`` names; None for a file that serves as it is.

        Raises `ImageError`, of a file only when it can be told by its header that it must be reduced.
        """
        if re.match(DATA_URL_PATTERN, source):
            return self._store_bytes(decode_data_url(source, self._settings.max_bytes))
        return self._store_download(source) if is_url(source) else self._reduce_file(root / source)

    def _store_download(self, url: str) -> Path:
        self._downloader.parse_allowed_url(url)  # what another run kept here may be none of this run's
        source = _hash_bytes(url.encode())
        note = self.folder / "sources" / source[:2] / source
        if note.is_file() and (found := self._find_image(note.read_text(encoding="utf-8"))) is not None:
            return found
        kept = self._store_bytes(self._downloader.download_bytes(url))
        content = kept.stem.partition("-")[0]
        _write_atomically(note, lambda to: to.write_text(content, encoding="utf-8"))
        return kept

    def _reduce_file(self, path: Path) -> Path | None:
        """Return the reduced copy of a file whose picture is longer than wanted."""
        try:
            if not exceeds_longest_edge(path, self._settings.longest_edge):
                return None
            return self._find_image(_hash_bytes(path.read_bytes()), path)
        except ImageError:
            return None  # the stages that open it say and count why it cannot be used

    def _store_bytes(self, body: bytes) -> Path:
        """Return where bytes are kept that hold a picture; raise `ImageError` when they hold none."""
        content = _hash_bytes(body)
        if (found := self._find_image(content)) is not None:
            return found
        whole = self._original_path(content).with_suffix(f".{os.getpid()}-{get_ident()}")
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.unlink(missing_ok=True)
        try:
            with whole.open("xb") as file:
                file.write(body)
            decode_image(whole, self._settings.longest_edge)
            if exceeds_longest_edge(whole, self._settings.longest_edge):
                return self._write_small_copy(content, whole)
            return whole.replace(self._original_path(content))
        finally:
            whole.unlink(missing_ok=True)

    def _find_image(self, content: str, source: Path | None = None) -> Path | None:
        """Return where a picture of some content is kept, reduced from its source if need be; None if it is not."""
        source = source or self._original_path(content)
        small = self._small_path(content)
        if small.is_file():
            return small
        if not source.is_file():
            return None
        return (
            self._write_small_copy(content, source)
            if exceeds_longest_edge(source, self._settings.longest_edge)
            else source
        )

    def _write_small_copy(self, content: str, source: Path) -> Path:
        """Reduce a picture, losing nothing more by it: what is kept opens to the very pixels that its source would."""
        picture = decode_image(source, self._settings.longest_edge)
        return _write_atomically(self._small_path(content), lambda to: picture.save(to, "PNG", compress_level=1))

    def _original_path(self, content: str) -> Path:
        return self.folder / content[:2] / f"{content}.img"

    def _small_path(self, content: str) -> Path:
        return self.folder / content[:2] / f"{content}-{self._settings.longest_edge}.png"


def _write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Return ``path`` after ``write`` has filled it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as half:
        write(half)
    return path


def _hash_bytes(body: bytes) -> str:
    return sha256(body).hexdigest()[:32]


def decode_data_url(url: str, max_bytes: int) -> bytes:
    """Return the bytes in a ``data:`` URL; raise `ImageError` when there are more than ``max_bytes``, or it is
    broken."""
    head = DATA_URL_HEAD.match(url)
    if head is None:
        raise ImageError(f"{url[:60]!r} is no data URL.", "broken")
    encoded = url[head.end() :]
    if len(encoded) > max_bytes * 4:
        raise ImageError(f"A data URL holds more than {max_bytes:,} bytes.", "too many bytes")
    body = unquote_to_bytes(encoded)
    if head[0][:-1].rstrip().lower().endswith(";base64"):
        try:
            body = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error as error:
            raise ImageError(f"A data URL is no base64 ({error}).", "broken") from None
    if len(body) > max_bytes:
        raise ImageError(f"A data URL holds more than {max_bytes:,} bytes.", "too many bytes")
    return body
