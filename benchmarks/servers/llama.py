"""llama.cpp's own server, out of the package `xllamacpp`, on a GGUF file: the packaged SmolLM2-135M-Instruct, or yours.

`python -m benchmarks.servers.llama --port 8001` serves it until it is ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trialigngr.pretrained.smollm2 import find_weights_file

NAME = "smollm2"
SLOTS = 4
"""Questions that are answered together."""
CONTEXT = 2048
"""Tokens of one question and its answer."""
READY = "ready at "


def serve(model: Path, name: str, port: int, threads: int) -> None:
    """Serve the model under its name at a port of this machine (0: any), say where, and never return."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(model), {name}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(f"{READY}{server.listening_address}/v1", flush=True)
    while True:
        time.sleep(3600)


@contextmanager
def llama_server(log: Path) -> Iterator[str]:
    """Run the server with the packaged model in a process of its own; give the url of its API."""
    threads = str(len(os.sched_getaffinity(0)))
    words = [sys.executable, "-m", "benchmarks.servers.llama", "--port", "0", "--threads", threads]
    root, out = Path(__file__).parents[2], subprocess.PIPE
    with log.open("w") as said, subprocess.Popen(words, cwd=root, stdout=out, stderr=said, text=True) as process:
        try:
            assert process.stdout is not None
            lines = (line.removeprefix(READY).strip() for line in process.stdout if line.startswith(READY))
            url = next(lines, None)
            assert url is not None, f"the server did not start; what it said stands in {log}"
            yield url
        finally:
            process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF file; without it, SmolLM2 from its package")
    parser.add_argument("--name", default=NAME, help="what clients call it")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    serve(given.model or find_weights_file(), given.name, given.port, given.threads)
