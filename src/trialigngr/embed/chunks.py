"""Chunks of an embedding run: arrays of some rows, as they are stored and put together."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trialigngr.embed.encoder import Modality
from trialigngr.foundation.chunks import ChunkStore
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


def make_chunk_store(folder: Path) -> ChunkStore[EmbeddingChunk]:
    """Return a store of chunks as safetensors files that hold their own hash."""
    return ChunkStore(folder, ".safetensors", _save_chunk, _load_chunk)


def _load_chunk(path: Path) -> EmbeddingChunk | None:
    """Return the chunk at ``path``; None when it is not there, cut short by a full disk, or not as it was stored."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping, it has keys()
            facts = json.loads(file.metadata()["facts"])
            if facts[SEAL] != _hash_arrays(arrays):
                raise ValueError("not what was stored")
            encoders = [EncoderInfo(*encoder) for encoder in facts["encoders"]]
            return EmbeddingChunk(arrays, encoders, Counter(facts["failed_images"]))
    except (SafetensorError, KeyError, ValueError, TypeError):
        path.unlink()
        return None


def _save_chunk(path: Path, chunk: EmbeddingChunk) -> None:
    facts = {"encoders": chunk.encoders, "failed_images": chunk.failed_images, SEAL: _hash_arrays(chunk.arrays)}
    with whole_file(path) as half:
        save_file(chunk.arrays, half, metadata={"facts": json.dumps(facts)})


def _hash_arrays(arrays: NamedArrays) -> str:
    return array_hash({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def concatenate_chunks(chunks: list[EmbeddingChunk]) -> EmbeddingChunk:
    """Return all chunks as one, in their order."""
    failed = sum((chunk.failed_images for chunk in chunks), Counter[str]())
    arrays = {name: np.concatenate([chunk.arrays[name] for chunk in chunks]) for name in chunks[0].arrays}
    return EmbeddingChunk(arrays, chunks[0].encoders, failed)
