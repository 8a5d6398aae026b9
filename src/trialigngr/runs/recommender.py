"""`Recommender`: what a run recommends at one moment. Nothing in it changes; `Run.refresh_catalog` puts a newer one in
its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from trialigngr.decode.filters import Filter, Rows
from trialigngr.foundation.arguments import Id, read_ids, read_text
from trialigngr.foundation.artifact import read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArgumentError, CatalogError, RecipeError, did_you_mean
from trialigngr.runs.request import RecommendRequest, read_k
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.tasks.task import TASKS, Scope, Task, View

if TYPE_CHECKING:
    from trialigngr.decode.generative_recommender import GenerativeRecommender, RankedList
    from trialigngr.tasks.examples import TaskExamples
    from trialigngr.tasks.item_views import ItemViews

_FOUND_BY = {View.TITLE: "SIDs for titles", View.VISUAL: "SIDs for visual descriptions"}


@dataclass(frozen=True)
class Recommendation:
    """A recommended item; ``score`` is the log-probability of its SID, or of its title (None where popularity stands
    in)."""

    item_id: str
    title: str
    score: float | None


class Recommender:
    """The items of one moment and the model over them. ``prepare_model`` is called before the model is first asked."""

    def __init__(self, snapshot: CatalogSnapshot, prepare_model: Callable[[], None]) -> None:
        self.snapshot, self._prepare_model = snapshot, prepare_model

    def with_new_snapshot(self) -> Recommender:
        """Return what is on offer now; the same object when nothing has changed.

        Only withdrawals: everything else is kept. Appended batches: catalogue and trie are made anew, and all that was
        in use here is made here, so that no request waits for it.
        """
        parts = self.snapshot.take_new_snapshot()
        if parts is self.snapshot:
            return self
        now = Recommender(parts, self._prepare_model)
        # A copy: other threads may be making more.
        made = dict(self.__dict__)
        if parts.batch_folders == self.snapshot.batch_folders:
            now.__dict__ = made
            now.snapshot = parts
        for name in made.keys() - now.__dict__.keys():
            getattr(now, name)
        return now

    @cached_property
    def item_views(self) -> ItemViews:
        """The items as tokens."""
        return self.snapshot.encode_views(self.snapshot.chat_template)

    @cached_property
    def sid_recommender(self) -> GenerativeRecommender:
        """Beam search that writes SIDs."""
        self._prepare_model()
        return self.snapshot.build_recommender(self.snapshot.backbone, self.snapshot.chat_template, self.item_views)

    @cached_property
    def title_recommender(self) -> GenerativeRecommender:
        """Beam search that writes titles of items that exist."""
        from trialigngr.decode.generative_recommender import GenerativeRecommender
        from trialigngr.runs.title_search import build_title_search

        self._prepare_model()
        task = self._find_trained_task(
            "titles after a history", lambda t: (t.scope, t.target) == (Scope.HISTORY, View.TITLE)
        )
        search = build_title_search(
            self.snapshot.backbone.model, self.item_views, self.snapshot.chat_template, self.snapshot.recipe.decode
        )
        return GenerativeRecommender(search, self._task_examples(task).build_prompt, self.snapshot.recipe.decode)

    @cached_property
    def _titled_rows(self) -> Rows | None:
        """The rows of items with a title; None where all have one."""
        if not self.item_views.count_missing(View.TITLE):
            return None
        return np.flatnonzero(self.item_views.token_ids[View.TITLE].lengths)

    @cached_property
    def _rows_by_category(self) -> dict[str, Rows]:
        rows: dict[str, list[int]] = {}
        for row, names in enumerate(self.snapshot.catalog.table["categories"].to_list()):
            for name in names or ():
                rows.setdefault(name, []).append(row)
        return {name: np.unique(own) for name, own in rows.items()}

    def recommend(self, history: Iterable[Id], k: SupportsIndex, request: RecommendRequest) -> list[Recommendation]:
        """Return the best k items after a history of item ids, oldest first. If k items are allowed, k come back.

        An empty history gets the most popular items. Raises `CatalogError` for an unknown item (``skip_unknown`` leaves
        it out of the history instead), an unknown category, or k < 1.
        """
        k, catalog = read_k(k), self.snapshot.catalog
        taken = read_ids(history, "history", ordered=True)
        known = [item_id for item_id in taken if not request.skip_unknown or item_id in catalog.row_by_id]
        rows = np.array([catalog.find_row(item_id) for item_id in known], dtype=np.int64)
        (allowed,) = self.build_filters([rows], request)
        if not len(rows):
            log("The history is empty: these are the most popular items.")
            return self._most_popular(k, allowed)
        own = self.sid_recommender if request.by == "sid" else self.title_recommender
        self.num_beams_for(k)
        return self._to_recommendations(own.recommend(rows[-self.snapshot.recipe.prompt.max_history :], k, allowed))

    def search_items(self, text: str, k: SupportsIndex, view: View, request: RecommendRequest) -> list[Recommendation]:
        """Return the k items that a title (T1), or a visual description (T7), means most likely.

        Raises `RecipeError` when the run was not trained on that task, `CatalogError` for an empty text.
        """
        from trialigngr.foundation.strict_json import mend_text
        from trialigngr.tasks.item_views import collapse_whitespace

        k, text = read_k(k), read_text(text, "text")
        if view not in tuple(_FOUND_BY):
            raise ArgumentError(f"view = {view!r}: items are found by {' or '.join(map(repr, map(str, _FOUND_BY)))}.")
        wanted = _FOUND_BY[view]
        task = self._find_trained_task(wanted, lambda t: (t.scope, t.source, t.target) == (Scope.ITEM, view, View.SID))
        prompt, chat = self.snapshot.recipe.prompt, self.snapshot.chat_template
        limit = prompt.max_title_tokens if view is View.TITLE else prompt.max_visual_tokens
        tokens = chat.encode([collapse_whitespace(mend_text(text))])[0][:limit]
        if not tokens:
            raise CatalogError("The text is empty; say what is looked for.")
        asked = [*chat.build_header(task.system, task.instruction), *tokens, *chat.assistant_prefix]
        (allowed,) = self.build_filters([np.empty(0, dtype=np.int64)], request)
        self.num_beams_for(k)
        return self._to_recommendations(self.sid_recommender.recommend_after_prompt(asked, k, allowed))

    def build_filters(self, histories: Sequence[Rows], request: RecommendRequest) -> list[Filter]:
        """Return what a request lets come back after each history; raise `CatalogError` for names that are unknown."""
        denied = np.concatenate([self._find_rows(request.deny), self.snapshot.withdrawn_rows])
        titled = self._titled_rows if request.by == "title" else None
        members = None if request.category is None else self._category_rows(request.category)
        named = None if request.only is None else self._find_rows(request.only)
        given = [rows for rows in (titled, members, named) if rows is not None]
        only = reduce(np.intersect1d, given) if given else None
        return [Filter(np.concatenate([rows, denied]) if request.unseen else denied, only) for rows in histories]

    def _find_rows(self, item_ids: Sequence[str]) -> Rows:
        return np.unique(np.array([self.snapshot.catalog.find_row(item_id) for item_id in item_ids], dtype=np.int64))

    def _category_rows(self, category: str) -> Rows:
        if category not in self._rows_by_category:
            hint = did_you_mean(category, sorted(self._rows_by_category))
            raise CatalogError(f"There is no category {category!r} in this catalogue.{hint}")
        return self._rows_by_category[category]

    def num_beams_for(self, k: int) -> int:
        """Return the beams that k items take: k where that is more than ``decode.num_beams``, which is said."""
        beams, most = self.snapshot.recipe.decode.num_beams, min(k, len(self.snapshot.catalog))
        if most > beams:
            log(f"k = {k} is more than decode.num_beams = {beams}: {most} beams are kept.")
        return max(beams, most)

    def _find_trained_task(self, description: str, accepts: Callable[[Task], bool]) -> Task:
        trained = read_manifest(self.snapshot.seed_folder / "model").facts["examples"]
        for task in TASKS.values():
            if task.name in trained and accepts(task):
                return task
        names = " or ".join(f"{task.name} ({task.number})" for task in TASKS.values() if accepts(task))
        raise RecipeError(
            f"This run's model was not trained to write {description}; train one with {names} in tasks.use."
        )

    def _task_examples(self, task: Task) -> TaskExamples:
        return self.snapshot.build_examples(task, self.item_views, self.snapshot.chat_template)

    def _most_popular(self, k: int, allowed: Filter) -> list[Recommendation]:
        best = np.argsort(-self.snapshot.histories.count_train_items(len(self.snapshot.catalog)), kind="stable")
        return [self._to_recommendation(row, None) for row in best[allowed.is_allowed(best)][:k].tolist()]

    def _to_recommendations(self, ranking: RankedList) -> list[Recommendation]:
        return [
            self._to_recommendation(*pair) for pair in zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True)
        ]

    def _to_recommendation(self, row: int, score: float | None) -> Recommendation:
        item = self.snapshot.catalog[row]
        return Recommendation(item.item_id, item.display_name, score)
