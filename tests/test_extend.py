"""Every page of docs/extend shows one newcomer in at most thirty lines of Python that run and end in an assert."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trialigngr.embed.encoders import ENCODERS
from trialigngr.recipes.recipe import Recipe
from trialigngr.systems.registry import SYSTEMS
from trialigngr.tasks.task import TASKS
from trialigngr.train.phases import PHASES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(set((ROOT / "docs" / "extend").glob("*.md")) - {ROOT / "docs" / "extend" / "README.md"})
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAX_LINES = 30


@pytest.fixture(autouse=True)
def _registries_as_they_were() -> Iterator[None]:
    """Pages enter what they bring: no other test sees it."""
    registries: list[dict[str, Any]] = [SYSTEMS, PHASES, TASKS, ENCODERS, Recipe.__pydantic_fields__]
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    Recipe.model_rebuild(force=True)


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


def test_the_list_of_pages_names_each() -> None:
    listed = re.findall(
        r"^- \[\w+\.md\]\((\w+)\.md\)", (ROOT / "docs/extend/README.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(listed) == [page.stem for page in PAGES]
    assert {"sequence_model", "prior", "system", "network", "objective", "phase"} <= set(listed)
