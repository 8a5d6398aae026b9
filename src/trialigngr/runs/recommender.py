"""`Recommender`: what a run recommends at one moment. Nothing in it changes; `Run.refresh_catalog` puts a newer one in
its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, reduce
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from trialigngr.catalog.queries import Queries
from trialigngr.decode.filters import Filter, Rows
from trialigngr.foundation.arguments import read_text
from trialigngr.foundation.artifact import is_finished, read_manifest
from trialigngr.foundation.errors import (
    ArgumentError,
    ArtifactError,
    CatalogError,
    ErrorKind,
    RecipeError,
    did_you_mean,
)
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.parsed_history import ParsedHistory, parse_history
from trialigngr.runs.request import Recommendation, Recommendations, RecommendRequest
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.systems.registry import GENERATOR, GENERATORS, knows_appended, writes_sids
from trialigngr.tasks.task import TASKS, Scope, Task, View

if TYPE_CHECKING:
    from trialigngr.decode.generative_recommender import GenerativeRecommender
    from trialigngr.evaluate.system import RankedLists, System
    from trialigngr.sids.semantic_ids import SemanticIds
    from trialigngr.tasks.examples import TaskExamples
    from trialigngr.tasks.item_views import ItemViews

POPULAR = "popular"
"""The source of what comes back where there is no history to rank by."""
_FOUND_BY = {View.TITLE: "SIDs for titles", View.VISUAL: "SIDs for visual descriptions"}


class Recommender:
    """The items of one moment and the systems over them. ``prepare_model`` is called before the model is first
    asked."""

    def __init__(self, snapshot: CatalogSnapshot, prepare_model: Callable[[], None]) -> None:
        self.snapshot, self._prepare_model = snapshot, prepare_model
        self._systems: dict[str, System] = {}
        self._load_lock = Lock()

    def with_new_snapshot(self) -> Recommender:
        """Return what is on offer now; the same object when nothing has changed.

        Only withdrawals: everything else is kept. Appended batches: catalogue and trie are made anew, and all that was
        in use here is made here, so that no request waits for it.
        """
        parts = self.snapshot.take_new_snapshot()
        if parts is self.snapshot:
            return self
        now = Recommender(parts, self._prepare_model)
        # The others know the trained items alone, whatever is appended.
        now._systems = {name: own for name, own in self._systems.items() if not knows_appended(name)}
        # A copy: other threads may be making more.
        made = dict(self.__dict__)
        if parts.batch_folders == self.snapshot.batch_folders:
            now.__dict__ = made
            now.snapshot = parts
        for name in made.keys() - now.__dict__.keys():
            getattr(now, name)
        for name in list(self._systems):
            now.get_system(name)
        return now

    @cached_property
    def item_views(self) -> ItemViews:
        """The items as tokens, each view encoded when it is asked for."""
        return self.snapshot.encode_views(self.snapshot.chat_template)

    @cached_property
    def sid_recommender(self) -> GenerativeRecommender:
        """Beam search that writes SIDs."""
        self._prepare_model()
        return self.snapshot.build_recommender(self.snapshot.backbone, self.snapshot.chat_template, self.item_views)

    @cached_property
    def mixed_recommender(self) -> GenerativeRecommender:
        """The same with the model's item head, where the recipe mixes it in."""
        return self.snapshot.mix_item_head(self.sid_recommender)

    @cached_property
    def title_recommender(self) -> GenerativeRecommender:
        """Beam search that writes titles of items that exist."""
        from trialigngr.decode.generative_recommender import GenerativeRecommender
        from trialigngr.runs.title_search import build_title_search

        self._prepare_model()
        examples = self._title_examples
        search = build_title_search(
            self.snapshot.backbone, self.item_views, self.snapshot.chat_template, self.snapshot.recipe.decode
        )
        return GenerativeRecommender(search, examples.build_prompt, self.snapshot.recipe.decode)

    @cached_property
    def _sid_examples(self) -> TaskExamples:
        """The task whose prompts ask for SIDs."""
        return self._task_examples(self.snapshot.recipe.tasks.find_recommendation_task())

    @cached_property
    def _title_examples(self) -> TaskExamples:
        """The task whose prompts ask for titles."""
        return self._task_examples(
            self._find_trained_task(
                "titles after a history", lambda t: (t.scope, t.target) == (Scope.HISTORY, View.TITLE)
            )
        )

    def get_system(self, name: str, by: str = "sid") -> System:
        """Return a system of the registry, or the generator that writes ``by`` title; it is loaded once.

        A prior is of the items' SIDs: titles are written without. Raises `ArtifactError` where the run has none of that
        name.
        """
        if name in GENERATORS:
            from trialigngr.systems.generator import GeneratorSystem

            most = self.snapshot.max_prompt_history
            if (name, by) == (GENERATOR, "sid"):
                return GeneratorSystem(self.mixed_recommender, most, self.snapshot.build_priors, name=name)
            recommender = self.sid_recommender if by == "sid" else self.title_recommender
            return GeneratorSystem(recommender, most, name=name)
        with self._load_lock:
            if name not in self._systems:
                if not is_finished(self.snapshot.run_folder / name):
                    fitted = ", ".join(self.snapshot.recipe.evaluate.list_systems())
                    raise ArtifactError(
                        f"{self.snapshot.run_folder} has no system {name!r}; it has {fitted}. Name it in "
                        "evaluate.systems and run the recipe again.",
                        ErrorKind.UNKNOWN_SYSTEM,
                    )
                self._systems[name] = self._find_artifacts(name).load_system(name)
            return self._systems[name]

    def _find_artifacts(self, system: str) -> RunArtifacts:
        """Return the items that a system knows: those on offer, or the trained ones alone."""
        return self.snapshot if knows_appended(system) else self.snapshot.trained_artifacts

    @cached_property
    def _shown_sids(self) -> SemanticIds | None:
        """The SIDs that stand beside items; None where the run has none."""
        stage = self.snapshot.recipe.shown_sids_stage
        return None if stage is None else self.snapshot.load_sids(stage)

    @cached_property
    def _titled_rows(self) -> Rows | None:
        """The rows of items with a title; None where all have one."""
        if not self.item_views.count_missing(View.TITLE):
            return None
        return np.flatnonzero(self.item_views.token_ids[View.TITLE].lengths > 0)

    @cached_property
    def _rows_by_category(self) -> dict[str, Rows]:
        rows: dict[str, list[int]] = {}
        for row, names in enumerate(self.snapshot.catalog.table["categories"].to_list()):
            for name in names or ():
                rows.setdefault(name, []).append(row)
        return {name: np.unique(own) for name, own in rows.items()}

    @cached_property
    def _rows_by_popularity(self) -> Rows:
        counts_N = self.snapshot.histories.count_train_items(len(self.snapshot.catalog))
        return np.argsort(-counts_N, kind="stable")

    def recommend(
        self, requests: Sequence[RecommendRequest], row_filters: Sequence[Filter] | None = None
    ) -> list[Recommendations]:
        """Return the best items of each request, asked together. If k items are allowed, k come back.

        ``row_filters``, one a request, leave out more: for whoever knows rows, and would have to name many ids.
        An empty history gets the most popular items. Raises `CatalogError` for an unknown item (``skip_unknown`` leaves
        it out of the history instead) or an unknown category; of several requests the sentence says which.
        """
        head = self.snapshot.recipe.evaluate.head
        requests = [request if request.system else replace(request, system=head) for request in requests]
        read: list[tuple[ParsedHistory, Filter]] = []
        for place, request in enumerate(requests):
            try:
                history = self._read_history(request)
                (allowed,) = self.build_filters([self._find_rows(request.history, known=True)], request)
                allowed = allowed if row_filters is None else allowed.intersect(row_filters[place])
            except CatalogError as error:
                where = f"requests[{place}]: " if len(requests) > 1 else ""
                raise CatalogError(f"{where}{error}", error.kind) from None
            read.append((history, allowed))
        found: list[Recommendations | None] = [None] * len(requests)
        for places in self._group_requests(requests, [history for history, _ in read]):
            for place, answer in zip(
                places, self._answer_group([(requests[p], *read[p]) for p in places]), strict=True
            ):
                found[place] = answer
        return [answer for answer in found if answer is not None]

    def _read_history(self, request: RecommendRequest) -> ParsedHistory:
        """Return what of a history its system looks at; conventional systems know the trained items alone."""
        catalog, num_items = self.snapshot.catalog, len(self._find_artifacts(request.system).catalog)
        return parse_history(request, catalog, num_items, lambda rows: self._count_looked_at(request, rows))

    def _count_looked_at(self, request: RecommendRequest, rows: Rows) -> int:
        """Return how many items of a history, its last ones, the system looks at."""
        if not len(rows):
            return 0
        system = self.get_system(request.system, request.by)
        if request.system in GENERATORS:  # a prompt has room for so many tokens, too
            return (self._sid_examples if request.by == "sid" else self._title_examples).count_shown_items(rows)
        return len(rows) if system.max_history is None else min(len(rows), system.max_history)

    def _group_requests(
        self, requests: Sequence[RecommendRequest], histories: Sequence[ParsedHistory]
    ) -> Iterable[list[int]]:
        """Return places of requests that one call of a system answers: as each would be answered alone."""
        groups: dict[object, list[int]] = {}
        for place, (request, history) in enumerate(zip(requests, histories, strict=True)):
            asks = len(history.rows) > 0
            width = self.num_beams_for(request.k) if asks and writes_sids(request.system) else 0
            with_times = history.times is not None
            groups.setdefault((asks, request.system, request.by, width, with_times), []).append(place)
        return groups.values()

    def _answer_group(
        self, group: Sequence[tuple[RecommendRequest, ParsedHistory, Filter]]
    ) -> Iterable[Recommendations]:
        request = group[0][0]
        if not len(group[0][1].rows):
            return [self._list_popular(one, history, allowed) for one, history, allowed in group]
        system = self.get_system(request.system, request.by)
        numbers = self.snapshot.trained_artifacts.histories.user_numbers
        users = np.array([numbers.get(one.user_id or "", -1) for one, _, _ in group], dtype=np.int64)
        times = [history.times for _, history, _ in group if history.times is not None]
        queries = Queries([history.rows for _, history, _ in group], users, times or None)
        lists = system.rank(queries, max(one.k for one, _, _ in group), [allowed for _, _, allowed in group])
        num_beams = self.num_beams_for(request.k) if writes_sids(request.system) else None
        return [
            self._to_recommendations(lists.take_list(place, one.k), one, history, num_beams)
            for place, (one, history, _) in enumerate(group)
        ]

    def _list_popular(self, request: RecommendRequest, history: ParsedHistory, allowed: Filter) -> Recommendations:
        rows = self._rows_by_popularity
        best = rows[allowed.is_allowed(rows)][: request.k].tolist()
        return Recommendations([self._to_recommendation(row, POPULAR, None, {}) for row in best], (), history.dropped)

    def search_items(self, text: str, view: View, request: RecommendRequest) -> Recommendations:
        """Return the items that a title (T1), or a visual description (T7), means most likely: as many as a request
        without history asks for.

        Raises `RecipeError` when the run was not trained on that task, `CatalogError` for an empty text.
        """
        from trialigngr.foundation.strict_json import mend_text
        from trialigngr.systems.generator import pad_rankings
        from trialigngr.tasks.item_views import collapse_whitespace

        text = read_text(text, "text")
        if view not in tuple(_FOUND_BY):
            raise ArgumentError(f"view = {view!r}: items are found by {' or '.join(map(repr, map(str, _FOUND_BY)))}.")
        wanted = _FOUND_BY[view]
        task = self._find_trained_task(wanted, lambda t: (t.scope, t.source, t.target) == (Scope.ITEM, view, View.SID))
        prompt, chat = self.snapshot.recipe.prompt, self.snapshot.chat_template
        limit = prompt.max_title_tokens if view is View.TITLE else prompt.max_visual_tokens
        tokens = chat.encode([collapse_whitespace(mend_text(text))])[0][:limit]
        if not tokens:
            raise CatalogError("The text is empty; say what is looked for.", ErrorKind.INVALID_ARGUMENT)
        asked = [*chat.build_header(task.system, task.instruction), *tokens, *chat.assistant_prefix]
        (allowed,) = self.build_filters([np.empty(0, dtype=np.int64)], request)
        ranking = self.sid_recommender.recommend_after_prompt(asked, request.k, allowed)
        history = ParsedHistory(np.empty(0, dtype=np.int64), None, ())
        return self._to_recommendations(pad_rankings([ranking]), request, history, self.num_beams_for(request.k))

    def build_filters(self, histories: Sequence[Rows], request: RecommendRequest) -> list[Filter]:
        """Return what a request lets come back after each history; raise `CatalogError` for names that are unknown."""
        denied = np.concatenate([self._find_rows(request.deny), self.snapshot.withdrawn_rows])
        titled = self._titled_rows if request.by == "title" else None
        members = None if request.category is None else self._category_rows(request.category)
        named = None if request.only is None else self._find_rows(request.only)
        given = [rows for rows in (titled, members, named) if rows is not None]
        only, unseen = reduce(np.intersect1d, given) if given else None, self.leaves_out_seen(request)
        return [Filter(np.concatenate([rows, denied]) if unseen else denied, only) for rows in histories]

    def leaves_out_seen(self, request: RecommendRequest) -> bool:
        """Return whether what the history has is left out: as the request says, or else the run."""
        return self.snapshot.seen_items.masks_recommendations if request.unseen is None else request.unseen

    def _find_rows(self, item_ids: Sequence[str], *, known: bool = False) -> Rows:
        """Return the rows of items, each once; with ``known`` of those that the catalogue has."""
        catalog = self.snapshot.catalog
        wanted = [item_id for item_id in item_ids if item_id in catalog.row_by_id] if known else item_ids
        return np.unique(np.array([catalog.find_row(item_id) for item_id in wanted], dtype=np.int64))

    def _category_rows(self, category: str) -> Rows:
        if category not in self._rows_by_category:
            hint = did_you_mean(category, sorted(self._rows_by_category))
            raise CatalogError(
                f"There is no category {category!r} in this catalogue.{hint}", ErrorKind.UNKNOWN_CATEGORY
            )
        return self._rows_by_category[category]

    def num_beams_for(self, k: int) -> int:
        """Return the beams that k items take: k where that is more than ``decode.num_beams``."""
        return self.snapshot.recipe.decode.choose_num_beams(k, len(self.snapshot.catalog))

    def _find_trained_task(self, description: str, accepts: Callable[[Task], bool]) -> Task:
        trained = read_manifest(self.snapshot.seed_folder / "model").facts["examples"]
        for task in TASKS.values():
            if task.name in trained and accepts(task):
                return task
        names = " or ".join(f"{task.name} ({task.number})" for task in TASKS.values() if accepts(task))
        raise RecipeError(
            f"This run's model was not trained to write {description}; train one with {names} in tasks.use.",
            ErrorKind.NOT_TRAINED,
        )

    def _task_examples(self, task: Task) -> TaskExamples:
        return self.snapshot.build_examples(task, self.item_views, self.snapshot.chat_template)

    def _to_recommendations(
        self, lists: RankedLists, request: RecommendRequest, history: ParsedHistory, num_beams: int | None
    ) -> Recommendations:
        """Return the one list of ``lists`` as items."""
        rows, scores = lists.rows_BK[0].tolist(), lists.scores_BK[0].tolist()
        parts = [
            {name: float(part_BK[0, place]) for name, part_BK in lists.parts.items()} or {request.system: score}
            for place, score in enumerate(scores)
        ]
        items = [
            self._to_recommendation(row, request.system, score, own)
            for row, score, own in zip(rows, scores, parts, strict=True)
        ]
        used = tuple(self.snapshot.catalog.item_ids[row] for row in history.rows.tolist())
        return Recommendations(items, used, history.dropped, num_beams)

    def _to_recommendation(
        self, row: int, source: str, score: float | None, parts: Mapping[str, float]
    ) -> Recommendation:
        item = self.snapshot.catalog[row]
        sid = "" if self._shown_sids is None else self._shown_sids.sid_text(row)
        return Recommendation(item.item_id, item.display_name, score, source, sid, parts)
