"""`Offer`: what a run recommends at one moment. Nothing in it changes; `Run.refresh` puts a newer one in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import SupportsIndex

import numpy as np

from trialigngr.decode.filters import Filter, Rows
from trialigngr.decode.recommend import Ranking, Recommender
from trialigngr.foundation.arguments import Id, read_ids, read_text
from trialigngr.foundation.artifact import read_manifest
from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArgumentError, CatalogError, RecipeError, did_you_mean
from trialigngr.foundation.strict_json import mend_text
from trialigngr.runs.request import Request, read_k
from trialigngr.runs.snapshot import LiveParts
from trialigngr.runs.title_search import title_search
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.task import TASKS, Scope, Task, View
from trialigngr.tasks.views import ItemViews, one_line

_FOUND_BY = {View.TITLE: "SIDs for titles", View.VISUAL: "SIDs for visual descriptions"}


@dataclass(frozen=True)
class Recommendation:
    """A recommended item; ``score`` is the log-probability of its SID, or of its title (None where popularity stands
    in)."""

    item_id: str
    title: str
    score: float | None


class Offer:
    """The items of one moment and the model over them. ``checked`` is called before the model is first asked."""

    def __init__(self, parts: LiveParts, checked: Callable[[], None]) -> None:
        self.parts, self._checked = parts, checked

    def refreshed(self) -> Offer:
        """Return what is on offer now; the same object when nothing has changed.

        Only withdrawals: everything else is kept. Appended batches: catalogue and trie are made anew, and all that was
        in use here is made here, so that no request waits for it.
        """
        parts = self.parts.refreshed()
        if parts is self.parts:
            return self
        now = Offer(parts, self._checked)
        # A copy: other threads may be making more.
        made = dict(self.__dict__)
        if parts.batches == self.parts.batches:
            now.__dict__ = made | {"parts": parts}
        for name in made.keys() - now.__dict__.keys():
            getattr(now, name)
        return now

    @cached_property
    def views(self) -> ItemViews:
        """The items as tokens."""
        return self.parts.views(self.parts.chat)

    @cached_property
    def recommender(self) -> Recommender:
        """Beam search that writes SIDs."""
        self._checked()
        return self.parts.recommender(self.parts.backbone, self.parts.chat, self.views)

    @cached_property
    def title_recommender(self) -> Recommender:
        """Beam search that writes titles of items that exist."""
        self._checked()
        task = self._trained_for("titles after a history", lambda t: (t.scope, t.target) == (Scope.HISTORY, View.TITLE))
        search = title_search(self.parts.backbone.model, self.views, self.parts.chat, self.parts.recipe.decode)
        return Recommender(search, self._examples(task).prompt, self.parts.recipe.decode)

    @cached_property
    def _titled(self) -> Rows | None:
        """The rows of items with a title; None where all have one."""
        if not self.views.missing(View.TITLE):
            return None
        return np.array([row for row, title in enumerate(self.views.ids[View.TITLE]) if title], dtype=np.int64)

    @cached_property
    def _of_category(self) -> dict[str, Rows]:
        rows: dict[str, list[int]] = {}
        for row, names in enumerate(self.parts.catalog.table["categories"].to_list()):
            for name in names or ():
                rows.setdefault(name, []).append(row)
        return {name: np.unique(own) for name, own in rows.items()}

    def recommend(self, history: Iterable[Id], k: SupportsIndex, request: Request) -> list[Recommendation]:
        """Return the best k items after a history of item ids, oldest first. If k items are allowed, k come back.

        An empty history gets the most popular items. Raises `CatalogError` for an unknown item (``skip_unknown`` leaves
        it out of the history instead), an unknown category, or k < 1.
        """
        k, catalog = read_k(k), self.parts.catalog
        taken = read_ids(history, "history", ordered=True)
        known = [item_id for item_id in taken if not request.skip_unknown or item_id in catalog.rows]
        rows = np.array([catalog.row(item_id) for item_id in known], dtype=np.int64)
        (allowed,) = self.filters([rows], request)
        if not len(rows):
            log("The history is empty: these are the most popular items.")
            return self._popular(k, allowed)
        own = self.recommender if request.by == "sid" else self.title_recommender
        self.beams_for(k)
        return self._told(own.recommend(rows[-self.parts.recipe.prompt.history_cap :], k, allowed))

    def find(self, text: str, k: SupportsIndex, view: View, request: Request) -> list[Recommendation]:
        """Return the k items that a title (T1), or a visual description (T7), means most likely.

        Raises `RecipeError` when the run was not trained on that task, `CatalogError` for an empty text.
        """
        k, text = read_k(k), read_text(text, "text")
        if view not in tuple(_FOUND_BY):
            raise ArgumentError(f"view = {view!r}: items are found by {' or '.join(map(repr, map(str, _FOUND_BY)))}.")
        wanted = _FOUND_BY[view]
        task = self._trained_for(wanted, lambda t: (t.scope, t.source, t.target) == (Scope.ITEM, view, View.SID))
        prompt, chat = self.parts.recipe.prompt, self.parts.chat
        limit = prompt.title_tokens if view is View.TITLE else prompt.visual_tokens
        tokens = chat.encode([one_line(mend_text(text))])[0][:limit]
        if not tokens:
            raise CatalogError("The text is empty; say what is looked for.")
        asked = [*chat.header(task.system, task.instruction), *tokens, *chat.tail]
        (allowed,) = self.filters([np.empty(0, dtype=np.int64)], request)
        self.beams_for(k)
        return self._told(self.recommender.after(asked, k, allowed))

    def filters(self, histories: Sequence[Rows], request: Request) -> list[Filter]:
        """Return what a request lets come back after each history; raise `CatalogError` for names that are unknown."""
        denied = np.concatenate([self._rows(request.deny), self.parts.withdrawn_rows])
        titled = self._titled if request.by == "title" else None
        members = None if request.category is None else self._members(request.category)
        named = None if request.only is None else self._rows(request.only)
        given = [rows for rows in (titled, members, named) if rows is not None]
        only = reduce(np.intersect1d, given) if given else None
        return [Filter(np.concatenate([rows, denied]) if request.unseen else denied, only) for rows in histories]

    def _rows(self, item_ids: Sequence[str]) -> Rows:
        return np.unique(np.array([self.parts.catalog.row(item_id) for item_id in item_ids], dtype=np.int64))

    def _members(self, category: str) -> Rows:
        if category not in self._of_category:
            hint = did_you_mean(category, sorted(self._of_category))
            raise CatalogError(f"There is no category {category!r} in this catalogue.{hint}")
        return self._of_category[category]

    def beams_for(self, k: int) -> int:
        """Return the beams that k items take: k where that is more than ``decode.beams``, which is said."""
        beams, most = self.parts.recipe.decode.beams, min(k, len(self.parts.catalog))
        if most > beams:
            log(f"k = {k} is more than decode.beams = {beams}: {most} beams are kept.")
        return max(beams, most)

    def _trained_for(self, what: str, fits: Callable[[Task], bool]) -> Task:
        trained = read_manifest(self.parts.own / "model").facts["examples"]
        for task in TASKS.values():
            if task.name in trained and fits(task):
                return task
        names = " or ".join(f"{task.name} ({task.number})" for task in TASKS.values() if fits(task))
        raise RecipeError(f"This run's model was not trained to write {what}; train one with {names} in tasks.use.")

    def _examples(self, task: Task) -> TaskExamples:
        return self.parts.examples(task, self.views, self.parts.chat)

    def _popular(self, k: int, allowed: Filter) -> list[Recommendation]:
        best = np.argsort(-self.parts.histories.popularity(len(self.parts.catalog)), kind="stable")
        return [self._item(row, None) for row in best[allowed.keeps(best)][:k].tolist()]

    def _told(self, ranking: Ranking) -> list[Recommendation]:
        return [self._item(*pair) for pair in zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True)]

    def _item(self, row: int, score: float | None) -> Recommendation:
        item = self.parts.catalog[row]
        return Recommendation(item.item_id, item.name, score)
