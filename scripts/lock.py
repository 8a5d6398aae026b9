"""Write requirements.lock: the exact versions that pip picks for the project and its extras ``dev`` and
``weights`` today, with hashes.

Run it with ``make lock`` after a change of the dependencies in pyproject.toml, or to move to newer releases. Nothing is
installed but uv, in a throw-away environment: its pip resolves and says what it would install, uv says which files the
index has of each version. What a CUDA build of torch needs besides goes into requirements-cuda.lock. The pins that
tests keep in files of their own get their hashes here too.

``python scripts/lock.py --hashes`` leaves all versions as they are and asks for the hashes alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
CUDA = ROOT / "requirements-cuda.lock"
PINNED = tuple(ROOT / name for name in ("tests/servers/requirements.txt", "tests/pipeline/ray.txt", "scripts/site.txt"))
HEADER = """\
# The exact versions that `make` installs into .venv: the project's dependencies, its extras `dev` and `weights`
# (pyproject.toml).
# Written by `make lock` (scripts/lock.py) with Python {python}; do not edit by hand. pip refuses other files.
# torch has no local tag (+cpu, +cu…): pip takes the build it finds; what a CUDA build needs besides stands in
# requirements-cuda.lock. Its hashes are those of the index, and of the CPU builds that it was locked with.
# By hand: pip install --no-deps --require-hashes -r requirements.lock
"""
CUDA_HEADER = """\
# What the CUDA build of torch in requirements.lock needs besides; `make` installs it where pip took that build.
# Written by `make lock` (scripts/lock.py) with Python {python}; do not edit by hand.
"""
_PIN = re.compile(r"^([\w.-]+)==([^\s\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
Pins = dict[str, str]
"""Name → version."""
Hashes = dict[tuple[str, str], set[str]]
"""Canonical name and version → the hashes of its files."""


def canonical(name: str) -> str:
    """Return a package's name as an index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve(python: Path, report: Path) -> tuple[Pins, Hashes]:
    """Return all that a fresh environment would install, and the hashes of the files that it would take."""
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", report]
    subprocess.run([*map(str, command), f"{ROOT}[dev,weights]"], check=True)
    pins: Pins = {}
    taken: Hashes = {}
    for entry in json.loads(report.read_text(encoding="utf-8"))["install"]:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"].partition("+")[0]
        if name != "trialigngr":
            pins[name] = version
            taken[canonical(name), version] = {f"sha256:{entry['download_info']['archive_info']['hashes']['sha256']}"}
    return pins, taken


def read_pins(path: Path) -> Pins:
    """Return the pins of a file; none where it is not there."""
    return dict(_PIN.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def read_hashes(text: str) -> Hashes:
    """Return the hashes that stand below each pin."""
    parts = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)
    named = [(found, set(_HASH.findall(part))) for part in parts if (found := _PIN.match(part))]
    return {(canonical(found[1]), found[2]): hashes for found, hashes in named}


def ask_index(python: Path, asked: Path, pins: Pins, *words: str | Path) -> str:
    """Return what ``uv pip compile`` says of some pins, with the hashes of every file that the index has of them."""
    asked.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), encoding="utf-8")
    flags = ["--generate-hashes", "--no-header", "--no-annotate", "--no-config", "--quiet", *words]
    command = [python.with_name("uv"), "pip", "compile", "--python", python, asked, *flags]
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def find_companions(python: Path, folder: Path, pins: Pins) -> str:
    """Return what torch of the index needs on Linux beyond the pins, with hashes."""
    (folder / "known.txt").write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), "utf-8")
    linux = ("--python-platform", "x86_64-unknown-linux-gnu", "--constraint", folder / "known.txt")
    text = ask_index(python, folder / "torch.txt", {"torch": pins["torch"]}, *linux)
    known = set(map(canonical, pins))
    parts = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)
    return "".join(part for part in parts if (pin := _PIN.match(part)) and canonical(pin[1]) not in known)


def write_pins(path: Path, header: str, pins: Pins, hashes: Hashes) -> None:
    """Replace a lock: its header, then every pin with its hashes."""
    lines = [pin_lines(name, pins[name], hashes) for name in sorted(pins, key=str.lower)]
    path.write_text(
        header.format(python=f"{sys.version_info.major}.{sys.version_info.minor}") + "".join(lines), "utf-8"
    )
    print(f"{path.name}: {len(lines)} packages")


def pin_lines(name: str, version: str, hashes: Hashes) -> str:
    """Return a pin as it stands in a file."""
    known = sorted(hashes[canonical(name), version])
    return " \\\n    ".join([f"{name}=={version}", *(f"--hash={one}" for one in known)]) + "\n"


def add_hashes(path: Path, hashes: Hashes) -> None:
    """Put the hashes below the pins of a file that people write; its comments stay."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "--hash=" not in line]
    kept = (pin_lines(found[1], found[2], hashes) if (found := _PIN.match(line)) else f"{line}\n" for line in lines)
    path.write_text("".join(kept), encoding="utf-8")


def main() -> None:
    """Resolve, then replace the locks; hashes that stand there stay with their version: another index has them."""
    before = read_hashes(LOCK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        pins, taken = resolve(python, folder / "report.json")
        if sys.argv[1:] == ["--hashes"]:
            pins = read_pins(LOCK)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "uv"], check=True)
        own = read_hashes(ask_index(python, folder / "pins.txt", pins, "--no-deps"))
        companions = find_companions(python, folder, pins)
        tested = [read_hashes(ask_index(python, folder / "own.txt", read_pins(path), "--no-deps")) for path in PINNED]
    for key in own:
        own[key] |= taken.get(key, set()) | before.get(key, set())
    write_pins(LOCK, HEADER, pins, own)
    write_pins(CUDA, CUDA_HEADER, dict(_PIN.findall(companions)), read_hashes(companions))
    for path, hashes in zip(PINNED, tested, strict=True):
        add_hashes(path, hashes)


if __name__ == "__main__":
    main()
