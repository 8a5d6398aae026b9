"""`unpack_demo`: the finished run that comes with the package, for whoever wants to look before training anything."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

DEMO_FILE = Path(__file__).with_name("demo.zip")
"""A run of the drawn shop; ``make demo-run`` makes it (scripts/make_demo.py)."""


@contextmanager
def unpack_demo() -> Iterator[Path]:
    """Give the folder of the run, which is removed afterwards: the package's own file is never written to."""
    with TemporaryDirectory(prefix="trialigngr-") as folder:
        run_folder = Path(folder) / "demo"
        with zipfile.ZipFile(DEMO_FILE) as packed:
            packed.extractall(run_folder)
        yield run_folder
