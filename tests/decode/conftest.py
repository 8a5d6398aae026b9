from __future__ import annotations

from typing import Any

import pytest

from tests.support.decoding import MODELS


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    return {name: make() for name, make in MODELS.items()}
