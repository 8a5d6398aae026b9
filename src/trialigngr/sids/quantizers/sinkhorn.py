"""Sinkhorn assignment: codes chosen so that a batch uses them evenly (LC-Rec's uniform semantic mapping)."""

from __future__ import annotations

import numpy as np

from trialigngr.sids.quantizers.codebooks import Codes, Float32Array


def sinkhorn_codes(distances_BK: Float32Array, epsilon: float, rounds: int = 50) -> Codes:
    """Return a code for each row [B]: the largest entry of ``exp(−d / ε)`` with rows and columns normalised in turn.

    Distances are first centred and scaled to ±1, as LC-Rec does; ``epsilon`` counts in that unit (its value is 0.003).
    """
    lowest, highest = float(distances_BK.min()), float(distances_BK.max())
    scaled_BK = (distances_BK.astype(np.float64) - (highest + lowest) / 2) / ((highest - lowest) / 2 + 1e-5)
    plan_BK = np.exp(-scaled_BK / max(epsilon, 2e-3))  # below 2e-3 the kernel would leave double precision
    for _ in range(rounds):
        plan_BK /= plan_BK.sum(1, keepdims=True)
        plan_BK /= plan_BK.sum(0, keepdims=True)
    codes_B: Codes = plan_BK.argmax(1).astype(np.int32)
    return codes_B
