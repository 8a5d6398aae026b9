"""Randomness is an argument: one root seed, and a child for every named use of it."""

from __future__ import annotations

from hashlib import sha256


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on ``seed`` and the names alone (stable over processes and versions)."""
    digest = sha256("\x1f".join(str(part) for part in (seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
