from __future__ import annotations

from typing import Any

import pytest

from tests.support.decoding import Models


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    return Models()
