"""Write requirements.lock: the exact versions that pip picks for the project and its ``dev`` extra today.

Run it with ``make lock`` after a change of the dependencies in pyproject.toml, or to move to newer releases. Nothing is
installed: a throw-away environment's pip resolves, and says what it would install.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
HEADER = """\
# The exact versions that `make` installs into .venv: the project's dependencies and its `dev` extra (pyproject.toml).
# Written by `make lock` (scripts/lock.py) with Python {python}; do not edit by hand.
# torch has no local tag (+cpu, +cu…): pip takes the build it finds; a CUDA build names its own exact companions.
"""


def resolve(folder: Path) -> dict[str, str]:
    """Return name → version of all that a fresh environment would install."""
    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    report = folder / "report.json"
    python = environment / "bin" / "python"
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", report]
    subprocess.run([*map(str, command), f"{ROOT}[dev]"], check=True)
    found = (entry["metadata"] for entry in json.loads(report.read_text())["install"])
    return {entry["name"]: entry["version"].partition("+")[0] for entry in found if entry["name"] != "trialigngr"}


def main() -> None:
    """Resolve, then replace the lock."""
    with tempfile.TemporaryDirectory() as folder:
        versions = resolve(Path(folder))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [f"{name}=={versions[name]}\n" for name in sorted(versions, key=str.lower)]
    LOCK.write_text(HEADER.format(python=python) + "".join(lines))
    print(f"{LOCK.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
