"""Every page of docs/extend shows one newcomer in at most thirty lines of Python that run and end in an assert."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "extend").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAX_LINES = 30


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES])
def test_a_newcomer_is_thirty_lines_that_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = BLOCK.findall(page.read_text("utf-8"))
    # The formatter sets blank lines between definitions: they are not counted.
    assert len([line for line in code.splitlines() if line.strip()]) <= MAX_LINES
    assert isinstance(ast.parse(code).body[-1], ast.Assert)
    # A module, because settings and data classes look up their own.
    module = ModuleType(f"extend_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), module.__dict__)


def test_the_places_that_pages_name_are_there() -> None:
    """``path.py: name`` is a definition in that file."""
    for page in PAGES:
        for path, name in re.findall(r"`([\w/]+\.py): (\w+)", page.read_text("utf-8")):
            text = (ROOT / "src" / "trialigngr" / path).read_text("utf-8")
            assert re.search(rf"\b(?:def|class) {name}\b|^{name}\b", text, re.MULTILINE), f"{page.name}: {path}: {name}"


def test_there_is_something_to_read() -> None:
    assert {"sequence_model", "prior"} <= {page.stem for page in PAGES}
