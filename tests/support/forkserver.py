"""One server that processes are forked from, so that each costs what it does and no imports."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

HEAVY = [
    *("torch", "transformers", "sentence_transformers", "faiss", "sklearn.decomposition", "sklearn.manifold"),
    *("sklearn.neural_network", "matplotlib.figure", "tests.support.breaking"),
    *("trialigngr.pipeline", "trialigngr.cli.runs"),
]
SERVED = ["benchmarks.servers.mining", "openai", "trialigngr.llm.openai_generator"]


def start_forkserver() -> None:
    """Start the one server of this session that processes are forked from, with all that any test's processes import.

    The first list of modules counts, and there is one server: so whoever comes first must load them all.
    """
    multiprocessing.set_forkserver_preload([*HEAVY, *SERVED])
    forkserver.ensure_running()
