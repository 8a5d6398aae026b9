"""The stages of a run: what each is made from, where it stands, and how it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trialigngr.catalog.prepare import data_fingerprint, prepare
from trialigngr.catalog.shop.draw import draw_shop
from trialigngr.decode.recommend import DecodeSettings
from trialigngr.embed.items import load_embeddings, write_embeddings
from trialigngr.enrich.captions import load_captions, write_captions
from trialigngr.enrich.interests import load_interests, write_interests
from trialigngr.evaluate.figures import EvaluateSettings
from trialigngr.foundation.artifact import Manifest, Status, fingerprint, make_stage, stage_status
from trialigngr.foundation.config import Settings
from trialigngr.models.backbone import BackboneSettings
from trialigngr.pipeline.parts import Parts
from trialigngr.recipes.recipe import Recipe
from trialigngr.sids.assign import assign_sids
from trialigngr.tasks.examples import PromptSettings
from trialigngr.tasks.task import TaskSettings
from trialigngr.train.loop import TrainSettings

Facts = dict[str, Any]


class ModelSettings(Settings):
    """Everything that the trained model depends on beside its parents."""

    seed: int
    tasks: TaskSettings
    prompt: PromptSettings
    model: BackboneSettings
    train: TrainSettings
    decode: DecodeSettings


class TestSettings(Settings):
    """Everything that the test depends on beside its parents."""

    decode: DecodeSettings
    evaluate: EvaluateSettings


@dataclass(frozen=True)
class Stage:
    """One stage: ``folder`` is where it stands, ``parents`` the stages (or data) whose fingerprints it depends on."""

    name: str
    folder: Path
    settings: Settings
    parents: dict[str, str]
    build: Callable[[Path], Facts] = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """What the stage's manifest will carry."""
        return fingerprint(self.name, self.settings.model_dump(mode="json"), self.parents)

    def status(self) -> Status:
        """Say whether the stage is ``done``, ``begun``, ``changed`` (something else stands there) or ``to do``."""
        return stage_status(self.folder, self.fingerprint)

    def make(self) -> Manifest:
        """Build the stage unless what stands there is what is wanted."""
        return make_stage(self.folder, self.name, self.settings, self.parents, self.build)


def stages(recipe: Recipe, data: Path | None, out: Path, seed: int) -> list[Stage]:
    """Return the stages of a run in order. Without a data folder the shop is drawn first. Nothing is built here."""
    found: dict[str, Stage] = {}

    def add(
        name: str, folder: Path, settings: Settings, parents: dict[str, str], build: Callable[[Path], Facts]
    ) -> None:
        found[name] = Stage(name, folder, settings, parents, build)

    def of(*names: str) -> dict[str, str]:
        return {name: found[name].fingerprint for name in names}

    if data is None:
        add("shop", out / "shop", recipe.shop, {}, lambda partial: draw_shop(partial, recipe.shop))
        source, data = of("shop"), out / "shop"
    else:
        source = {"data": data_fingerprint(data, recipe.catalog.columns)}
    root = data
    parts = Parts(recipe, out, seed)
    add("catalog", out / "catalog", recipe.catalog, source, lambda partial: prepare(recipe.catalog, root, partial))
    add(
        "captions",
        out / "captions",
        recipe.captions,
        of("catalog"),
        lambda p: write_captions(recipe.captions, parts.catalog, p),
    )
    add(
        "interests",
        out / "interests",
        recipe.interests,
        of("catalog", "captions"),
        lambda partial: write_interests(recipe.interests, parts.catalog, parts.captions, partial),
    )
    add(
        "embeddings",
        out / "embeddings",
        recipe.embeddings,
        of("catalog", "captions", "interests"),
        lambda partial: write_embeddings(recipe.embeddings, parts.catalog, parts.captions, parts.tags, partial),
    )
    add(
        "sids",
        out / "sids",
        recipe.sids,
        of("embeddings"),
        lambda partial: assign_sids(recipe.sids, load_embeddings(out / "embeddings"), parts.catalog.ids, partial),
    )
    model = ModelSettings(
        seed=recipe.seed + seed,
        tasks=recipe.tasks,
        prompt=recipe.prompt,
        model=recipe.model,
        train=recipe.train,
        decode=recipe.decode,
    )
    add("model", parts.own / "model", model, of("catalog", "captions", "sids"), parts.train)
    tested = TestSettings(decode=recipe.decode, evaluate=recipe.evaluate)
    add("evaluation", parts.own / "evaluation", tested, of("model"), parts.test)
    return list(found.values())


__all__ = ["ModelSettings", "Stage", "load_captions", "load_interests", "stages"]
