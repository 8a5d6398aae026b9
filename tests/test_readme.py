"""What the documents show works: their Python blocks run, their command lines parse and name recipes that exist.

A block of Python that is to be run is fenced as ```` ```python test ````, and what it prints stands in the ``text``
block right below it, if there is one; every ``trialigngr …`` line of a ``sh`` block is checked.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from trialigngr.cli.main import trialigngr
from trialigngr.recipes.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```([\w ]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"\n+```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAX_README_LINES = 120
MAX_CELL = 80


def blocks(kind: str) -> list[tuple[str, str]]:
    """Return (where, text) of the blocks fenced as ``kind``."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        for match in FENCE.finditer(text):
            if match[1].strip() == kind:
                found.append((f"{path.name}:{text.count(chr(10), 0, match.start()) + 2}", match[2]))
    return found


def command_lines() -> list[tuple[str, str]]:
    """Return (where, line) of every ``trialigngr …`` in a shell block, without its comment."""
    lines = [(where, line) for where, text in blocks("sh") for line in text.replace("\\\n", " ").splitlines()]
    return [(where, line) for where, line in lines if line.startswith("trialigngr ")]


def find_output(code: str) -> str | None:
    """Return what a document says that a block prints; None where it says nothing."""
    behind = next(text.partition(code + "```")[2] for path in DOCUMENTS if code in (text := path.read_text("utf-8")))
    found = PRINTED.match(behind)
    return found[1] if found else None


@pytest.mark.long
@pytest.mark.parametrize(("where", "code"), [pytest.param(*block, id=block[0]) for block in blocks("python test")])
def test_python_blocks_run_and_print_what_is_shown(
    where: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, where, "exec"), {"__name__": "__main__"})
    assert (shown := find_output(code)) is None or capsys.readouterr().out == shown


@pytest.mark.parametrize(("where", "line"), [pytest.param(*entry, id=" ".join(entry)) for entry in command_lines()])
def test_command_lines_parse(where: str, line: str) -> None:
    context = click.Context(trialigngr, info_name="trialigngr", **trialigngr.context_settings)
    words = shlex.split(line, comments=True)[1:]
    command: click.Command | None = trialigngr
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    assert command is not None, f"{where}: there is no such command"
    given = command.make_context(command.name, words, parent=context).params
    if given.get("recipe"):
        read_recipe(given["recipe"], given.get("changes") or ())


def test_there_is_something_to_test() -> None:
    assert len(blocks("python test")) >= 2
    assert len(command_lines()) >= 4


def test_the_readme_is_read_in_a_minute() -> None:
    lines = DOCUMENTS[0].read_text("utf-8").splitlines()
    assert len(lines) <= MAX_README_LINES
    cells = [cell.strip() for line in lines if line.startswith("|") for cell in line.split("|")]
    assert [cell for cell in cells if len(cell) > MAX_CELL] == []
    blocks_with_output = [code for where, code in blocks("python test") if where.startswith("README")]
    assert all(map(find_output, blocks_with_output))
