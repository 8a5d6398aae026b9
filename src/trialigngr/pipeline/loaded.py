"""`Run`: a finished run folder, ready to recommend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.catalog.items import Item
from trialigngr.decode.recommend import Recommender
from trialigngr.foundation.artifact import Manifest, read_manifest
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import ArtifactError, CatalogError, did_you_mean
from trialigngr.pipeline.live import LiveParts
from trialigngr.pipeline.parts import Parts, Rows
from trialigngr.pipeline.stages import ModelSettings
from trialigngr.recipes.recipe import Recipe, read_recipe


@dataclass(frozen=True)
class Recommendation:
    """A recommended item; ``score`` is the log-probability of its SID (None where popularity stands in)."""

    item_id: str
    title: str
    score: float | None


class Run:
    """A run folder. ``parts`` is what was trained and tested, ``live`` what is on offer; both load when needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "recipe.toml").is_file():
            raise ArtifactError(
                f"{folder} is not a run (it has no recipe.toml); make one with `trialigngr run RECIPE --out {folder}`."
            )
        self.recipe: Recipe = read_recipe(str(folder / "recipe.toml"))
        self.parts = Parts(self.recipe, folder)
        self.live = LiveParts(self.parts)

    def manifest(self, stage: str) -> Manifest:
        """Return the manifest of a stage; raise `ArtifactError` when it is not finished or of another version."""
        return read_manifest(self.folder / stage)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` says."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            raise ArtifactError(f"{self.folder} has no metrics.json; run the recipe to its end first.")
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "lists" not in body:
            raise ArtifactError(
                f"{path} was written by an earlier version; delete {self.folder}/evaluation and run the recipe again."
            )
        return body

    @cached_property
    def recommender(self) -> Recommender:
        """Beam search with the run's model; raises when model and SIDs are not of one run."""
        model, sids = self.manifest("model"), self.manifest("sids")
        if model.parents["sids"] != sids.fingerprint:
            raise ArtifactError(
                f"The model in {self.folder} was trained on other SIDs than stand beside it; run the recipe again."
            )
        if model.settings != ModelSettings.of(self.recipe, 0).model_dump(mode="json"):
            raise ArtifactError(
                f"The model in {self.folder} was trained with other settings than its recipe.toml has; run it again."
            )
        self.live.backbone.model.to(pick_device(self.recipe.train.device)).eval()
        return self.live.recommender(self.live.backbone, self.live.chat, self.live.views(self.live.chat))

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        *,
        unseen: bool = True,
        deny: Sequence[str] = (),
        category: str | None = None,
        skip_unknown: bool = False,
    ) -> list[Recommendation]:
        """Return the best k items after a history of item ids, oldest first; ``unseen`` leaves out what is in it.

        ``deny`` are items that must not come back; of a ``category``, only items that bear it do. If k items are
        allowed, k come back. An empty history gets the most popular items. Raises `CatalogError` for an unknown item
        (``skip_unknown`` leaves it out of the history instead), an unknown category, or k < 1.
        """
        if k < 1:
            raise CatalogError(f"k = {k}: ask for at least one item.")
        catalog = self.live.catalog
        known = [item_id for item_id in history if not skip_unknown or item_id in catalog.rows]
        rows = np.array([catalog.row(item_id) for item_id in known], dtype=np.int64)
        denied = np.array([catalog.row(item_id) for item_id in deny], dtype=np.int64)
        others = self._outside(category) if category is not None else rows[:0]
        banned = np.concatenate([rows if unseen else rows[:0], denied, others, self.live.withdrawn_rows])
        if not len(rows):
            return self._popular(k, banned)
        cap = self.recipe.prompt.history_cap
        ranking = self.recommender.recommend(rows[-cap:], k, banned if len(banned) else None)
        return [self._told(int(row), float(score)) for row, score in zip(ranking.rows, ranking.scores, strict=True)]

    def recommend_user(self, user_id: str, k: int = 10, *, unseen: bool = True) -> list[Recommendation]:
        """Return the best k items for a user of the log, after everything they took."""
        return self.recommend(self.history_of(user_id), k, unseen=unseen)

    def history_of(self, user_id: str) -> list[str]:
        """Return the ids of everything a user of the log took, oldest first; an unknown one raises `CatalogError`."""
        histories = self.live.histories
        return [self.live.catalog.ids[row] for row in histories.sequence(histories.user(user_id))]

    def _outside(self, category: str) -> Rows:
        """Return the rows of items that do not bear a category."""
        names = self.live.catalog.table["categories"].to_list()
        inside_N = np.array([category in (own or ()) for own in names], dtype=np.bool_)
        if not inside_N.any():
            known = sorted({name for own in names for name in own or ()})
            raise CatalogError(f"There is no category {category!r} in this catalogue.{did_you_mean(category, known)}")
        return np.flatnonzero(~inside_N)

    def _popular(self, k: int, banned: Rows) -> list[Recommendation]:
        counts = self.live.histories.popularity(len(self.live.catalog))
        best = np.argsort(-counts, kind="stable")
        return [self._told(int(row), None) for row in best[~np.isin(best, banned)][:k]]

    def _told(self, row: int, score: float | None) -> Recommendation:
        item: Item = self.live.catalog[row]
        return Recommendation(item.item_id, item.name, score)


def load(folder: str | Path) -> Run:
    """Open a run folder; ``load("runs/demo").recommend(["p0007", "p0031"], k=5)``."""
    return Run(Path(folder))
