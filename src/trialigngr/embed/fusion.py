"""Late fusion: blocks from several encoders become one unit vector an item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trialigngr.packaged.colours import Floats


@dataclass(frozen=True)
class Block:
    """What one encoder gave: ``vectors_ND``, for which rows it means anything, and its weight in the fused vector.

    ``reduce_to`` is the most dimensions it may keep; ``centre`` takes the mean item off (what an encoder that sees both
    text and picture gives is left as it is).
    """

    vectors_ND: Floats
    present_N: npt.NDArray[np.bool_]
    weight: float
    reduce_to: int | None = None
    centre: bool = True


def unit(vectors_ND: npt.NDArray[np.floating]) -> Floats:
    """Return the rows at length 1; a row of zeros stays zeros."""
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.where(length_N1 > 1e-12, length_N1, 1)).astype(np.float32)


def principal(centred_ND: npt.NDArray[np.float64], dimensions: int) -> npt.NDArray[np.float64]:
    """Return the principal directions [D, d] of centred rows, the largest first; the sign of each is fixed."""
    values, vectors_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    keep = np.argsort(-values, kind="stable")[: min(dimensions, int((values > 1e-9 * values.max()).sum()))]
    chosen_Dd: npt.NDArray[np.float64] = vectors_DD[:, keep]
    leading = chosen_Dd[np.abs(chosen_Dd).argmax(0), np.arange(chosen_Dd.shape[1])]
    return chosen_Dd * np.where(leading < 0, -1.0, 1.0)


def settle(block: Block) -> Floats:
    """Return the block centred on its mean item, reduced and at unit length; absent rows are zeros, the mean item."""
    seen = block.vectors_ND[block.present_N].astype(np.float64)
    if len(seen) < 2 and block.reduce_to is not None:
        return np.zeros((len(block.vectors_ND), 0), np.float32)
    if block.centre and len(seen) > 1:
        seen -= seen.mean(0)
    if block.reduce_to is not None and seen.any():
        seen = seen @ principal(seen, block.reduce_to)
    settled_ND = np.zeros((len(block.vectors_ND), seen.shape[1]), np.float32)
    settled_ND[block.present_N] = unit(seen)
    return settled_ND


def fuse(blocks: list[Block]) -> Floats:
    """Return unit vectors float32 [N, sum of kept dimensions]: each block settled, weighted, side by side."""
    settled = [block.weight * settle(block) for block in blocks]
    return unit(np.concatenate(settled, axis=1))
