"""`Quantizer`: what every quantizer is; how one is checked, saved and read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.levels import Codes, Levels, Vectors

FORMAT = "trialigngr-quantizer-1"


class Quantizer(Protocol):
    """Vectors ↔ codes through codebooks that add up in a latent space.

    Laws: `encode` gives each row the same codes whatever stands beside it; every code is within its codebook;
    ``encode(x)`` is ``levels.encode(latents(x))``; saving and loading changes no code; one seed gives the same bytes.
    """

    name: ClassVar[str]
    settings: Settings
    levels: Levels

    def fit(self, vectors_ND: Vectors, sizes: tuple[int, ...], seed: int) -> None:
        """Learn ``levels`` of ``sizes`` codes each (no more than N) and the way in and out, from N ≥ 1 vectors."""

    def latents(self, vectors_ND: Vectors) -> Vectors:
        """Return where the vectors lie in the space of the codebooks [N, Z]."""

    def encode(self, vectors_ND: Vectors) -> Codes:
        """Return one code a level [N, L]."""

    def decode(self, codes_NL: Codes) -> Vectors:
        """Return the vectors the codes stand for [N, D]; the first columns alone give the coarser answer."""

    def tensors(self) -> dict[str, Vectors]:
        """Return all that was learned, by name."""

    @classmethod
    def from_tensors(cls, settings: dict[str, Any], tensors: dict[str, Vectors]) -> Self:
        """Read what `tensors` gave."""


def check_vectors(vectors_ND: Vectors, name_of: Callable[[int], str] = lambda row: f"row {row}") -> Vectors:
    """Return the vectors as float32 [N, D]; raise `SidError` if they are no N ≥ 1 finite vectors."""
    if vectors_ND.ndim != 2 or not vectors_ND.shape[0] or not vectors_ND.shape[1]:
        raise SidError(f"Embeddings must be a table of N ≥ 1 rows and D ≥ 1 columns, not of shape {vectors_ND.shape}.")
    checked_ND = np.ascontiguousarray(vectors_ND, dtype=np.float32)
    broken_N = ~np.isfinite(checked_ND.sum(1)) & ~np.isfinite(checked_ND).all(1)
    if broken_N.any():
        first = name_of(int(broken_N.argmax()))
        raise SidError(f"{broken_N.sum()} embeddings hold NaN or infinity, the first is that of {first}; embed them again or drop them.")
    zero = int((~checked_ND.any(1)).sum())
    if zero:
        log(f"sids: {zero} of {len(checked_ND)} embeddings are all zero; they will share their codes before the collision policy")
    return checked_ND


def fitting_sizes(sizes: tuple[int, ...], n_items: int) -> tuple[int, ...]:
    """Return codebook sizes of at most ``n_items``, and say in one sentence which level shrank to what."""
    fitting = tuple(min(size, n_items) for size in sizes)
    shrunk = [f"level {level} from {size} to {fits}" for level, (size, fits) in enumerate(zip(sizes, fitting, strict=True), 1) if size != fits]
    if shrunk:
        log(f"sids: {n_items} items are fewer than the codes, so codebooks shrank: {', '.join(shrunk)}")
    return fitting


def save_quantizer(quantizer: Quantizer, path: Path) -> None:
    """Write a safetensors file whose header holds the quantizer's name and settings as JSON."""
    from safetensors.numpy import save_file

    header = {"format": FORMAT, "quantizer": quantizer.name, "settings": quantizer.settings.model_dump_json()}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in quantizer.tensors().items()}, path, metadata=header)


def load_quantizer(path: Path) -> Quantizer:
    """Read what `save_quantizer` wrote; raise `SidError` if the file is something else."""
    from safetensors import SafetensorError, safe_open

    from trialigngr.sids.quantizers.registry import quantizer_class

    if not path.is_file():
        raise SidError(f"There is no quantizer at {path}; fit one first (trialigngr sids fit).")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise SidError(f"{path} cannot be read as a quantizer: {error}.") from None
    if header.get("format") != FORMAT:
        raise SidError(f"{path} is no quantizer of this format version ({FORMAT}); fit again or use the release that wrote it.")
    return quantizer_class(header["quantizer"]).from_tensors(json.loads(header["settings"]), tensors)
