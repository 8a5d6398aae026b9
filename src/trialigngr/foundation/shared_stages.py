"""Finished stages of runs that stand side by side: a stage that a neighbour has made is linked and not made again.

Its files become hard links, so that two runs hold them once and each may be deleted; where a file system has none, they
are copied. A stage is made from files and hashes alone, and every file of it is checked again where it is linked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from trialigngr.foundation.artifact import (
    MANIFEST_FILE,
    RECIPE_FILE,
    TRACKED,
    Manifest,
    check_stage,
    move_into_place,
    read_manifest,
    write_manifest,
)
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import HALF, refuse_links, remove_path


def find_sibling_runs(run: Path) -> Iterator[Path]:
    """Yield the runs that stand in the same folder as a run, by name."""
    home = run.absolute().parent
    for folder in sorted(home.iterdir()) if os.access(home, os.R_OK | os.X_OK) else ():
        if not folder.is_symlink() and (folder / RECIPE_FILE).is_file() and not _is_same_folder(folder, run):
            yield folder


def _is_same_folder(folder: Path, run: Path) -> bool:
    return run.exists() and folder.samefile(run)


def find_finished_stage(run: Path, place: Path, fingerprint: str, contents: Mapping[str, str]) -> Path | None:
    """Return the folder of a stage in a run beside ``run``, at the same place, if it is what is wanted: finished, of
    that fingerprint, and made from what the parents here hold."""
    for sibling in find_sibling_runs(run):
        folder = sibling / place
        manifest = _read_manifest(folder) if (folder / MANIFEST_FILE).is_file() else None
        if manifest and (manifest.fingerprint, manifest.contents) == (fingerprint, dict(contents)):
            return folder
    return None


def _read_manifest(folder: Path) -> Manifest | None:
    """Return a neighbour's manifest; None where it cannot be read, which is no concern of this run."""
    try:
        return read_manifest(folder)
    except (ArtifactError, OSError):
        return None


def link_stage(source: Path, folder: Path) -> Manifest | None:
    """Put links to a finished stage in the place of ``folder`` and return its manifest; None where that was lost
    meanwhile, or is damaged: then the stage is to be made.

    A kill leaves a folder that is removed the next time, and never a stage that lacks files.
    """
    if folder.exists() and not (folder / MANIFEST_FILE).exists():
        return None  # no stage: whoever makes one says so
    half = folder.with_name(f".{folder.name}.linked{HALF}")
    remove_path(half)
    try:
        manifest = read_manifest(source)
        refuse_links(source, but=TRACKED)
        _link_files(source, half, manifest)
        write_manifest(half, manifest)
        check_stage(half)
    except (ArtifactError, OSError) as error:
        remove_path(half)
        log(f"{folder.name}: {source} has the same, but cannot be shared ({error})")
        return None
    move_into_place(half, folder)
    remove_path(folder.with_name(f"{folder.name}.partial"))
    log(f"{folder.name}: shared with {source.parent.name}, which has the same")
    return manifest


def _link_files(source: Path, half: Path, manifest: Manifest) -> None:
    half.mkdir(parents=True)
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ArtifactError(f"its {MANIFEST_FILE} names a file outside of it")
        target = half / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, target, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError:  # no hard links here, or too many of this file
            shutil.copyfile(source / name, target)
