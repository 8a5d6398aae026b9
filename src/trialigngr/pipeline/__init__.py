"""The order of the stages: a recipe and a data folder in, a run folder out; and a finished run to use."""

from trialigngr.pipeline.loaded import Run, load
from trialigngr.pipeline.offer import Recommendation
from trialigngr.pipeline.running import run

__all__ = ["Recommendation", "Run", "load", "run"]
