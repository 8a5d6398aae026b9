"""Late fusion: blocks from several encoders become one unit vector an item. What was fitted is kept for new items."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import whole_file
from trialigngr.images.colors import Float32Array

PCA_KEY = "whole"
"""What the whole vector's reduction is called in the file."""


@dataclass(frozen=True)
class EncoderBlock:
    """What one encoder gave: ``vectors_ND``, for which rows it means anything, and its weight in the fused vector.

    ``max_dimensions`` is the most dimensions it may keep; ``center`` takes the mean item off (what an encoder that sees
    both text and picture gives is left as it is), and without it directions are those about the origin.
    """

    vectors_ND: Float32Array
    present_N: npt.NDArray[np.bool_]
    weight: float
    max_dimensions: int | None = None
    center: bool = True


def l2_normalize(vectors_ND: npt.NDArray[np.floating]) -> Float32Array:
    """Return the rows at length 1; a row of zeros stays zeros."""
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.where(length_N1 > 1e-12, length_N1, 1)).astype(np.float32)


def pca_directions(centred_ND: npt.NDArray[np.float64], dimensions: int) -> npt.NDArray[np.float64]:
    """Return the principal directions [D, d] of centred rows, the largest first; the sign of each is fixed."""
    values, vectors_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    keep = np.argsort(-values, kind="stable")[: min(dimensions, int((values > 1e-9 * values.max()).sum()))]
    chosen_Dd: npt.NDArray[np.float64] = vectors_DD[:, keep]
    leading = chosen_Dd[np.abs(chosen_Dd).argmax(0), np.arange(chosen_Dd.shape[1])]
    return chosen_Dd * np.where(leading < 0, -1.0, 1.0)


@dataclass(frozen=True)
class BlockTransform:
    """How one encoder's vectors settle: the mean item taken off, turned onto ``directions_Dd`` if there are any, at
    length 1, times ``weight``."""

    mean_D: npt.NDArray[np.float64]
    directions_Dd: npt.NDArray[np.float64] | None
    weight: float

    @classmethod
    def fit(cls, block: EncoderBlock) -> BlockTransform:
        """Return what the rows of a block say; a block that cannot be reduced (fewer than two rows) keeps nothing."""
        seen = block.vectors_ND[block.present_N].astype(np.float64)
        mean_D = seen.mean(0) if block.center and len(seen) > 1 else np.zeros(seen.shape[1])
        if block.max_dimensions is None:
            return cls(mean_D, None, block.weight)
        if len(seen) < 2:
            return cls(mean_D, np.zeros((seen.shape[1], 0)), block.weight)
        centred = seen - mean_D
        return cls(mean_D, pca_directions(centred, block.max_dimensions) if centred.any() else None, block.weight)

    def __call__(self, vectors_ND: Float32Array, present_N: npt.NDArray[np.bool_]) -> Float32Array:
        """Return the settled rows; absent ones are zeros, the mean item of a centred block."""
        seen = vectors_ND[present_N].astype(np.float64) - self.mean_D
        if self.directions_Dd is not None:
            seen = seen @ self.directions_Dd
        settled_ND = np.zeros((len(vectors_ND), seen.shape[1]), np.float32)
        settled_ND[present_N] = l2_normalize(seen)
        return self.weight * settled_ND


@dataclass(frozen=True)
class PcaTransform:
    """What is done to whole vectors: the mean taken off, turned onto ``directions_Dd``, brought to length 1."""

    mean_D: npt.NDArray[np.float64]
    directions_Dd: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, vectors_ND: Float32Array, dimensions: int, whiten: bool) -> PcaTransform:
        """Return the principal directions of the rows; ``whiten`` gives each a variance of 1 over them.

        Raises `ArtifactError` when all rows are one.
        """
        mean_D = vectors_ND.mean(0, dtype=np.float64)
        centred_ND = vectors_ND - mean_D
        if not centred_ND.any():
            raise ArtifactError("All items have the same vector; there is nothing to reduce (embeddings.reduction).")
        directions_Dd = pca_directions(centred_ND, dimensions)
        if whiten:
            directions_Dd = directions_Dd / (centred_ND @ directions_Dd).std(0)
        return cls(mean_D, directions_Dd)

    def __call__(self, vectors_ND: Float32Array) -> Float32Array:
        """Return the rows, turned."""
        return l2_normalize((vectors_ND - self.mean_D) @ self.directions_Dd)


@dataclass(frozen=True)
class Fusion:
    """Encoder name → how its block settles, in the order in which the blocks stand side by side."""

    transforms: dict[str, BlockTransform]
    pca: PcaTransform | None = None

    @classmethod
    def fit(cls, blocks: Mapping[str, EncoderBlock], reduction: str = "none", dimensions: int = 0) -> Fusion:
        """Return the fusion of a catalogue's blocks; ``pca`` and ``whiten`` bring the whole to ``dimensions``."""
        plain = cls({name: BlockTransform.fit(block) for name, block in blocks.items()})
        if reduction == "none":
            return plain
        return cls(plain.transforms, PcaTransform.fit(plain(blocks), dimensions, reduction == "whiten"))

    def __call__(self, blocks: Mapping[str, EncoderBlock]) -> Float32Array:
        """Return unit vectors float32 [N, sum of kept dimensions]: each block settled, weighted, side by side.

        Raises `ArtifactError` when the blocks are not those the fusion was fitted on.
        """
        widths = {name: len(settling.mean_D) for name, settling in self.transforms.items()}
        given = {name: block.vectors_ND.shape[1] for name, block in blocks.items()}
        if given != widths:
            raise ArtifactError(
                f"The encoders give {given} (dimensions), the fusion was fitted on {widths}; embed all items anew."
            )
        settled = [
            settling(blocks[name].vectors_ND, blocks[name].present_N) for name, settling in self.transforms.items()
        ]
        whole_ND = l2_normalize(np.concatenate(settled, axis=1))
        return whole_ND if self.pca is None else self.pca(whole_ND)

    def block_widths(self) -> dict[str, int]:
        """Return how many dimensions of a fused vector each encoder has, in their order."""
        kept = self.transforms.items()
        return {
            name: len(one.mean_D) if one.directions_Dd is None else one.directions_Dd.shape[1] for name, one in kept
        }

    def save(self, path: Path) -> None:
        """Write the fusion to a safetensors file."""
        arrays = {f"mean.{name}": settling.mean_D for name, settling in self.transforms.items()}
        arrays |= {
            f"directions.{name}": np.ascontiguousarray(settling.directions_Dd)
            for name, settling in self.transforms.items()
            if settling.directions_Dd is not None
        }
        if self.pca is not None:
            arrays |= {PCA_KEY: self.pca.mean_D, f"{PCA_KEY}.directions": np.ascontiguousarray(self.pca.directions_Dd)}
        weights = {name: settling.weight for name, settling in self.transforms.items()}
        with whole_file(path) as half:
            save_file(arrays, half, metadata={"weights": json.dumps(weights)})

    @classmethod
    def load(cls, path: Path) -> Fusion:
        """Read a fusion; raise `ArtifactError` for a file that is none."""
        check_file(path)
        try:
            with safe_open(path, framework="numpy") as file:
                weights: dict[str, float] = json.loads(file.metadata()["weights"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            turn = PcaTransform(arrays[PCA_KEY], arrays[f"{PCA_KEY}.directions"]) if PCA_KEY in arrays else None
            settlings = {
                name: BlockTransform(arrays[f"mean.{name}"], arrays.get(f"directions.{name}"), weight)
                for name, weight in weights.items()
            }
            return cls(settlings, turn)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            raise ArtifactError(f"{path} holds no fusion of embeddings; run the recipe again to make it.") from None
