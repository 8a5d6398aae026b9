"""Finished chunks of an embedding run on disk, so that a killed stage goes on where it stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass
class Chunk:
    """Arrays of one run of rows, and how many of their pictures failed, by reason."""

    arrays: Arrays
    failed: Counter[str] = field(default_factory=Counter)


def kept_chunk(path: Path, make: Callable[[], Chunk]) -> Chunk:
    """Return the chunk stored at ``path``, or make it and store it whole."""
    if path.exists():
        try:
            return _read(path)
        except (SafetensorError, KeyError, ValueError):
            path.unlink()  # cut short by a full disk: as good as not there
    chunk = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    save_file(chunk.arrays, temporary, metadata={"failed": json.dumps(chunk.failed)})
    temporary.replace(path)
    return chunk


def _read(path: Path) -> Chunk:
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping, it only has keys()
        return Chunk(arrays, Counter(json.loads(file.metadata()["failed"])))


def joined(chunks: list[Chunk]) -> Chunk:
    """Return all chunks as one, in their order."""
    names = chunks[0].arrays
    failed = sum((chunk.failed for chunk in chunks), Counter[str]())
    return Chunk({name: np.concatenate([chunk.arrays[name] for chunk in chunks]) for name in names}, failed)


def remove_chunks(folder: Path) -> None:
    """Delete the stored chunks: the stage has written what they were for."""
    shutil.rmtree(folder, ignore_errors=True)
