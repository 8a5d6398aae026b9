from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from trialigngr.runs.recommender import Recommendation
from trialigngr.runs.run import Run, load

HISTORY = ["p0003", "p0017"]


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


def ids(found: Sequence[Recommendation]) -> list[str]:
    return [item.item_id for item in found]
