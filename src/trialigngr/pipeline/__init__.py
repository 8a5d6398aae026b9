"""The order of the stages: a recipe and a data folder in, a run folder out; and a finished run to use."""

from trialigngr.pipeline.execute import run
from trialigngr.runs.recommender import Recommendation
from trialigngr.runs.run import Run, load

__all__ = ["Recommendation", "Run", "load", "run"]
