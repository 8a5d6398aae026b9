from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.world import KINDS, SIZES, World
from trialigngr.models.tokenizer import add_sid_tokens
from trialigngr.sids.semantic_ids import list_sid_tokens


@pytest.fixture(scope="session", params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer of each kind with SID tokens, saved and opened again as a user's would be."""
    made = KINDS[request.param]()
    add_sid_tokens(made, list_sid_tokens(SIZES))
    folder: Path = tmp_path_factory.mktemp(request.param)
    made.save_pretrained(folder)
    return type(made).from_pretrained(folder)


@pytest.fixture(scope="session")
def world() -> World:
    return World()
