"""`Quantizer`: vectors ↔ codes. Methods differ in how they fit one; what is fitted is always this."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Codebooks, Codes, Float32Array, iter_row_slices, refuse_overflow
from trialigngr.sids.quantizers.latent_spaces import SPACES, LatentSpace

FORMAT_NAME = "trialigngr-quantizer-1"
HEADER_KEY = "trialigngr"
LARGEST = 1e12
"""What a number of an embedding may be at most, either way: squares, summed over rows and dimensions, fit float32."""
SMALLEST = 1e-9
"""What the largest number of all embeddings must be at least: squares of differences do not vanish."""


@dataclass(frozen=True)
class Quantizer:
    """A space and codebooks that add up in it.

    Laws: `encode` gives a row the same codes whatever stands beside it; every code lies within its codebook; saving and
    loading changes no code; one method, one seed, the same bytes.
    """

    method: str
    settings: dict[str, Any]
    embedding_size: int
    space: LatentSpace
    codebooks: Codebooks

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes as fitted, coarse to fine."""
        return self.codebooks.codebook_sizes

    def compute_latents(self, vectors_ND: Float32Array) -> Float32Array:
        """Return where vectors lie in the space of the codebooks [N, Z]; raise `SidError` on another width D."""
        if vectors_ND.shape[1] != self.embedding_size:
            raise SidError(
                f"The quantizer was fitted on {self.embedding_size} dimensions; these vectors have "
                f"{vectors_ND.shape[1]}."
            )
        return self.space.to_latents(vectors_ND)

    def encode(self, vectors_ND: Float32Array) -> Codes:
        """Return one code a level [N, L], a block of rows at a time."""
        codes_NL = np.empty((len(vectors_ND), len(self.codebooks)), dtype=np.int32)
        for rows in iter_row_slices(len(vectors_ND)):
            codes_NL[rows] = self.codebooks.encode(self.compute_latents(vectors_ND[rows]))
        return codes_NL

    def decode(self, codes_NL: Codes) -> Float32Array:
        """Return the vectors that codes stand for [N, D]; the first columns alone give the coarser answer."""
        return self.space.to_vectors(self.codebooks.sum_codes(codes_NL))

    def save(self, path: Path) -> None:
        """Write a safetensors file whose header holds method, settings and space as JSON."""
        from safetensors.numpy import save_file

        from trialigngr.foundation.files import whole_file

        header = {
            "format": FORMAT_NAME,
            "method": self.method,
            "settings": self.settings,
            "width": self.embedding_size,
            "space": self.space.kind,
            "beam": self.codebooks.num_beams,
        }
        tensors = self.codebooks.to_tensors() | {
            f"space.{name}": tensor for name, tensor in self.space.to_tensors().items()
        }
        text = json.dumps(header)  # under one name: safetensors writes several in random order
        whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        with whole_file(path) as half:
            save_file(whole, half, metadata={HEADER_KEY: text})

    @classmethod
    def load(cls, path: Path) -> Quantizer:
        """Read what `save` wrote; raise `SidError` if the file is missing or something else."""
        header, tensors = _read_quantizer_file(path)
        space = {name.removeprefix("space."): tensor for name, tensor in tensors.items() if name.startswith("space.")}
        try:
            found = cls(
                str(header["method"]),
                dict(header["settings"]),
                int(header["width"]),
                SPACES[header["space"]].from_tensors(space),
                Codebooks.from_tensors(tensors, int(header["beam"])),
            )
            found._check_shapes()
        except (LookupError, ValueError, TypeError, SidError) as error:
            reason = str(error).rstrip(".")
            raise SidError(f"{path} holds no quantizer that fits together ({reason}); fit it again.") from None
        return found

    def _check_shapes(self) -> None:
        """Raise `ValueError` for codebooks that do not lie in one space, and for a space that is not of this width."""
        if not len(self.codebooks) or self.codebooks.num_beams < 1 or self.embedding_size < 1:
            raise ValueError("it has no codebook, no beam or no width")
        widths = {refuse_overflow(level.vectors_KD).shape[1:] for level in self.codebooks}
        if len(widths) != 1 or len(width := widths.pop()) != 1 or not min(self.codebook_sizes):
            raise ValueError("its codebooks have other shapes")
        if any(level.prices_K is not None and level.prices_K.shape != (level.num_codes,) for level in self.codebooks):
            raise ValueError("its prices are not one a code")
        for name, tensor in self.space.to_tensors().items():
            refuse_overflow(tensor)
            expected = {"mean": (self.embedding_size,), "mean_D": (self.embedding_size,)}
            expected |= dict.fromkeys(("rotation", "linear_DZ"), (self.embedding_size, *width))
            if tensor.shape != expected.get(name, tensor.shape):
                raise ValueError(f"{name} is of shape {tensor.shape}")
        if self.space.kind == "plain" and width != (self.embedding_size,):
            raise ValueError(f"codes of {width[0]} dimensions for vectors of {self.embedding_size}")


def _read_quantizer_file(path: Path) -> tuple[dict[str, Any], dict[str, Float32Array]]:
    from safetensors import SafetensorError, safe_open

    from trialigngr.foundation.artifact import MANIFEST_FILE, check_file

    if not path.is_file() and not (path.parent / MANIFEST_FILE).is_file():
        raise SidError(f"There is no quantizer at {path}; fit one first (trialigngr sids fit).")
    check_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(HEADER_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SidError(f"{path} cannot be read as a quantizer: {str(error).splitlines()[0].rstrip('.')}.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT_NAME:
        raise SidError(
            f"{path} is no quantizer of this format version ({FORMAT_NAME}); fit again or use the release that wrote "
            "it."
        )
    return header, tensors


def check_vectors(vectors_ND: Float32Array, name_of: Callable[[int], str] = lambda row: f"row {row}") -> Float32Array:
    """Return the vectors as float32 [N, D]; raise `SidError` if they are no N ≥ 1 finite vectors within `LARGEST`, or
    all of them within `SMALLEST`: where squares leave the range of float32, distances say nothing."""
    if vectors_ND.ndim != 2 or not vectors_ND.shape[0] or not vectors_ND.shape[1]:
        raise SidError(f"Embeddings must be a table of N ≥ 1 rows and D ≥ 1 columns, not of shape {vectors_ND.shape}.")
    if vectors_ND.dtype.kind not in "iuf":
        raise SidError(f"Embeddings must be real numbers, not {vectors_ND.dtype}.")
    tops_N = np.concatenate([_max_magnitudes(vectors_ND[rows]) for rows in iter_row_slices(len(vectors_ND), 4096)])
    _refuse_rows(~np.isfinite(tops_N), "hold NaN or infinity", "embed them again or drop them", name_of)
    _refuse_rows(tops_N > LARGEST, f"hold numbers beyond ±{LARGEST:g}", "scale all embeddings down", name_of)
    if 0 < tops_N.max() < SMALLEST:
        raise SidError(
            f"The largest number of all embeddings is {tops_N.max():.2g}, below {SMALLEST:g}; scale all of them up."
        )
    return np.asanyarray(vectors_ND, dtype=np.float32, order="C")  # a memory-mapped float32 file stays on disk


def _max_magnitudes(vectors_BD: Float32Array) -> npt.NDArray[np.float64]:
    """Return the largest number of each row, either way; NaN where it holds NaN."""
    rows_BD = vectors_BD if vectors_BD.dtype.kind == "f" else vectors_BD.astype(np.float64)
    return np.maximum(rows_BD.max(1), -rows_BD.min(1)).astype(np.float64)


def _refuse_rows(broken_N: npt.NDArray[np.bool_], what: str, remedy: str, name_of: Callable[[int], str]) -> None:
    if broken_N.any():
        first = name_of(int(broken_N.argmax()))
        raise SidError(f"{broken_N.sum()} embeddings {what}, the first is that of {first}; {remedy}.")


def clip_codebook_sizes(sizes: tuple[int, ...], n_items: int) -> tuple[int, ...]:
    """Return codebook sizes of at most ``n_items``."""
    return tuple(min(size, n_items) for size in sizes)


def describe_shrinkage(wanted: tuple[int, ...], sizes: tuple[int, ...]) -> str:
    """Return which level shrank to what, as text; empty when none did."""
    both = enumerate(zip(wanted, sizes, strict=True), 1)
    return ", ".join(f"level {level} from {want} to {size} codes" for level, (want, size) in both if want != size)
