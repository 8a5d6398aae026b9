"""Hashes of a data folder: what tells a run to prepare its catalogue again."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from trialigngr.catalog.data_folder import open_data_folder, read_items
from trialigngr.catalog.scanning import list_parts
from trialigngr.foundation.artifact import hash_file
from trialigngr.images.paths import is_url


def fingerprint_data(data: Path, column_map: Mapping[str, str] | None = None) -> str:
    """Return 16 hex digits that change with the folder's place, its two tables, or any picture that the items name.

    Tables go in with their content. Pictures go in with name, size and time of last change: a million of them are too
    much to read again before every run, so a copy that keeps the times counts as the same.
    """
    folder = open_data_folder(data, column_map)
    log = _hash_table(folder.interactions_path)
    return sha256(f"{data.resolve()}\n{log}\n{fingerprint_items(folder.items_path, column_map)}".encode()).hexdigest()[
        :16
    ]


def fingerprint_items(path: Path, column_map: Mapping[str, str] | None = None) -> str:
    """Return 16 hex digits that change with an items file and with any picture that it names."""
    digest = sha256(f"{_hash_table(path)}\n".encode())
    for relative in read_items(path, column_map or {})["image_path"].drop_nulls().unique(maintain_order=True):
        if is_url(relative):
            continue  # it stands in the items file, and what lies there counts as fetched
        try:
            state = (path.parent / relative).stat()
        except (OSError, ValueError):
            digest.update(f"{relative}\0missing\n".encode())
        else:
            digest.update(f"{relative}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _hash_table(path: Path) -> str:
    """Return the hash of a file, or of its parts in their order."""
    return " ".join(map(hash_file, list_parts(path)))
