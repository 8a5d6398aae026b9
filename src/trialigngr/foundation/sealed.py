"""JSON files that say of themselves whether they are as they were written, and digests of files and of arrays."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import write_text_atomically

SEAL = "sha256"
"""The key under which a sealed file holds the hash of all the rest."""
BLOCK = 1 << 26
"""Bytes that one thread hashes."""


def seal_of(body: Mapping[str, Any]) -> str:
    """Return the hash of what a JSON object says, however it is laid out, but for its seal."""
    rest = {key: value for key, value in body.items() if key != SEAL}
    return sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_json(path: Path, body: Mapping[str, Any], indent: int | None = 2, **how: Any) -> dict[str, Any]:
    """Write ``body`` with its seal, atomically, and return both as they will be read back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(body), default=str))
    sealed = {key: value for key, value in plain.items() if key != SEAL} | {SEAL: seal_of(plain)}
    write_text_atomically(path, json.dumps(sealed, indent=indent, **how) + "\n")
    return sealed


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Return what `write_json` wrote; raise `ArtifactError`, which ends with ``remedy``, when it is not that."""
    try:
        body: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(body, dict) and body.get(SEAL) == seal_of(body):
            return body
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; {remedy}") from None
    except (ValueError, RecursionError):  # no UTF-8, or no JSON
        pass
    raise ArtifactError(f"{path} is damaged: it is not as it was written; {remedy}")


def content_hash(path: Path) -> str:
    """Return a file's SHA-256; of more than 64 MiB, that of its blocks' hashes, so that all cores take part."""
    size = path.stat().st_size
    if size <= BLOCK:
        return _block_hash(path, 0).hex()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = pool.map(lambda start: _block_hash(path, start), range(0, size, BLOCK))
        return sha256(b"".join(hashes)).hexdigest()


def _block_hash(path: Path, start: int) -> bytes:
    digest = sha256()
    with path.open("rb") as file:
        file.seek(start)
        left = BLOCK
        while left and (part := file.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
    return digest.digest()


def array_hash(arrays: Mapping[str, Any]) -> str:
    """Return a SHA-256 over the names and bytes of arrays, whatever their order."""
    names = sorted(arrays)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = pool.map(lambda name: sha256(memoryview(arrays[name])).hexdigest(), names)
        return sha256(json.dumps(list(zip(names, hashes, strict=True))).encode()).hexdigest()
