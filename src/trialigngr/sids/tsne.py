"""A picture of code space: SIDs decoded, laid out by t-SNE, coloured by category (Fig. 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trialigngr.foundation.seeds import child
from trialigngr.sids.quantizers.levels import Vectors

SHOWN = 2000
COLOURED = 10


def draw_tsne(decoded_ND: Vectors, categories: Sequence[str | None], path: Path) -> None:
    """Draw up to `SHOWN` random (seeded) items; the most frequent categories have colours, the rest is grey."""
    from matplotlib.figure import Figure

    rows_M = np.sort(np.random.default_rng(child(0, "t-SNE")).permutation(len(decoded_ND))[:SHOWN])
    places_M2 = _places(decoded_ND[rows_M])
    labels = [categories[row] for row in rows_M]
    frequent = [label for label, _ in Counter(label for label in labels if label is not None).most_common(COLOURED)]
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    rest = np.array([label not in frequent for label in labels])
    axes.scatter(places_M2[rest, 0], places_M2[rest, 1], s=6, color="0.8", label="other" if rest.any() else None)
    for number, name in enumerate(frequent):
        own = np.array([label == name for label in labels])
        axes.scatter(places_M2[own, 0], places_M2[own, 1], s=6, color=f"C{number}", label=name.replace("$", r"\$"))
    axes.set(xticks=[], yticks=[], title=f"t-SNE of {len(rows_M):,} decoded SIDs")
    axes.legend(fontsize="x-small", markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)


def _places(decoded_MD: Vectors) -> Vectors:
    """Return where t-SNE puts the rows [M, 2]; few rows simply lie along their first two principal directions."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(decoded_MD) < 10:
        padded_MD = np.pad(decoded_MD - decoded_MD.mean(0), ((0, 0), (0, 2)))
        return np.asarray(padded_MD[:, :2], dtype=np.float32)
    start_MD = PCA(min(50, *decoded_MD.shape), random_state=0).fit_transform(decoded_MD)
    layout = TSNE(2, perplexity=min(30, (len(start_MD) - 1) / 3), init="random", random_state=0)
    return np.asarray(layout.fit_transform(start_MD), dtype=np.float32)
