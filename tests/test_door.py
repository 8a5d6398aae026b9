"""What a stranger meets first works: the notebook, completion in the shell, and files that other programs read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trialigngr.foundation.version import __version__


@pytest.mark.long
def test_the_notebook_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = json.loads((root / "docs" / "first_steps.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)  # what it prints is not kept, so that it cannot be old
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    printed = capsys.readouterr().out
    assert re.search(r"^3 p\d{4} <a_\d>", printed, re.MULTILINE)
    assert "HR@10 0." in printed


def test_the_shell_completes_commands() -> None:
    asked = {"_TRIALIGNGR_COMPLETE": "bash_complete", "COMP_WORDS": "trialigngr re", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "trialigngr"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plain,recommend", "plain,report"]


def read_yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text("utf-8")))


def test_ci_calls_what_everybody_calls(root: Path) -> None:
    jobs = read_yaml(root / ".github" / "workflows" / "ci.yml")["jobs"]
    called = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert called["check-and-test"] == ["make check", "make test"]
    assert called["image"][0] == "docker build -t trialigngr ."


def test_issue_templates_and_citation_are_whole(root: Path) -> None:
    for name in ("bug.yml", "idea.yml"):
        template = read_yaml(root / ".github" / "ISSUE_TEMPLATE" / name)
        assert {"name", "description", "body"} <= set(template)
    citation = read_yaml(root / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__


def test_the_image_holds_the_torch_of_the_lock(root: Path) -> None:
    locked = re.search(r"^torch==(\S+)", (root / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    assert locked is not None
    assert f"torch=={locked[1]}\n" in (root / "Dockerfile").read_text("utf-8")
