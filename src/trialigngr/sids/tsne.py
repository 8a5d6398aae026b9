"""A picture of code space: SIDs decoded, laid out by t-SNE, coloured by category (Fig. 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.quantizers.codebooks import Float32Array

MAX_SHOWN = 2000
MAX_COLORED = 10


@dataclass(frozen=True)
class CodeMap:
    """Where M sampled items (``rows_M``) lie [M, 2], and of which category: its place in ``category_names`` (most
    frequent first), or −1."""

    rows_M: npt.NDArray[np.int64]
    places_M2: Float32Array
    groups_M: npt.NDArray[np.int64]
    category_names: tuple[str, ...]


def compute_code_map(decoded_ND: Float32Array, categories: Sequence[str | None], max_items: int = MAX_SHOWN) -> CodeMap:
    """Lay out up to ``max_items`` random (seeded) items; the `MAX_COLORED` most frequent categories are told apart."""
    rows_M = np.sort(np.random.default_rng(derive_seed(0, "t-SNE")).permutation(len(decoded_ND))[:max_items])
    labels = [categories[row] for row in rows_M]
    frequent = [label for label, _ in Counter(label for label in labels if label is not None).most_common(MAX_COLORED)]
    groups_M = np.array([frequent.index(label) if label in frequent else -1 for label in labels], dtype=np.int64)
    return CodeMap(rows_M, _tsne_layout(decoded_ND[rows_M]), groups_M, tuple(frequent))


def draw_code_map(layout: CodeMap, path: Path) -> None:
    """Draw a map; the categories told apart have colours, the rest is grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    rest = layout.groups_M == -1
    axes.scatter(
        layout.places_M2[rest, 0], layout.places_M2[rest, 1], s=6, color="0.8", label="other" if rest.any() else None
    )
    for number, name in enumerate(layout.category_names):
        own_M2 = layout.places_M2[layout.groups_M == number]
        axes.scatter(own_M2[:, 0], own_M2[:, 1], s=6, color=f"C{number}", label=name.replace("$", r"\$"))
    axes.set(xticks=[], yticks=[], title=f"t-SNE of {len(layout.groups_M):,} decoded SIDs")
    axes.legend(fontsize="x-small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)


def _tsne_layout(decoded_MD: Float32Array) -> Float32Array:
    """Return where t-SNE puts the rows [M, 2]; few rows simply lie along their first two principal directions."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(decoded_MD) < 10:
        padded_MD = np.pad(decoded_MD - decoded_MD.mean(0), ((0, 0), (0, 2)))
        return np.asarray(padded_MD[:, :2], dtype=np.float32)
    start_MD = PCA(min(50, *decoded_MD.shape), random_state=0).fit_transform(decoded_MD)
    layout = TSNE(2, perplexity=min(30, (len(start_MD) - 1) / 3), init="random", random_state=0)
    return np.asarray(layout.fit_transform(start_MD), dtype=np.float32)
