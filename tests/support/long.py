"""Cases that `make test-long` runs and `make test` does not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mark_long(cases: Iterable[Any], but: Collection[Any]) -> list[Any]:
    """Return the cases as parameters of a test, long ones all ``but`` some."""
    return [case if case in but else _as_long(case) for case in cases]


def _as_long(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
