"""Where the ``sids`` commands find things: runs, folders and files as SIDs and what is known beside them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.foundation.artifact import (
    MANIFEST_FILE,
    check_file,
    hash_file,
    is_run,
    make_stage,
    read_manifest,
    record_files,
)
from trialigngr.foundation.config import parse_settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.sids.append_sids import append_sids, remove_sids
from trialigngr.sids.assign import QUANTIZER_FILE, assign_sids
from trialigngr.sids.embeddings import read_embeddings
from trialigngr.sids.errors import SidError
from trialigngr.sids.fidelity import HeldOutFidelity
from trialigngr.sids.formats import import_sids, read_parquet
from trialigngr.sids.quality import QualityInputs
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import END_CODE, SemanticIds
from trialigngr.sids.settings import CollisionPolicy, SidSettings
from trialigngr.studies.sid_tables import read_categories, read_targets

RETIRED_FOLDER = "retired"
"""Folder, beside ``sids.parquet``, of the SIDs of removed items that are not free yet."""


@dataclass(frozen=True)
class SidFiles:
    """Files given beside SIDs that are not a run's."""

    embeddings: Path | None = None
    items: Path | None = None
    targets: Path | None = None
    column: str | None = None
    codes_only: bool = False


def parse_sid_settings(quantizer: str, sizes: str | None, changes: Sequence[str]) -> SidSettings:
    """Return the SID settings with these changes; raise `RecipeError` where they do not fit.

    As ``--set`` of a recipe, whose module would bring every stage's libraries with it.
    """
    tree: dict[str, Any] = {"quantizer": quantizer} | ({"codebook_sizes": sizes.split(",")} if sizes else {})
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise RecipeError(f"--set {change!r} is not of the form a.b=value.")
        *parents, last = key.strip().split(".")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set {change!r}: {parent} is a setting, not a table of settings.")
        inner[last] = _parse_value(value)
    return parse_settings(SidSettings, tree, "sids")


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def read_item_vectors(path: Path) -> tuple[list[str], Float32Array]:
    """Return item ids and vectors of a file of embeddings, or of a run."""
    return read_embeddings(check_file(path / "embeddings" / "embeddings.safetensors") if path.is_dir() else path)


def fit_sid_folder(settings: SidSettings, embeddings: Path, out: Path, second_embeddings: Path | None) -> None:
    """Make ``out`` a finished SIDs stage; nothing is done when it is one already, from the same file and settings."""
    ids, vectors_ND = read_embeddings(embeddings)
    parents = {"embeddings": hash_file(embeddings)} | (
        {"beside": hash_file(second_embeddings)} if second_embeddings else {}
    )
    beside_NC = None if second_embeddings is None else _read_vectors_in_order(second_embeddings, ids)
    make_stage(out, "sids", settings, parents, lambda to: assign_sids(settings, vectors_ND, ids, to, beside_NC))


def open_sids(source: Path, files: SidFiles) -> tuple[SemanticIds, QualityInputs]:
    """Return the SIDs at ``source`` and what its run, its folder or the given files know beside them.

    Raises `SidError` where there are none.
    """
    sids, known = _open_sids(source, files)
    if not len(sids):
        raise SidError(f"{source} holds no SID; there is nothing to tell of.")
    return sids, known


def _open_sids(source: Path, files: SidFiles) -> tuple[SemanticIds, QualityInputs]:
    if not source.exists():
        raise SidError(f"There is no {source}.")
    if source.is_file():
        sids = import_sids("lcrec", source) if source.suffix == ".json" else read_parquet(source, files.column)
        return sids, _quality_inputs_from_files(sids, files)
    folder = source / "sids" if is_run(source) else source
    sids = SemanticIds.load(folder)
    if files.codes_only:
        return sids, QualityInputs()
    if is_run(source):
        return sids, _quality_inputs_from_run(source, _quality_inputs_from_files(sids, files), files.embeddings)
    return sids, _quality_inputs_from_folder(folder, sids, files)


def _quality_inputs_from_files(sids: SemanticIds, files: SidFiles) -> QualityInputs:
    return QualityInputs(
        embeddings_ND=None if files.embeddings is None else _read_vectors_in_order(files.embeddings, sids.item_ids),
        categories=None if files.items is None else read_categories(files.items, sids.item_ids),
        targets=None if files.targets is None else read_targets(files.targets, sids.item_ids),
    )


def _quality_inputs_from_folder(folder: Path, sids: SemanticIds, files: SidFiles) -> QualityInputs:
    given = _quality_inputs_from_files(sids, files)
    quantizer = _quantizer_of(folder, sids) if (folder / QUANTIZER_FILE).is_file() else None
    _refuse_width(quantizer, given.embeddings_ND, files.embeddings)
    facts = read_manifest(folder).facts if (folder / MANIFEST_FILE).is_file() else {}
    held_out = HeldOutFidelity.from_facts(facts)
    return QualityInputs(quantizer, given.embeddings_ND, given.categories, given.targets, held_out)


def _quantizer_of(folder: Path, sids: SemanticIds) -> Quantizer:
    """Return the quantizer of a folder; raise `SidError` when the SIDs there are not of its codebooks."""
    quantizer = Quantizer.load(folder / QUANTIZER_FILE)
    sizes, own_NL = quantizer.codebook_sizes, sids.codes_NL[:, : len(quantizer.codebook_sizes)]
    if own_NL.shape[1] < len(sizes) or (own_NL == END_CODE).any() or (own_NL >= np.array(sizes)).any():
        raise SidError(
            f"{folder / QUANTIZER_FILE} has codebooks of {' × '.join(map(str, sizes))}, and the SIDs beside it have "
            "other codes; put the two files of one fit into the folder."
        )
    return quantizer


def _refuse_width(quantizer: Quantizer | None, vectors_ND: Float32Array | None, path: Path | None) -> None:
    if quantizer is not None and vectors_ND is not None and vectors_ND.shape[1] != quantizer.embedding_size:
        raise SidError(
            f"{path} holds vectors of {vectors_ND.shape[1]} dimensions, and the quantizer was fitted on "
            f"{quantizer.embedding_size}; give the embeddings that it was fitted on."
        )


def _quality_inputs_from_run(source: Path, given: QualityInputs, path: Path | None) -> QualityInputs:
    """Fill what no file gave from the run."""
    from trialigngr.runs.run import Run
    from trialigngr.runs.sid_quality import load_quality_inputs

    own = load_quality_inputs(Run(source).artifacts)
    _refuse_width(own.quantizer, given.embeddings_ND, path)
    return replace(
        own,
        embeddings_ND=own.embeddings_ND if given.embeddings_ND is None else given.embeddings_ND,
        categories=given.categories or own.categories,
        targets=own.targets if given.targets is None else given.targets,
    )


def draw_tsne_picture(opened: tuple[SemanticIds, QualityInputs], path: Path) -> None:
    """Draw the t-SNE picture of opened SIDs; raise `SidError` if quantizer or categories are missing."""
    from trialigngr.sids.tsne import compute_code_map, draw_code_map

    sids, beside = opened
    if beside.quantizer is None or beside.categories is None:
        raise SidError("The t-SNE picture needs the quantizer (a folder or a run) and the categories (--items).")
    decoded_ND = beside.quantizer.decode(sids.codes_NL[:, : len(beside.quantizer.codebooks)])
    draw_code_map(compute_code_map(decoded_ND, beside.categories), path)


def append_to_folder(folder: Path, new_embeddings: Path, out: Path, old_embeddings: Path | None) -> str:
    """Write the grown SIDs and the quantizer into ``out``; return what happened, in a few sentences."""
    sids = SemanticIds.load(folder)
    quantizer = _quantizer_of(folder, sids)
    policy: CollisionPolicy = (
        read_manifest(folder).settings["collision_policy"] if (folder / MANIFEST_FILE).is_file() else "nearest_free"
    )
    retired = SemanticIds.load(folder / RETIRED_FOLDER) if (folder / RETIRED_FOLDER).is_dir() else None
    ids, new_MD = read_item_vectors(new_embeddings)
    _refuse_width(quantizer, new_MD, new_embeddings)
    old_ND = None if old_embeddings is None else _read_vectors_in_order(old_embeddings, sids.item_ids)
    _refuse_width(quantizer, old_ND, old_embeddings)
    grown = append_sids(sids, quantizer, ids, new_MD, policy, None if retired is None else retired.codes_NL, old_ND)
    out.mkdir(parents=True, exist_ok=True)
    quantizer.save(out / QUANTIZER_FILE)
    grown.sids.save(out)
    if retired is not None:
        (out / RETIRED_FOLDER).mkdir(exist_ok=True)
        retired.save(out / RETIRED_FOLDER)
    return _describe_growth(out, asdict(grown))


def append_to_run(folder: Path, source: Path) -> str:
    """Give the items of an items file SIDs in a run; return what happened, in a few sentences."""
    from trialigngr.pipeline.add_items import append_items

    return _describe_growth(folder, append_items(folder, source))


def _describe_growth(where: Path, grown: dict[str, Any]) -> str:
    said = [f"{where}: {grown['num_added']} items added, {grown['num_moved']} of them not at their nearest SID;"]
    said.append(f"{grown['collisions']['items']:.2%} of all items share a SID.")
    if drift := grown["drift"]:
        said.append(f"Fidelity {drift['new_fidelity']:.3f} of the new, {drift['old_fidelity']:.3f} of the old items;")
        said.append(f"{drift['share_below_old_5_percent']:.1%} of the new lie below the old items' 5 % point.")
    return " ".join(said)


def remove_from_run(folder: Path, item_ids: Sequence[str], free_sids: bool) -> str:
    """Take items off a run's offer; return what happened."""
    from trialigngr.pipeline.add_items import withdraw_items

    left = withdraw_items(folder, item_ids, free_sids)
    fate = "free" if free_sids else "reserved"
    return f"{folder}: {len(set(item_ids))} items withdrawn, {left} are on offer; their SIDs are {fate}."


def remove_from_folder(folder: Path, item_ids: Sequence[str], free_sids: bool) -> str:
    """Take items out of a folder's SIDs; reserve their SIDs unless ``free_sids``; return what happened."""
    stays, gone = remove_sids(SemanticIds.load(folder), item_ids)
    if not free_sids:
        before = SemanticIds.load(folder / RETIRED_FOLDER) if (folder / RETIRED_FOLDER).is_dir() else None
        (folder / RETIRED_FOLDER).mkdir(exist_ok=True)
        (gone if before is None else _concatenate_sids(before, gone)).save(folder / RETIRED_FOLDER)
    stays.save(folder)
    if (folder / MANIFEST_FILE).is_file():
        record_files(folder)
    return (
        f"{folder}: {len(gone)} items removed, {len(stays)} stay; their SIDs are {'free' if free_sids else 'reserved'}."
    )


def _concatenate_sids(first: SemanticIds, second: SemanticIds) -> SemanticIds:
    codes_NL = np.concatenate([first.codes_NL, second.codes_NL])
    return SemanticIds([*first.item_ids, *second.item_ids], codes_NL, first.codebook_sizes)


def _read_vectors_in_order(path: Path, item_ids: Sequence[str]) -> Float32Array:
    """Return the vectors of a file in the order of these items."""
    ids, vectors_ND = read_item_vectors(path)
    if ids == list(item_ids):
        return vectors_ND
    rows = {item_id: row for row, item_id in enumerate(ids)}
    missing = [item_id for item_id in item_ids if item_id not in rows]
    if missing:
        raise SidError(f"{path} has no vector for {len(missing)} of {len(item_ids)} items; first: {missing[:3]}.")
    return vectors_ND[[rows[item_id] for item_id in item_ids]]
