"""Multimodal generative recommendation with Semantic IDs (TriAlignGR, arXiv 2605.05249).

``run(recipe, data, out)`` runs the whole pipeline; ``load(run).recommend(history, k)`` uses what it made.
Both are imported on first use, so that ``import trialigngr`` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trialigngr.foundation.version import __version__

if TYPE_CHECKING:
    from trialigngr.pipeline.execute import run
    from trialigngr.runs.run import load

__all__ = ["__version__", "load", "run"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from trialigngr.runs.run import load

        return load
    if name == "run":
        from trialigngr.pipeline.execute import run

        return run
    raise AttributeError(f"module 'trialigngr' has no attribute {name!r}")
