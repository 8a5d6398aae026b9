"""The order of the stages: a recipe and a data folder in, a run folder out; and a finished run to use."""

from trialigngr.pipeline.loaded import Recommendation, Run, load
from trialigngr.pipeline.running import run

__all__ = ["Recommendation", "Run", "load", "run"]
