"""The stages of a run: what each is made from, where it stands, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trialigngr.catalog.prepare import fingerprint_data, prepare_catalog
from trialigngr.datasets.synthetic.draw import draw_shop
from trialigngr.embed.collaborative import compute_collaborative_vectors
from trialigngr.embed.embeddings import load_embeddings, load_modalities, write_embeddings
from trialigngr.enrich.captions import load_captions, write_captions
from trialigngr.enrich.interests import load_interests
from trialigngr.enrich.mining import write_interests
from trialigngr.enrich.prompts import read_prompt
from trialigngr.enrich.settings import CaptionSettings, InterestSettings
from trialigngr.foundation.artifact import (
    Manifest,
    StageStatus,
    compute_fingerprint,
    make_stage,
    read_manifest,
    read_stage_status,
)
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.backends import LANGUAGE_MODELS
from trialigngr.pipeline.evaluation import rank_targets
from trialigngr.pipeline.model_training import train_model
from trialigngr.recipes.model_settings import EvaluationStageSettings, ModelStageSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import SINGLE_WORKER, RunArtifacts
from trialigngr.sequential.sasrec import train_sasrec
from trialigngr.sids.assign import assign_sids
from trialigngr.train.process_group import ProcessGroup

Facts = dict[str, Any]
BuildStage = Callable[[Path], Facts]
HashOutput = Callable[[Path], str]
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Stage:
    """One stage: ``folder`` is where it stands, ``parents`` the fingerprints of what it is made from (stages, data,
    what language models are told), ``above`` those of them that are stages."""

    name: str
    folder: Path
    settings: Settings
    parents: dict[str, str]
    build: BuildStage = field(repr=False)
    hash_output: HashOutput | None = field(default=None, repr=False)
    """Of a stage that asks language models: what later stages read of it, as a hash."""
    above: tuple[Stage, ...] = field(default=(), repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """What the stage's manifest will carry."""
        return compute_fingerprint(self.name, self.settings.model_dump(mode="json"), self.parents)

    def read_status(self) -> StageStatus:
        """Return whether the stage is ``done``, ``begun``, ``changed`` (something else stands there) or ``to do``; or
        that it ``depends`` on how stages come out that are to be made before it."""
        known = all(stage.read_status() == "done" for stage in self.above)
        return read_stage_status(self.folder, self.fingerprint, self._parent_contents() if known else None)

    def make_if_stale(self, *, rebuild: bool = False) -> Manifest:
        """Build the stage unless what stands there is what is wanted, made from what those above now hold.

        ``rebuild`` builds it though it stands. Only when later stages then read something else are they made anew.
        """
        parents, contents = self.parents, self._parent_contents()
        return make_stage(
            self.folder, self.name, self.settings, parents, self.build, contents, self.hash_output, rebuild
        )

    def _parent_contents(self) -> dict[str, str]:
        return {stage.name: read_manifest(stage.folder).content for stage in self.above}


class StageGraph:
    """Stages in order, each named by those before it."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder, self.stages = run_folder, dict[str, Stage]()

    def add_stage(
        self,
        name: str,
        settings: Settings,
        parents: str,
        build: BuildStage,
        folder: Path | None = None,
        given: Mapping[str, str] = NOTHING,
        read: HashOutput | None = None,
    ) -> None:
        """Add a stage with the named parents, and what is ``given`` from outside as fingerprints.

        ``folder`` is where it stands when that is not the top of the run, ``read`` tells what later stages read of it.
        """
        above = tuple(self.stages[parent] for parent in parents.split())
        made_from = {stage.name: stage.fingerprint for stage in above} | dict(given)
        self.stages[name] = Stage(name, (folder or self.run_folder) / name, settings, made_from, build, read, above)

    def add_llm_stage(self, name: str, recipe: Recipe, parents: str, build: BuildStage) -> None:
        """Add a stage that may ask a language model: what that is told counts as a parent, since a file may change."""
        settings = getattr(recipe, name)
        self.add_stage(name, settings, parents, build, None, hash_llm_inputs(settings), READ[name])


READ: dict[str, HashOutput] = {
    "captions": lambda folder: _hash_objects(load_captions(folder)),
    "interests": lambda folder: _hash_objects(load_interests(folder)),
}
"""Stages that may ask language models → what later stages read of them: not why there is no answer about an item."""


def hash_llm_inputs(settings: CaptionSettings | InterestSettings) -> dict[str, str]:
    """Return the hashes of what a language model is told by a stage; none where no language model is asked."""
    if settings.generator not in LANGUAGE_MODELS:
        return {}
    choosing = isinstance(settings, InterestSettings) and settings.tag_vocabulary != "open"
    return read_prompt(settings.prompt_template).fingerprint_parts(choosing)


def build_stages(
    recipe: Recipe, data: Path | None, out: Path, seed: int, workers: ProcessGroup = SINGLE_WORKER
) -> list[Stage]:
    """Return the stages of a run in order. Without a data folder the shop is drawn first. Nothing is built here."""
    line = StageGraph(out)
    if data is None:
        root = out / "shop"
        line.add_stage("shop", recipe.shop, "", lambda to: draw_shop(to, recipe.shop))
        parents, given = "shop", {}
    else:
        root = data
        parents, given = "", {"data": fingerprint_data(data, recipe.catalog.column_map)}
    fetching = recipe.calls.download_settings(out)

    def catalog(to: Path) -> Facts:
        return prepare_catalog(recipe.catalog, root, to, fetching, for_model=True)

    line.add_stage("catalog", recipe.catalog, parents, catalog, given=given)
    parts = RunArtifacts(recipe, out, seed, workers)
    _add_item_stages(line, recipe, parts)
    _add_sid_stages(line, recipe, parts)
    model = ModelStageSettings.from_recipe(recipe, seed)
    line.add_stage("model", model, "catalog captions sids", lambda to: train_model(parts, to), parts.seed_folder)
    compared = "model sasrec" if "sasrec" in recipe.evaluate.baselines else "model"
    line.add_stage(
        "evaluation",
        EvaluationStageSettings.from_recipe(recipe),
        compared,
        lambda to: rank_targets(parts, to),
        parts.seed_folder,
    )
    return list(line.stages.values())


def _add_item_stages(graph: StageGraph, recipe: Recipe, artifacts: RunArtifacts) -> None:
    """Add the stages that look at items alone: from pictures and texts to SIDs."""

    def build_embeddings(to: Path) -> Facts:
        settings, log = recipe.embeddings, None
        if settings.collaborative_weight:
            log = compute_collaborative_vectors(list(artifacts.histories.train_sequences()), len(artifacts.catalog))
        return write_embeddings(
            settings, artifacts.catalog, artifacts.captions, artifacts.interest_tags, to, None, recipe.ray, log
        )

    calls, cache_path = recipe.calls, recipe.calls.cache_path(artifacts.run_folder)

    def build_captions(to: Path) -> Facts:
        return write_captions(recipe.captions, artifacts.catalog, to, calls, cache_path, recipe.ray)

    def build_interests(to: Path) -> Facts:
        settings, captions = recipe.interests, artifacts.captions
        return write_interests(settings, artifacts.catalog, captions, to, None, calls, cache_path, recipe.ray)

    graph.add_llm_stage("captions", recipe, "catalog", build_captions)
    graph.add_llm_stage("interests", recipe, "catalog captions", build_interests)
    graph.add_stage("embeddings", recipe.embeddings, "catalog captions interests", build_embeddings)


def _hash_objects(objects: Sequence[object]) -> str:
    return sha256("\n".join(map(repr, objects)).encode()).hexdigest()[:16]


def _add_sid_stages(graph: StageGraph, recipe: Recipe, artifacts: RunArtifacts) -> None:
    """Add the SIDs, and before them SASRec where its item vectors or its ranks are wanted."""
    quantizer = recipe.sids.quantizer
    if quantizer == "letter" or "sasrec" in recipe.evaluate.baselines:

        def build_sasrec(to: Path) -> Facts:
            settings, histories = recipe.sasrec, artifacts.histories
            valid = artifacts.sample_targets("valid", settings.validate_users)
            return train_sasrec(settings, histories, len(artifacts.catalog), valid, recipe.seed, to)

        graph.add_stage("sasrec", recipe.sasrec, "catalog", build_sasrec)

    def build_sids(to: Path) -> Facts:
        embeddings = artifacts.run_folder / "embeddings"
        ids, ray = artifacts.catalog.item_ids, recipe.ray
        if quantizer == "letter":
            return assign_sids(recipe.sids, load_embeddings(embeddings), ids, to, artifacts.sasrec.item_vectors, ray)
        if quantizer == "macrec":
            text_ND, pictures_NE = load_modalities(embeddings)
            if not pictures_NE.any():
                raise RecipeError("sids.quantizer = macrec pairs text with pictures, and no item has one; use another.")
            return assign_sids(recipe.sids, text_ND, ids, to, pictures_NE, ray)
        return assign_sids(recipe.sids, load_embeddings(embeddings), ids, to, None, ray)

    graph.add_stage("sids", recipe.sids, "embeddings sasrec" if quantizer == "letter" else "embeddings", build_sids)
