"""Finished chunks of an embedding run on disk, so that a killed stage goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trialigngr.embed.encoder import Modality
from trialigngr.foundation.files import whole_file
from trialigngr.foundation.sealed import SEAL, array_hash

NamedArrays = dict[str, npt.NDArray[np.generic]]


class EncoderInfo(NamedTuple):
    """Which encoder made an array: its name, what it looks at, its share among those that see the same."""

    name: str
    modality: Modality
    weight: float


@dataclass
class EmbeddingChunk:
    """Arrays of one run of rows, who made them, and how many of their pictures failed, by reason."""

    arrays: NamedArrays
    encoders: list[EncoderInfo]
    failed_images: Counter[str] = field(default_factory=Counter)


def load_chunk(path: Path) -> EmbeddingChunk | None:
    """Return the chunk at ``path``; None when it is not there, cut short by a full disk, or not as it was stored."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping, it has keys()
            told = json.loads(file.metadata()["told"])
            if told[SEAL] != _hash_arrays(arrays):
                raise ValueError("not what was stored")
            return EmbeddingChunk(arrays, [EncoderInfo(*one) for one in told["seen"]], Counter(told["failed"]))
    except (SafetensorError, KeyError, ValueError, TypeError):
        path.unlink()
        return None


def save_chunk(path: Path, chunk: EmbeddingChunk) -> EmbeddingChunk:
    """Store a chunk whole or not at all, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"seen": chunk.encoders, "failed": chunk.failed_images, SEAL: _hash_arrays(chunk.arrays)}
    with whole_file(path) as half:
        save_file(chunk.arrays, half, metadata={"told": json.dumps(told)})
    return chunk


def _hash_arrays(arrays: NamedArrays) -> str:
    return array_hash({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def concatenate_chunks(chunks: list[EmbeddingChunk]) -> EmbeddingChunk:
    """Return all chunks as one, in their order."""
    failed = sum((chunk.failed_images for chunk in chunks), Counter[str]())
    arrays = {name: np.concatenate([chunk.arrays[name] for chunk in chunks]) for name in chunks[0].arrays}
    return EmbeddingChunk(arrays, chunks[0].encoders, failed)


def remove_chunks(folder: Path) -> None:
    """Delete the stored chunks: the stage has written what they were for."""
    shutil.rmtree(folder, ignore_errors=True)
