"""The stages of a run: what each is made from, where it stands, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trialigngr.catalog.prepare import data_fingerprint, prepare
from trialigngr.datasets.synthetic.draw import draw_shop
from trialigngr.embed.collaborative import collaborative_vectors
from trialigngr.embed.items import load_embeddings, load_modalities, write_embeddings
from trialigngr.enrich.captions import CaptionSettings, load_captions, write_captions
from trialigngr.enrich.interests import InterestSettings, load_interests
from trialigngr.enrich.mining import write_interests
from trialigngr.enrich.prompts import read_prompt
from trialigngr.foundation.artifact import Manifest, Status, fingerprint, make_stage, read_manifest, stage_status
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.backends import MODELS
from trialigngr.llm.generator import CallSettings
from trialigngr.pipeline.ranking import rank_targets
from trialigngr.pipeline.training import train_model
from trialigngr.recipes.model_settings import EvaluationSettings, ModelSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import ALONE, Parts
from trialigngr.sequential.sasrec import train_sasrec
from trialigngr.sids.assign import assign_sids
from trialigngr.train.workers import Workers

Facts = dict[str, Any]
Build = Callable[[Path], Facts]
Read = Callable[[Path], str]
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Stage:
    """One stage: ``folder`` is where it stands, ``parents`` the fingerprints of what it is made from (stages, data,
    what language models are told), ``above`` those of them that are stages."""

    name: str
    folder: Path
    settings: Settings
    parents: dict[str, str]
    build: Build = field(repr=False)
    read: Read | None = field(default=None, repr=False)
    """Of a stage that asks language models: what later stages read of it, as a hash."""
    above: tuple[Stage, ...] = field(default=(), repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """What the stage's manifest will carry."""
        return fingerprint(self.name, self.settings.model_dump(mode="json"), self.parents)

    def status(self) -> Status:
        """Say whether the stage is ``done``, ``begun``, ``changed`` (something else stands there) or ``to do``; or
        that it ``depends`` on how stages come out that are to be made before it."""
        known = all(stage.status() == "done" for stage in self.above)
        return stage_status(self.folder, self.fingerprint, self._contents() if known else None)

    def make(self, *, again: bool = False) -> Manifest:
        """Build the stage unless what stands there is what is wanted, made from what those above now hold.

        ``again`` builds it though it stands. Only when later stages then read something else are they made anew.
        """
        parents, contents = self.parents, self._contents()
        return make_stage(self.folder, self.name, self.settings, parents, self.build, contents, self.read, again)

    def _contents(self) -> dict[str, str]:
        return {stage.name: read_manifest(stage.folder).content for stage in self.above}


class Line:
    """Stages in order, each named by those before it."""

    def __init__(self, out: Path) -> None:
        self.out, self.stages = out, dict[str, Stage]()

    def add(
        self,
        name: str,
        settings: Settings,
        parents: str,
        build: Build,
        own: Path | None = None,
        given: Mapping[str, str] = NOTHING,
        read: Read | None = None,
    ) -> None:
        """Add a stage with the named parents, and what is ``given`` from outside as fingerprints.

        ``own`` is where it stands when that is not the top of the run, ``read`` tells what later stages read of it.
        """
        above = tuple(self.stages[parent] for parent in parents.split())
        made_from = {stage.name: stage.fingerprint for stage in above} | dict(given)
        self.stages[name] = Stage(name, (own or self.out) / name, settings, made_from, build, read, above)

    def add_asking(self, name: str, recipe: Recipe, parents: str, build: Build) -> None:
        """Add a stage that may ask a language model: what that is told counts as a parent, since a file may change, and
        what changes its answers though it stands in the calls."""
        settings = getattr(recipe, name)
        self.add(name, settings, parents, build, None, told(settings, getattr(recipe.calls, name)), READ[name])


READ: dict[str, Read] = {
    "captions": lambda folder: _hash(load_captions(folder)),
    "interests": lambda folder: _hash(load_interests(folder)),
}
"""Stages that may ask language models → what later stages read of them: not why there is no answer about an item."""


def told(settings: CaptionSettings | InterestSettings, calls: CallSettings) -> dict[str, str]:
    """Return the hashes of what a language model is told by a stage, and of its engine's arguments that count; none
    where no language model is asked."""
    if settings.generator not in MODELS:
        return {}
    choosing = isinstance(settings, InterestSettings) and settings.choose_from != "anything"
    _, recorded = settings.identity(settings.generator, calls)
    engine = {"engine": _hash(sorted(recorded["engine"].items()))} if "engine" in recorded else {}
    return read_prompt(settings.prompt).told(choosing) | engine


def stages(recipe: Recipe, data: Path | None, out: Path, seed: int, workers: Workers = ALONE) -> list[Stage]:
    """Return the stages of a run in order. Without a data folder the shop is drawn first. Nothing is built here."""
    line = Line(out)
    if data is None:
        root = out / "shop"
        line.add("shop", recipe.shop, "", lambda to: draw_shop(to, recipe.shop))
        parents, given = "shop", {}
    else:
        root = data
        parents, given = "", {"data": data_fingerprint(data, recipe.catalog.columns)}
    fetching = recipe.calls.fetching(out)

    def catalog(to: Path) -> Facts:
        return prepare(recipe.catalog, root, to, fetching, for_model=True)

    line.add("catalog", recipe.catalog, parents, catalog, given=given)
    parts = Parts(recipe, out, seed, workers)
    _add_items(line, recipe, parts)
    _add_sids(line, recipe, parts)
    model = ModelSettings.of(recipe, seed)
    line.add("model", model, "catalog captions sids", lambda to: train_model(parts, to), parts.own)
    compared = "model sasrec" if "sasrec" in recipe.evaluate.baselines else "model"
    line.add("evaluation", EvaluationSettings.of(recipe), compared, lambda to: rank_targets(parts, to), parts.own)
    return list(line.stages.values())


def _add_items(line: Line, recipe: Recipe, parts: Parts) -> None:
    """Add the stages that look at items alone: from pictures and texts to SIDs."""

    def embed(to: Path) -> Facts:
        settings, log = recipe.embeddings, None
        if settings.collaborative_weight:
            log = collaborative_vectors(list(parts.histories.train_sequences()), len(parts.catalog))
        return write_embeddings(settings, parts.catalog, parts.captions, parts.tags, to, None, recipe.ray, log)

    calls, ledger = recipe.calls, recipe.calls.ledger_of(parts.out)

    def caption(to: Path) -> Facts:
        return write_captions(recipe.captions, parts.catalog, to, calls.captions, ledger, recipe.ray)

    def mine(to: Path) -> Facts:
        settings, captions = recipe.interests, parts.captions
        return write_interests(settings, parts.catalog, captions, to, None, calls.interests, ledger, recipe.ray)

    line.add_asking("captions", recipe, "catalog", caption)
    line.add_asking("interests", recipe, "catalog captions", mine)
    line.add("embeddings", recipe.embeddings, "catalog captions interests", embed)


def _hash(read: Sequence[object]) -> str:
    return sha256("\n".join(map(repr, read)).encode()).hexdigest()[:16]


def _add_sids(line: Line, recipe: Recipe, parts: Parts) -> None:
    """Add the SIDs, and before them SASRec where its item vectors or its ranks are wanted."""
    quantizer = recipe.sids.quantizer
    if quantizer == "letter" or "sasrec" in recipe.evaluate.baselines:

        def train(to: Path) -> Facts:
            settings, histories = recipe.sasrec, parts.histories
            valid = parts.sample("valid", settings.validate_users)
            return train_sasrec(settings, histories, len(parts.catalog), valid, recipe.seed, to)

        line.add("sasrec", recipe.sasrec, "catalog", train)

    def assign(to: Path) -> Facts:
        embeddings = parts.out / "embeddings"
        ids, ray = parts.catalog.ids, recipe.ray
        if quantizer == "letter":
            return assign_sids(recipe.sids, load_embeddings(embeddings), ids, to, parts.sasrec.item_vectors, ray)
        if quantizer == "macrec":
            text_ND, pictures_NE = load_modalities(embeddings)
            if not pictures_NE.any():
                raise RecipeError("sids.quantizer = macrec pairs text with pictures, and no item has one; use another.")
            return assign_sids(recipe.sids, text_ND, ids, to, pictures_NE, ray)
        return assign_sids(recipe.sids, load_embeddings(embeddings), ids, to, None, ray)

    line.add("sids", recipe.sids, "embeddings sasrec" if quantizer == "letter" else "embeddings", assign)
