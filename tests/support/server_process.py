"""A server in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


def serve_run(*words: str | Path) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """Start ``trialigngr serve WORDS`` on a free port, and give its process and address when it answers."""
    return start_command("serve", *words, "--port", "0")


@contextmanager
def start_command(*words: str | Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start ``trialigngr WORDS``, which serves, and give its process and address when it answers."""
    command = [sys.executable, "-m", "trialigngr", *map(str, words)]
    environment = os.environ | {"COLUMNS": "200"} | variables
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
