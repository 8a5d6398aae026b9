"""The wheel is whole: its data files are inside, what it declares suffices, and it works away from the repository.

The environment is bare: it gets the wheel and what the wheel declares, at the versions of the lock, from the registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

NOT_DATA = {".py", ".pyc"}
FIRST_STAGES = ("run", "trialigngr-demo", "--until", "sids", "--set", "shop.items=60", "--out")


def quietly(*words: str | Path, folder: Path) -> str:
    """Run a command in ``folder`` without this project's path in sight; return what it printed, or fail with it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that nothing an earlier build left beside the sources gets in."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(root / "src", source / "src", ignore=ignore)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(root / name, source)
    quietly(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", folder=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment that holds the wheel and what it declares."""
    home = tmp_path_factory.mktemp("bare")
    quietly(sys.executable, "-m", "venv", home / "venv", folder=home)
    python = home / "venv" / "bin" / "python"
    install = (python, "-m", "pip", "install", "--quiet", "--no-compile", "-c", root / "requirements.lock")
    quietly(*install, wheel, folder=home)
    return python.parent


def test_every_data_file_is_in_the_wheel(root: Path, wheel: Path):
    base = root / "src"
    files = (path for path in (base / "trialigngr").rglob("*") if path.is_file() and path.suffix not in NOT_DATA)
    wanted = {path.relative_to(base).as_posix() for path in files}
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert "trialigngr/py.typed" in wanted
    assert wanted - inside == set()


def test_the_wheel_holds_nothing_but_the_package(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        roots = {name.partition("/")[0] for name in archive.namelist()}
        licenses = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert {name for name in roots if not name.endswith(".dist-info")} == {"trialigngr"}
    assert licenses


@pytest.mark.slow
def test_the_wheel_runs_in_a_bare_environment(root: Path, bare: Path, tmp_path: Path):
    where = quietly(bare / "python", "-c", "import trialigngr; print(trialigngr.__file__)", folder=tmp_path)
    assert not Path(where.strip()).is_relative_to(root)
    assert "Usage" in quietly(bare / "trialigngr", "--help", folder=tmp_path)
    quietly(bare / "trialigngr", *FIRST_STAGES, tmp_path / "run", folder=tmp_path)
    assert (tmp_path / "run" / "sids" / "sids.parquet").is_file()
