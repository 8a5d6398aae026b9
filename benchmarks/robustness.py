"""Nothing silent, nothing lost: damaged runs, mutated pictures and tables, a hostile server, kills.

Twenty minutes on two cores; the attacks are those of `benchmarks.attacks`. What a case came to is kept in a folder of
``runs/robustness`` (or of ``TRIALIGNGR_BENCH_FOLDER``) that is named by a hash of the package and of the attacks, so no
case is tried twice on the same code. ``TRIALIGNGR_BENCH_PARTS=tables,kills`` runs some parts alone.
"""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path

import trialigngr
from benchmarks.attacks import damage, kills, pictures, server, tables
from benchmarks.attacks.cases import start_server
from benchmarks.harness import Check

PARTS = {
    "pictures": pictures.measure,
    "tables": tables.measure,
    "server": server.measure,
    "damage": damage.measure,
    "kills": kills.measure,
}


def measure() -> list[Check]:
    """Return the checks of all parts."""
    folder = Path(os.environ.get("TRIALIGNGR_BENCH_FOLDER", "runs/robustness")) / code_mark()
    chosen = os.environ.get("TRIALIGNGR_BENCH_PARTS", ",".join(PARTS)).split(",")
    start_server("benchmarks.attacks.warm", "benchmarks.robustness")
    checks = []
    for name in chosen:
        began = time.monotonic()
        checks += PARTS[name](folder.absolute() / name)
        print(f"{name}: {time.monotonic() - began:.0f} s; every case stands in {folder / name}")
    return checks


def code_mark() -> str:
    """Return 12 hex digits of all code that a case depends on."""
    digest = sha256()
    for root in (Path(trialigngr.__file__).parent, Path(__file__).parent / "attacks"):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
