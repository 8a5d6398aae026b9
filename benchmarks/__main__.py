"""``python -m benchmarks NAME``: run ``measure()`` of ``benchmarks/NAME.py`` and report its checks.

Exits with 0 whenever the measurement was made, so that the last line is the JSON object; whether the goals were met is
its ``ok``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.harness import report

MACHINERY = {"__init__", "__main__", "harness"}


def known() -> list[str]:
    """Return the names of the benchmarks."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in MACHINERY)


def main() -> None:
    """Run the one benchmark that is named on the command line."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in known():
        sys.exit(f"There is no benchmark {name!r}; say: make bench NAME=… with one of {', '.join(known())}.")
    report(name, import_module(f"benchmarks.{name}").measure())


if __name__ == "__main__":
    main()
