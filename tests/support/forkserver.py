"""One server that processes are forked from, so that each costs what it does and no imports."""

from __future__ import annotations

import multiprocessing
import pkgutil
from multiprocessing import forkserver

import trialigngr

LIBRARIES = [
    *("torch", "transformers", "sentence_transformers", "faiss", "sklearn.decomposition", "sklearn.manifold"),
    *("sklearn.neural_network", "matplotlib.figure", "openai", "tests.support.breaking", "benchmarks.servers.mining"),
]


def start_forkserver() -> None:
    """Start the one server of this session that processes are forked from, with all that any test's processes import.

    The first list of modules counts, and there is one server: so whoever comes first must load them all.
    """
    own = [module.name for module in pkgutil.walk_packages(trialigngr.__path__, "trialigngr.")]
    multiprocessing.set_forkserver_preload([*LIBRARIES, *(name for name in own if not name.endswith("__main__"))])
    forkserver.ensure_running()
