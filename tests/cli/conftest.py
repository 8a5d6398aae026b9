from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data_folder import Cli, Shop, items, log, write


@pytest.fixture
def shop(cli: Cli, tmp_path: Path) -> Shop:
    made = Shop(cli, tmp_path)
    write(made.data, items(), log())
    return made
