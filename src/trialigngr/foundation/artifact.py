"""Artifacts: a stage writes one folder with a ``manifest.json``; unchanged stages are not run again.

A stage works in ``NAME.partial`` and moves the whole into place when it is done, so a kill or a full disk leaves either
the finished stage or a partial one that the next call goes on with. The fingerprint (kind, version, settings, parents)
decides whether what lies there is what is wanted.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
AGAIN = "made again"
"""Stands among the parents of a stage that was made once more and came out otherwise."""


@dataclass(frozen=True)
class Manifest:
    """What a stage was made from (``settings``, ``parents``: name → fingerprint) and what came out (``facts``)."""

    kind: str
    version: int
    fingerprint: str
    settings: dict[str, Any]
    parents: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)


def fingerprint(kind: str, settings: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """Return 16 hex digits that stand for a stage's kind, format version, settings and parents."""
    body = json.dumps([kind, FORMAT_VERSION, dict(settings), dict(parents)], sort_keys=True, default=str)
    return sha256(body.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return 16 hex digits of the file's content."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest in ``folder``; raise `ArtifactError` if there is none, or one of another format version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder} holds no finished stage (no {MANIFEST}); run the recipe to make it.")
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        # The version first: another one may well have other fields.
        if body["version"] == FORMAT_VERSION:
            return Manifest(**body)
    except (ValueError, TypeError, KeyError):
        raise ArtifactError(f"{path} cannot be read as a manifest; delete {folder} and run again.") from None
    raise ArtifactError(
        f"{folder} was written in format version {body['version']}, this is version {FORMAT_VERSION}; "
        "use the release that wrote it, or run into a new folder."
    )


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


Status = Literal["done", "begun", "changed", "to do"]


def stage_status(folder: Path, wanted: str) -> Status:
    """Say how a stage stands: done, begun and interrupted, something else in its place, or nothing there."""
    if (folder / MANIFEST).exists() and read_manifest(folder).fingerprint == wanted:
        return "done"
    if _begun(folder, wanted):
        return "begun"
    return "changed" if folder.exists() else "to do"


def _partial(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _begun(folder: Path, wanted: str) -> bool:
    token = _partial(folder) / ".wanted"
    return token.exists() and token.read_text(encoding="utf-8") == wanted


def _settle(partial: Path, folder: Path) -> None:
    """Put ``partial`` in the place of ``folder``; a kill at any moment leaves no stage without its manifest there."""
    replaced = folder.with_name(f"{folder.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.replace(replaced)
    partial.replace(folder)
    (folder / ".wanted").unlink(missing_ok=True)
    shutil.rmtree(replaced, ignore_errors=True)


def with_mark(folder: Path, parents: Mapping[str, str]) -> dict[str, str]:
    """Return the parents of a stage, and among them the mark of what stands there if that was made again from them."""
    stands = read_manifest(folder).parents if (folder / MANIFEST).is_file() else {}
    mark = {AGAIN: stands[AGAIN]} if AGAIN in stands else {}
    return {**parents, **mark} if stands == {**parents, **mark} else dict(parents)


def make_stage(
    folder: Path,
    kind: str,
    settings: Settings,
    parents: Mapping[str, str],
    build: Callable[[Path], dict[str, Any]],
    again: Callable[[Path], str] | None = None,
) -> Manifest:
    """Return the manifest of the stage in ``folder``, building it when what lies there is not what is wanted.

    ``build(partial)`` writes the stage's files into ``partial`` and returns the facts for the manifest. ``partial``
    keeps what an interrupted build of the same fingerprint left; a build of another fingerprint starts empty.
    ``again`` builds it also when it stands already, and tells of a folder what later stages read: when that came out
    otherwise, so does the fingerprint, and all that was made from the stage is made anew.
    """
    wanted = fingerprint(kind, settings.model_dump(mode="json"), parents)
    if again is None and stage_status(folder, wanted) == "done":
        log(f"{kind}: unchanged, kept")
        return read_manifest(folder)
    if folder.exists() and not (folder / MANIFEST).exists():
        raise ArtifactError(f"{folder} is in the way: it is no stage of a run (no {MANIFEST}). Move it elsewhere.")
    partial = _partial(folder)
    if not _begun(folder, wanted):
        log(f"{kind} …")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_text_atomically(partial / ".wanted", wanted)
    elif (partial / MANIFEST).exists():
        log(f"{kind}: whole, put into place")
        _settle(partial, folder)
        return read_manifest(folder)
    else:
        log(f"{kind}: going on with what an interrupted run left")
    started = time.monotonic()
    facts = build(partial)
    facts["seconds"] = round(time.monotonic() - started, 1)
    parents = dict(parents)
    if again is not None and (content := again(partial)) != again(folder):
        parents[AGAIN] = content
        wanted = fingerprint(kind, settings.model_dump(mode="json"), parents)
    manifest = Manifest(kind, FORMAT_VERSION, wanted, settings.model_dump(mode="json"), parents, facts)
    write_text_atomically(partial / MANIFEST, json.dumps(asdict(manifest), indent=2, default=str) + "\n")
    _settle(partial, folder)
    log(f"{kind}: done in {facts['seconds']:.0f} s")
    return manifest
