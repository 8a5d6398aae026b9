"""Files that are written whole or not at all, and never through a link that somebody laid in their place."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import IO

from trialigngr.foundation.errors import ArtifactError

HALF = ".half"
"""What names of files end with, and begin with a dot, that are being written: a kill may leave them."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give an empty file beside ``path`` to write to, and put it in the place of ``path`` when that went well.

    A link at ``path`` is replaced, not followed. The file gets the rights of any new file, whoever wrote it.
    """
    half = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}{HALF}")
    half.unlink(missing_ok=True)
    opened = os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # O_EXCL follows no link
    rights = stat.S_IMODE(os.fstat(opened).st_mode)
    os.close(opened)
    try:
        yield half
        if stat.S_IMODE(half.stat().st_mode) != rights:
            half.chmod(rights)  # safetensors writes what its owner alone may read
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the whole new one."""
    with whole_file(path) as half:
        half.write_text(text, encoding="utf-8")


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file's content so that a reader sees the old file or the whole new one."""
    with whole_file(path) as half:
        shutil.copyfile(source, half)


def remove_halves(folder: Path, pattern: str = "**/*") -> None:
    """Remove what a kill left of files in ``folder`` and below it that were being written."""
    for path in list(folder.glob(pattern)):
        if path.name.startswith(".") and path.name.endswith(HALF):
            remove_path(path)


def remove_path(path: Path) -> None:
    """Remove a folder with all that is in it, a file, or a link (not what it leads to); nothing where nothing is."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def check_is_own_file(path: Path) -> None:
    """Raise `ArtifactError` for a link, and for what is there and is no file."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ArtifactError(f"{path} is no file of this program but a link or a folder; remove it and run again.")


def open_own_file(path: Path) -> IO[bytes]:
    """Open a file to read and to write, made where it is missing, and never emptied; raise as `check_is_own_file`."""
    check_is_own_file(path)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)


def refuse_links(folder: Path, but: tuple[str, ...] = ()) -> None:
    """Raise `ArtifactError` when something below ``folder``, or the folder, is a link: what is written there could
    fall upon files elsewhere. Of folders named in ``but`` only the folder itself is looked at."""
    if folder.is_symlink():
        raise ArtifactError(f"{folder} is a link, and what is written there would lie elsewhere; remove it, run again.")
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            if (Path(where) / name).is_symlink():
                raise ArtifactError(f"{Path(where) / name} is a link; remove it and run again.")
        folders[:] = [name for name in folders if name not in but]
