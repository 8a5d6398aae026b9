from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from trialigngr.pipeline import Recommendation, load
from trialigngr.runs.run import Run

HISTORY = ["p0003", "p0017"]


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


def ids(found: Sequence[Recommendation]) -> list[str]:
    return [item.item_id for item in found]
