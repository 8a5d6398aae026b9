"""How much of an embedding its codes keep: cosine between a vector and what its codes decode to (Eq. 8, Table 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trialigngr.sids.quantizers.codebooks import Codes, Float32Array, iter_row_slices
from trialigngr.sids.quantizers.quantizer import Quantizer


@dataclass(frozen=True)
class HeldOutFidelity:
    """Fidelity of the first code, the first two, … on items that the quantizer was not fitted on; and with their SIDs
    dealt among them anew."""

    by_depth: Sequence[float]
    by_chance: Sequence[float]

    def to_facts(self) -> dict[str, Any]:
        """Return what a manifest records."""
        return {"fidelity_held_out_by_depth": self.by_depth, "fidelity_held_out_by_chance": self.by_chance}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> HeldOutFidelity | None:
        """Return what a manifest records; None where nothing was held out."""
        by_depth = facts.get("fidelity_held_out_by_depth")
        return cls(by_depth, facts.get("fidelity_held_out_by_chance") or ()) if by_depth else None


def cosine_similarity(left_ND: Float32Array, right_ND: Float32Array) -> Float32Array:
    """Return the cosine of each pair of rows [N]; 0 where either row is all zero."""
    lengths_N = np.linalg.norm(left_ND, axis=1) * np.linalg.norm(right_ND, axis=1)
    products_N = np.einsum("nd,nd->n", left_ND, right_ND)
    return np.divide(products_N, lengths_N, out=np.zeros_like(products_N), where=lengths_N > 0)


def compute_fidelity(quantizer: Quantizer, vectors_ND: Float32Array, codes_NL: Codes) -> float:
    """Return the mean cosine between the vectors and what their codes (or first codes) decode to."""
    total = sum(
        float(cosine_similarity(vectors_ND[rows], quantizer.decode(codes_NL[rows])).sum())
        for rows in iter_row_slices(len(vectors_ND))
    )
    return total / len(vectors_ND)


def compute_fidelity_by_depth(quantizer: Quantizer, vectors_ND: Float32Array, codes_NL: Codes) -> list[float]:
    """Return `fidelity` of the first code alone, of the first two, … of all L."""
    return [compute_fidelity(quantizer, vectors_ND, codes_NL[:, :depth]) for depth in range(1, codes_NL.shape[1] + 1)]
