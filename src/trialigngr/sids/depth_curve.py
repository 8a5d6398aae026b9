"""How fidelity grows with depth: Table 11 and Fig. 4, on fitted and on held-out items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trialigngr.sids.assign import fit_quantizers, measure_held_out_fidelity
from trialigngr.sids.fidelity import compute_fidelity_by_depth
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.settings import SidSettings

PAPER_CURVES = {
    "paper, text only": (0.452, 0.631, 0.758, 0.835, 0.883, 0.915, 0.936, 0.950),
    "paper, full": (0.591, 0.782, 0.903, 0.958, 0.982, 0.993, 0.997, 0.999),
}
"""Rows of Table 11 (Beauty)."""


@dataclass(frozen=True)
class DepthCurve:
    """Mean cosine between an embedding and the sum of its first H codes (decoded), H = 1 … ; fitted and held out."""

    codebook_sizes: tuple[int, ...]
    fitted: tuple[float, ...]
    held_out: tuple[float, ...] | None


def compute_depth_curve(settings: SidSettings, vectors_ND: Float32Array, depth: int = 8) -> DepthCurve:
    """Return the curve of one quantizer with ``depth`` levels; sizes beyond the given ones repeat the last.

    One fit, its prefixes decoded, as Table 11 has it (not ``depth`` fits). Held out is `SidSettings.held_out_ratio`.
    """
    sizes = (*settings.codebook_sizes, *[settings.codebook_sizes[-1]] * depth)[:depth]
    settings = settings.model_copy(update={"codebook_sizes": sizes})
    quantizer = fit_quantizers(settings, vectors_ND)[0]
    fitted = compute_fidelity_by_depth(quantizer, vectors_ND, quantizer.encode(vectors_ND))
    held_out = measure_held_out_fidelity(settings, vectors_ND)
    return DepthCurve(quantizer.codebook_sizes, tuple(fitted), tuple(held_out.by_depth) if held_out else None)


def format_depth_curve(curve: DepthCurve) -> str:
    """Return the curve as a table beside the paper's rows."""
    depth = len(curve.fitted)
    rows = {"fitted items": curve.fitted} | ({"held-out items": curve.held_out} if curve.held_out else {})
    rows |= {name: row[:depth] for name, row in PAPER_CURVES.items()}
    width = max(map(len, rows))
    head = " " * width + "".join(f"  {level:>5}" for level in range(1, depth + 1))
    return "\n".join([head, *(name.ljust(width) + "".join(f"  {v:.3f}" for v in row) for name, row in rows.items())])


def draw_depth_curve(curve: DepthCurve, path: Path) -> None:
    """Draw the curve (Fig. 4) as a picture, the paper's rows as dashed lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, row in PAPER_CURVES.items():
        axes.plot(range(1, len(row) + 1), row, "--", linewidth=1, label=f"{name} (Table 11, Beauty)")
    axes.plot(range(1, len(curve.fitted) + 1), curve.fitted, "o-", label="fitted items")
    if curve.held_out:
        axes.plot(range(1, len(curve.held_out) + 1), curve.held_out, "s-", label="held-out items")
    axes.set(xlabel="levels", ylabel="cosine fidelity", ylim=(None, 1.0))
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
