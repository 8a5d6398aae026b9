"""Multimodal generative recommendation with Semantic IDs (TriAlignGR, arXiv 2605.05249).

``run(recipe, data, out)`` runs the whole pipeline; ``load(run).recommend(history, k)`` uses what it made.
All are imported on first use, so that ``import trialigngr`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trialigngr.foundation.version import __version__

if TYPE_CHECKING:
    from trialigngr.pipeline.execute import run
    from trialigngr.recipes.recipe import register_phase, register_system
    from trialigngr.runs.request import RecommendRequest
    from trialigngr.runs.run import load

__all__ = ["RecommendRequest", "__version__", "load", "register_phase", "register_system", "run"]
_HOMES = {
    "RecommendRequest": "trialigngr.runs.request",
    "load": "trialigngr.runs.run",
    "register_phase": "trialigngr.recipes.recipe",
    "register_system": "trialigngr.recipes.recipe",
    "run": "trialigngr.pipeline.execute",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trialigngr' has no attribute {name!r}")
