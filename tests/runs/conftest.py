from __future__ import annotations

from pathlib import Path

import pytest

from trialigngr.runs.run import Run, load


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)
