"""`Run`: a finished run folder, ready to recommend."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import pairwise
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, SupportsIndex

from trialigngr.foundation.arguments import Id, read_id, read_list, read_path
from trialigngr.foundation.artifact import RECIPE_FILE, Manifest, read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArgumentError, ArtifactError
from trialigngr.foundation.sealed import read_json
from trialigngr.recipes.model_settings import EvaluationStageSettings, PhaseStageSettings
from trialigngr.recipes.written import is_as_written, read_run_recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.hub_runs import SCHEME, download_run
from trialigngr.runs.recommender import Recommender
from trialigngr.runs.request import By, Recommendations, RecommendRequest
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.systems.registry import GENERATOR
from trialigngr.tasks.task import View
from trialigngr.train.phases import find_phases

if TYPE_CHECKING:
    pass

OTHERS = {
    "sids": "other SIDs",
    "captions": "other captions",
    "catalog": "another catalogue",
    "embeddings": "other embeddings",
}
"""What a model was trained on, when it was not what stands beside it."""


class Run:
    """A run folder. ``artifacts`` is what was trained and tested, ``current_recommender`` what is recommended; both
    load when needed."""

    def __init__(self, folder: Path) -> None:
        self.folder, path = folder, folder / RECIPE_FILE
        self.recipe = read_run_recipe(folder)
        if not is_as_written(path):
            log(f"{path} is not as the run wrote it: where it differs, this run was made by other settings.")
        self.artifacts = RunArtifacts(self.recipe, folder)
        self._recommender = Recommender(CatalogSnapshot(self.artifacts), self._prepare_model)
        self._refresh_lock = Lock()

    def read_stage_manifest(self, stage: str) -> Manifest:
        """Return the manifest of a stage; raise `ArtifactError` when it is not finished or of another version."""
        return read_manifest(self.folder / stage)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` says."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            raise ArtifactError(f"{self.folder} has no metrics.json; run the recipe to its end first.")
        body = read_json(path, "run the recipe again, and it is written anew.")
        if "lists" not in body:
            raise ArtifactError(
                f"{path} was written by an earlier version; delete {self.folder}/evaluation and run the recipe again."
            )
        return body

    @property
    def current_recommender(self) -> Recommender:
        """What is recommended now. Take it once where two answers must be of one moment."""
        return self._recommender

    @property
    def catalog_snapshot(self) -> CatalogSnapshot:
        """What is on offer: the run's items, those appended, without those withdrawn."""
        return self.current_recommender.snapshot

    def refresh_catalog(self, prepare_snapshot: Callable[[CatalogSnapshot], object] = lambda snapshot: None) -> bool:
        """Take up what was appended or withdrawn since, once it is prepared; return whether anything was.

        Requests of other threads go on: each is answered from what was on offer when it came, and none waits until what
        is new has been loaded.
        """
        with self._refresh_lock:
            newer = self._recommender.with_new_snapshot()
            if newer is self._recommender:
                return False
            prepare_snapshot(newer.snapshot)
            self._recommender = newer
            return True

    def check_model(self) -> None:
        """Raise `ArtifactError` when the model is not of the SIDs and the recipe beside it; no weights are read."""
        self._check_parents()
        for phase in find_phases(self.recipe.phases):
            wanted = PhaseStageSettings.from_phase(self.recipe, phase, 0)
            if not wanted.is_recorded_as(self.read_stage_manifest(phase.stage).settings):
                raise ArtifactError(
                    f"The model in {self.folder} was trained with other settings than its recipe.toml has; run it "
                    "again."
                )

    def check_metrics(self) -> None:
        """Raise `ArtifactError` when SIDs, model and test are not of one run; no weights are read."""
        self._check_parents()
        evaluation = self.read_stage_manifest("evaluation")
        for stage in self.recipe.list_system_stages(self.recipe.evaluate.head):
            if not evaluation.is_made_from(stage, self.read_stage_manifest(stage)):
                what = "model" if self.recipe.has_generator and stage == self.recipe.model_stage else stage
                raise ArtifactError(
                    f"The figures in {self.folder} are of another {what} than stands beside them; run the recipe again."
                )
        if not EvaluationStageSettings.from_recipe(self.recipe).is_recorded_as(evaluation.settings):
            raise ArtifactError(
                f"The figures in {self.folder} were made by other settings than its recipe.toml has; run it again."
            )

    def _check_parents(self) -> None:
        if not self.recipe.has_generator:
            return
        model = self.read_stage_manifest("model")
        for before, phase in pairwise(find_phases(self.recipe.phases)):
            start = self.read_stage_manifest(before.stage)
            if not self.read_stage_manifest(phase.stage).is_made_from(before.stage, start):
                raise ArtifactError(
                    f"The model of phase {phase.name} in {self.folder} starts from another one than that of phase "
                    f"{before.name} beside it; run the recipe again."
                )
        for name in ("sids", *model.contents):
            if not model.is_made_from(name, self.read_stage_manifest(name)):
                raise ArtifactError(
                    f"The model in {self.folder} was trained on {OTHERS[name]} than stand"
                    f"{'s' if name == 'catalog' else ''} beside it; run the recipe again."
                )

    def _prepare_model(self) -> None:
        """Put the model where it computes, if it is of this run."""
        from trialigngr.foundation.device import pick_device

        self.check_model()
        self.artifacts.backbone.prepare_inference(pick_device(self.recipe.train.device))

    def recommend(
        self,
        history: Iterable[Id],
        k: SupportsIndex = 10,
        *,
        unseen: bool | None = None,
        deny: Iterable[Id] = (),
        only: Iterable[Id] | None = None,
        category: str | None = None,
        by: By = "sid",
        skip_unknown: bool = False,
        system: str = "",
        user_id: Id | None = None,
        times: Iterable[SupportsIndex] | None = None,
    ) -> Recommendations:
        """Return the best k items after a history of item ids, oldest first; the others are explained in
        `RecommendRequest`.

        If k items are allowed, k come back. An empty history gets the most popular items. A whole number stands for the
        id of its digits. Raises `CatalogError` for an unknown item (``skip_unknown`` leaves it out of the history
        instead), an unknown category, or k < 1, `ArgumentError` for what is no list of ids, no flag and the like, and
        `ArtifactError` for a system that this run has not got.
        """
        return self.recommend_many(
            [
                RecommendRequest(
                    history,
                    k,
                    unseen=unseen,
                    deny=deny,
                    only=only,
                    category=category,
                    skip_unknown=skip_unknown,
                    by=by,
                    system=system,
                    user_id=user_id,
                    times=times,
                )
            ]
        )[0]

    def recommend_many(self, requests: Iterable[RecommendRequest]) -> list[Recommendations]:
        """Return what each request gets, in their order: the same as one by one, many times as fast.

        Every request has its own history, k, filters and system. Raises as `recommend` does; the sentence names the
        request.
        """
        given = read_list(requests, "requests", "RecommendRequest")
        for place, request in enumerate(given):
            if not isinstance(request, RecommendRequest):
                raise ArgumentError(f"requests[{place}] is {type(request).__name__}; give a RecommendRequest.")
        return self.current_recommender.recommend(given)

    def search_items(
        self,
        text: str,
        k: SupportsIndex = 10,
        view: View = View.TITLE,
        *,
        deny: Iterable[Id] = (),
        only: Iterable[Id] | None = None,
        category: str | None = None,
    ) -> Recommendations:
        """Return the k items that a title (T1), or with ``View.VISUAL`` a visual description (T7), means most likely.

        Raises `RecipeError` when the run was not trained on that task, `CatalogError` for an empty text, and as
        `recommend` does.
        """
        request = RecommendRequest((), k, deny=deny, only=only, category=category, system=GENERATOR)
        return self.current_recommender.search_items(text, view, request)

    def recommend_user(
        self,
        user_id: Id,
        k: SupportsIndex = 10,
        *,
        unseen: bool | None = None,
        deny: Iterable[Id] = (),
        only: Iterable[Id] | None = None,
        category: str | None = None,
        by: By = "sid",
        system: str = "",
    ) -> Recommendations:
        """Return the best k items for a user of the log, after everything they took; see `recommend`."""
        histories, catalog = self.catalog_snapshot.histories, self.catalog_snapshot.catalog
        user = histories.find_user(read_id(user_id, "user_id"))
        times = histories.user_times(user)
        request = RecommendRequest(
            [catalog.item_ids[row] for row in histories.user_sequence(user)],
            k,
            unseen=unseen,
            deny=deny,
            only=only,
            category=category,
            by=by,
            system=system,
            user_id=user_id,
            times=None if times is None else times.tolist(),
        )
        return self.recommend_many([request])[0]

    def user_history(self, user_id: Id) -> list[str]:
        """Return the ids of everything a user of the log took, oldest first; an unknown one raises `CatalogError`."""
        histories = self.catalog_snapshot.histories
        user = histories.find_user(read_id(user_id, "user_id"))
        return [self.catalog_snapshot.catalog.item_ids[row] for row in histories.user_sequence(user)]


def load(folder: str | PathLike[str]) -> Run:
    """Open a run folder, or a run on a hub by its address, ``hf://OWNER/NAME``;
    ``load("runs/demo").recommend(["p0007", "p0031"], k=5)``."""
    if isinstance(folder, str) and folder.startswith(SCHEME):
        return Run(download_run(folder))
    return Run(read_path(folder, "folder"))
