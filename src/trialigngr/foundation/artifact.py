"""Artifacts: a stage writes one folder with a ``manifest.json``; unchanged stages are not run again.

A stage works in ``NAME.partial`` and moves the whole into place when it is done, so a kill or a full disk leaves either
the finished stage or a partial one that the next call goes on with. The fingerprint (kind, version, settings, parents)
says what is wanted, and the content (a hash of what came out) what a stage was made from: both decide whether what lies
there is what is wanted. The manifest tells size and hash of every file, and `check_file` is how each is opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from stat import S_IMODE
from types import MappingProxyType
from typing import Any, Literal

from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.files import refuse_links, remove_halves, remove_path, write_text_atomically
from trialigngr.foundation.sealed import SEAL, content_hash, seal_of, write_json
from trialigngr.foundation.stopwatch import measure_seconds

FORMAT_VERSION = 5
RECIPE_FILE = "recipe.toml"
MANIFEST_FILE = "manifest.json"
APPENDED = "appended"
"""Folder of a run that holds batches of appended items, each with stages of its own."""
MARK = ".wanted"
"""In a partial stage: what it will be, and how long it was worked on."""
TELLING = ("metrics.jsonl", "README.md")
"""Files that say how a stage went: what later stages read is the same whatever they say."""
TRACKED = ("tensorboard", "wandb", "mlflow")
"""Folders that other programs keep in a stage; nothing reads them."""


@dataclass(frozen=True)
class Manifest:
    """What a stage was made from (``settings``; ``parents``: name → fingerprint; ``contents``: name → content, of
    parents that are stages) and what came out (``content``: hash of what later stages read; ``files``: name → size and
    hash; ``facts``)."""

    kind: str
    version: int
    fingerprint: str
    settings: dict[str, Any]
    parents: dict[str, str]
    contents: dict[str, str] = field(default_factory=dict)
    content: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def identity_text(self) -> str:
        """What was wanted and what came out."""
        return f"{self.fingerprint}-{self.content}"

    def is_made_from(self, name: str, parent: Manifest) -> bool:
        """Return whether this stage was made from that parent, as it is."""
        return (self.parents.get(name), self.contents.get(name)) == (parent.fingerprint, parent.content)


def compute_fingerprint(kind: str, settings: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """Return 16 hex digits that stand for a stage's kind, format version, settings and parents."""
    body = json.dumps([kind, FORMAT_VERSION, dict(settings), dict(parents)], sort_keys=True, default=str)
    return sha256(body.encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """Return 16 hex digits of the file's content."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest in ``folder``; raise `ArtifactError` if there is none, or one of another format version."""
    path, again = folder / MANIFEST_FILE, describe_remedy(folder)
    if not path.is_file():
        what = "is damaged: it has" if folder.is_dir() else "holds no finished stage:"
        raise ArtifactError(
            f"{folder} {what} no {MANIFEST_FILE}; {again if folder.is_dir() else f'{_describe_rerun(folder)}.'}"
        )
    try:
        # The version first: another one may well have other fields.
        version, manifest = _parse_manifest(path.read_bytes())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        version = manifest = None
    if version not in (FORMAT_VERSION, None):
        raise ArtifactError(
            f"{folder} was written in format version {version}, this is version {FORMAT_VERSION}; "
            "use the release that wrote it, or run the recipe again into a new folder."
        )
    if manifest is None:
        raise ArtifactError(f"{path} is damaged: it cannot be read as a manifest; {again}")
    return manifest


@lru_cache(maxsize=64)
def _parse_manifest(text: bytes) -> tuple[Any, Manifest | None]:
    """Return the version that a manifest tells, and the manifest, if it is of this version and as it was written.

    Once for each text: a run's few manifests are asked for with every file that is opened.
    """
    body = json.loads(text)
    version = body["version"]
    whole = version == FORMAT_VERSION and body.pop(SEAL) == seal_of(body)
    return version, Manifest(**body) if whole else None


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run, be it one that has lost its recipe."""
    return any((folder / name).is_file() for name in (RECIPE_FILE, f"catalog/{MANIFEST_FILE}", f"shop/{MANIFEST_FILE}"))


def is_finished(folder: Path) -> bool:
    """Return whether a stage stands; raise `ArtifactError` where a folder stands that has lost its manifest."""
    return folder.is_dir() and bool(read_manifest(folder))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a stage's manifest."""
    write_json(folder / MANIFEST_FILE, asdict(manifest))


def record_files(folder: Path) -> None:
    """Bring the manifest in ``folder`` up to the files that lie there now."""
    files = _list_files(folder)
    write_manifest(folder, replace(read_manifest(folder), files=files, content=_hash_content(files)))


def _list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return name → size and hash of a stage's files."""
    return {
        name: {"size": path.stat().st_size, "sha256": content_hash(path)} for name, path in _iter_named_files(folder)
    }


def _set_file_modes(partial: Path) -> None:
    """Give every file of a stage the rights of a new file, as some libraries write for their owner's eyes alone."""
    rights = S_IMODE((partial / MARK).stat().st_mode)
    for _, path in _iter_named_files(partial):
        if S_IMODE(path.stat().st_mode) != rights:
            path.chmod(rights)


def _iter_named_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in TRACKED and str(name) not in (MANIFEST_FILE, MARK):
            yield name.as_posix(), path


def _hash_content(files: Mapping[str, Mapping[str, Any]]) -> str:
    hashes = [(name, state["sha256"]) for name, state in sorted(files.items()) if name not in TELLING]
    return sha256(json.dumps(hashes).encode()).hexdigest()[:16]


def check_file(path: Path) -> Path:
    """Return ``path`` when the file is as it was when its stage was finished; every reader of a stage opens it so.

    A file in a folder without a manifest, which no stage wrote, is returned as it is. Raises `ArtifactError`.
    """
    if (path.parent / MANIFEST_FILE).is_file():
        _check_files(path.parent, read_manifest(path.parent), path.name)
    elif not path.is_file():
        raise ArtifactError(f"{path.parent} holds no {path.name}; {_describe_rerun(path.parent)}.")
    return path


def check_stage(folder: Path, but: tuple[str, ...] = ()) -> Manifest:
    """Return the manifest of a stage all of whose files, ``but`` some, are as they were; raise `ArtifactError`."""
    manifest = read_manifest(folder)
    for name in manifest.files:
        if name not in but:
            _check_files(folder, manifest, name)
    return manifest


def _check_files(stage: Path, manifest: Manifest, name: str) -> None:
    """Raise `ArtifactError` when a file of a stage is not what its manifest says."""
    path, wanted = stage / name, manifest.files.get(name)
    if wanted is None:
        problem = f"its {MANIFEST_FILE} knows no {name}"
    elif not path.is_file():
        problem = f"{name} is missing"
    elif (size := path.stat().st_size) != wanted["size"]:
        problem = f"{name} has {size:,} bytes and not {wanted['size']:,}"
    elif content_hash(path) != wanted["sha256"]:
        problem = f"{name} is not what was written"
    else:
        return
    raise ArtifactError(f"{stage} is damaged: {problem}; {describe_remedy(stage)}")


def describe_remedy(stage: Path) -> str:
    """Say what helps when a stage is damaged: it is made again by whoever made it."""
    return f"delete {stage} and {_describe_rerun(stage)}."


def _describe_rerun(stage: Path) -> str:
    appended = stage.absolute().parent.parent.name == APPENDED
    return f"{'append its items' if appended else 'run the recipe'} again"


NOTHING: Mapping[str, str] = MappingProxyType({})
StageStatus = Literal["done", "begun", "changed", "to do", "depends"]


def read_stage_status(
    folder: Path, expected_fingerprint: str, contents: Mapping[str, str] | None = NOTHING
) -> StageStatus:
    """Say how a stage stands: done, begun and interrupted, something else in its place, or nothing there.

    ``contents`` is what its parents hold; None where that is not known yet, since one of them is to be made: then what
    stands there ``depends`` on how that comes out.
    """
    manifest = read_manifest(folder) if (folder / MANIFEST_FILE).exists() else None
    if manifest is not None and manifest.fingerprint == expected_fingerprint:
        if contents is None:
            return "depends"
        if manifest.contents == dict(contents):
            return "done"
    if contents is not None and _has_partial_build(folder, _made_from(expected_fingerprint, contents)):
        return "begun"
    return "changed" if folder.exists() else "to do"


def _partial_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _replaced_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.replaced")


def _made_from(wanted: str, contents: Mapping[str, str]) -> str:
    """Return what a partial stage is marked with: work on other contents is not gone on with."""
    return " ".join([wanted, *(f"{name}={content}" for name, content in sorted(contents.items()))])


def _has_partial_build(folder: Path, mark: str) -> bool:
    partial = _partial_folder(folder)
    if partial.is_symlink() or not (partial / MARK).is_file():
        return False
    return (partial / MARK).read_text(encoding="utf-8", errors="replace").splitlines()[:1] == [mark]


def move_into_place(partial: Path, folder: Path) -> None:
    """Put ``partial`` in the place of ``folder``; a kill at any moment leaves no stage without its manifest there."""
    replaced = _replaced_folder(folder)
    remove_path(replaced)
    if folder.exists():
        folder.replace(replaced)
    partial.replace(folder)
    _remove_traces(folder)


def _remove_traces(folder: Path) -> None:
    """Remove what is of no use once a stage stands, and what a kill may have left: its mark, and what it replaced."""
    (folder / MARK).unlink(missing_ok=True)
    remove_path(_replaced_folder(folder))


def make_stage(
    folder: Path,
    kind: str,
    settings: Settings,
    parents: Mapping[str, str],
    build: Callable[[Path], dict[str, Any]],
    contents: Mapping[str, str] = NOTHING,
    read: Callable[[Path], str] | None = None,
    rebuild: bool = False,
) -> Manifest:
    """Return the manifest of the stage in ``folder``, building it when what lies there is not what is wanted.

    ``build(partial)`` writes the stage's files into ``partial`` and returns the facts for the manifest. ``partial``
    keeps what an interrupted build of the same fingerprint left; a build of another fingerprint starts empty.
    ``contents`` is what the parents hold that are stages. ``read`` tells of a folder what later stages read of it,
    where that is less than all of its files. ``rebuild`` builds it also when it stands already.

    Raises `ArtifactError` for a stage that is kept and is damaged.
    """
    wanted = compute_fingerprint(kind, settings.model_dump(mode="json"), parents)
    if not rebuild and read_stage_status(folder, wanted, contents) == "done":
        manifest = check_stage(folder)
        _remove_traces(folder)
        log(f"{kind}: unchanged, kept")
        return manifest
    if folder.exists() and not (folder / MANIFEST_FILE).exists():
        raise ArtifactError(
            f"{folder} is in the way: it is no finished stage of a run (no {MANIFEST_FILE}). Delete it, or move it "
            "elsewhere, and run the recipe again."
        )
    partial, mark = _partial_folder(folder), _made_from(wanted, contents)
    if not _has_partial_build(folder, mark):
        log(f"{kind} …")
        remove_path(partial)
        partial.mkdir(parents=True)
        write_text_atomically(partial / MARK, f"{mark}\n")
    else:
        refuse_links(partial, but=TRACKED)
        if (partial / MANIFEST_FILE).exists():
            log(f"{kind}: whole, put into place")
            move_into_place(partial, folder)
            return read_manifest(folder)
        log(f"{kind}: going on with what an interrupted run left")
    with measure_seconds(partial / MARK, mark) as read_seconds:
        facts = build(partial)
        facts["seconds"] = round(read_seconds(), 1)
    remove_halves(partial)
    _set_file_modes(partial)
    files = _list_files(partial)
    content = read(partial) if read is not None else _hash_content(files)
    values = settings.model_dump(mode="json")
    write_manifest(
        partial, Manifest(kind, FORMAT_VERSION, wanted, values, dict(parents), dict(contents), content, files, facts)
    )
    move_into_place(partial, folder)
    log(f"{kind}: done in {facts['seconds']:.0f} s")
    return read_manifest(folder)
