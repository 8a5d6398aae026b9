"""What starting costs, over a bare interpreter: ``import trialigngr`` and ``trialigngr --help``."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness import Check, below, command, side_by_side

ROUNDS = 15


def measure() -> list[Check]:
    """Return both costs as differences of medians."""
    program = Path(sys.executable).with_name("trialigngr")
    took = side_by_side(
        {
            "bare": command(sys.executable, "-c", "pass"),
            "import": command(sys.executable, "-c", "import trialigngr"),
            "help": command(str(program), "--help"),
        },
        ROUNDS,
    )
    return [
        below("import trialigngr adds", took["import"] - took["bare"], 0.3, "s"),
        below("trialigngr --help adds", took["help"] - took["bare"], 0.5, "s"),
    ]
