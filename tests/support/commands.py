"""The command line, called in this process."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support import sentences


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, what it printed, what it said on stderr."""

    code: int
    out: str
    err: str


def trialigngr(*words: str | Path) -> Done:
    """Run ``trialigngr WORDS`` in this process, as the entry point does. An error that is a bug is raised."""
    from trialigngr.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    code, before = 0, sys.argv
    sys.argv = ["trialigngr", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), sentences.remembered_sentences():
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())
