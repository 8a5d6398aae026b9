"""Servers and clients as processes, on the loopback alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.clients import Answers


@dataclass(frozen=True)
class Server:
    """A server that answers at ``address``."""

    address: str
    process: subprocess.Popen[str]

    def read_memory(self) -> int:
        """Return its resident memory in bytes."""
        words = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return 1024 * int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@contextmanager
def start_server(*words: str | Path) -> Iterator[Server]:
    """Start ``python -m WORDS``, which says its address on stderr, and give it when it answers."""
    command = [sys.executable, "-m", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"http://\S+:\d+", said)):
            if not (line := process.stderr.readline()):
                raise RuntimeError(f"{' '.join(command)} did not start:\n{said}")
            said += line
        with ThreadPoolExecutor(1) as pool:
            pool.submit(process.stderr.read)  # a full pipe would hold the server up
            try:
                yield Server(found[0], process)
            finally:
                process.terminate()


def ask(server: Server, requests: Path, **settings: float) -> Answers:
    """Return what clients in a process of their own saw; settings are those of `benchmarks.serving.clients`."""
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.serving.clients", server.address, str(requests), *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Answers(**json.loads(done.stdout))


@contextmanager
def ask_meanwhile(server: Server, requests: Path, **settings: float) -> Iterator[Future[Answers]]:
    """Ask a server beside what is done meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(ask, server, requests, **settings)
