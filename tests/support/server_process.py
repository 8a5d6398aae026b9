"""A server in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serve_run(*words: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start ``trialigngr serve WORDS`` on a free port, and give its process and address when it answers."""
    command = [sys.executable, "-m", "trialigngr", "serve", *map(str, words), "--port", "0"]
    environment = os.environ | {"COLUMNS": "200"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"http://\S+:\d+", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        try:
            yield process, found[0]
        finally:
            process.kill()
