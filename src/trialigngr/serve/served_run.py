"""`ServedRun`: a run behind its queue, asked by queries and answering by models; it knows nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from time import monotonic
from uuid import uuid4

from trialigngr.foundation.artifact import is_finished
from trialigngr.foundation.errors import RecipeError
from trialigngr.runs.recommender import POPULAR
from trialigngr.runs.request import Recommendation, RecommendRequest
from trialigngr.runs.run import Run
from trialigngr.runs.snapshot import CatalogSnapshot
from trialigngr.serve.catalog_index import CatalogIndex, CatalogIndexes
from trialigngr.serve.catalog_versions import name_version
from trialigngr.serve.engine import BatchEngine, BuildPlan, EngineAnswer
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.item_cards import cap_groups, describe_item, describe_recommendations
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.query_plans import QueryPlan, QueryPlanner
from trialigngr.serve.request_models import ExplanationQuery, HistoryQuery, RankQuery, RecommendationQuery
from trialigngr.serve.response_models import (
    AnswerTiming,
    ExplanationResponse,
    HistoryUse,
    ItemCard,
    LeftOutItem,
    RecommendationResponse,
    RunVersion,
    ScoreChange,
)
from trialigngr.systems.registry import SYSTEMS


class ServedRun:
    """``name`` is what requests call the run, ``engine`` its queue, ``head`` the system that answers where none is
    named. Raises `RecipeError` for a run without a language model."""

    def __init__(self, name: str, run: Run, engine: BatchEngine) -> None:
        if not run.recipe.has_generator:
            raise RecipeError(
                f"{run.folder} has no language model, its table is headed by {run.recipe.evaluate.head}: serve and "
                "explore are for runs with a generator."
            )
        self.name, self.run, self.engine = name, run, engine
        self.indexes = CatalogIndexes()
        self.planner = QueryPlanner(self.indexes)
        self.head = run.recipe.evaluate.head
        self._model = run.read_stage_manifest(run.recipe.model_stage).identity_text

    def warm_up(self) -> None:
        """Load all that a first request would wait for."""
        for system in self.list_systems():
            self.run.current_recommender.get_system(system)
        first = self.index.catalog.item_ids[:1]
        self.run.current_recommender.recommend([RecommendRequest(history, 1) for history in (first, [])])
        self._warm_index(self.snapshot)

    def list_systems(self) -> list[str]:
        """Return the systems that can be asked."""
        return [name for name, spec in SYSTEMS.items() if spec.fit is None or is_finished(self.run.folder / name)]

    def take_up_catalog(self) -> bool:
        """Answer from what is on offer now; return whether anything has changed."""
        return self.run.refresh_catalog(self._warm_index)

    def _warm_index(self, snapshot: CatalogSnapshot) -> None:
        """Make what requests look up, before they do: many threads would make it at once."""
        index = self.indexes.find_index(snapshot)
        _ = index.interest_names, index.category_names, index.main_categories
        _ = index.rows_by_brand, index.rows_by_category, index.users_by_item, index.unit_vectors
        _ = snapshot.sids.rows_by_codes, snapshot.histories.user_numbers, snapshot.withdrawn_rows

    @property
    def snapshot(self) -> CatalogSnapshot:
        """What is on offer."""
        return self.run.catalog_snapshot

    @property
    def index(self) -> CatalogIndex:
        """The index of what is on offer."""
        return self.take_snapshot()[1]

    def take_snapshot(self) -> tuple[CatalogSnapshot, CatalogIndex]:
        """Return what is on offer and the index of that very moment."""
        snapshot = self.snapshot
        return snapshot, self.indexes.find_index(snapshot)

    def describe_version(self, snapshot: CatalogSnapshot) -> RunVersion:
        """Return which model and which catalogue answered."""
        return RunVersion(name=self.name, model=self._model, catalogue_version=name_version(snapshot))

    def plan_query(self, query: RecommendationQuery) -> BuildPlan:
        """Return what plans a query when its turn comes."""
        return partial(self.planner.plan_recommendation, query)

    async def recommend(self, query: RecommendationQuery, request_id: str) -> RecommendationResponse:
        """Return the list that a query asks for."""
        begun = monotonic()
        answer = await self._ask(self.plan_query(query), 1)
        return await asyncio.to_thread(self.describe_answer, query, answer, request_id, begun)

    async def rank(self, query: RankQuery, request_id: str) -> RecommendationResponse:
        """Return the candidates of a query, best first."""
        begun = monotonic()
        answer = await self._ask(partial(self.planner.plan_ranking, query), 1)
        shown = RecommendationQuery(
            **query.model_dump(include={"history", "user_id", "run", "system", "include"}), k=1, request_id=None
        )
        return await asyncio.to_thread(
            self.describe_answer, shown, answer, request_id, begun, requested=len(query.items)
        )

    async def explain(self, query: ExplanationQuery) -> ExplanationResponse:
        """Return what each item of a history adds to the score of an item."""
        answer = await self._ask(partial(self.planner.plan_explanation, query), len(query.history) + 1)
        scores = [found[0].score if found else None for found in answer.lists]
        changes = [
            ScoreChange(position=place, item_id=item_id, score_without=without, change=_subtract(scores[0], without))
            for place, (item_id, without) in enumerate(zip(query.history, scores[1:], strict=True))
        ]
        index = _plan_of(answer).index
        card = ItemCard(**describe_item(index, index.find_row(query.item_id), self.name))
        used = self._describe_use(HistoryQuery(system=query.system), answer)
        return ExplanationResponse(**used.model_dump(), item=card, score=scores[0], changes=changes)

    async def _ask(self, build_plan: BuildPlan, size: int) -> EngineAnswer:
        (future,) = self.engine.submit([(build_plan, size)])
        return await self.wait_for(future)

    async def wait_for(self, future: Future[EngineAnswer]) -> EngineAnswer:
        """Return an answer when it is there; raise `ServiceError` when that takes too long."""
        seconds = self.engine.settings.deadline_s
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            raise ServiceError("deadline", f"No answer within {seconds:g} s; try again later.") from None

    def describe_answer(
        self, query: RecommendationQuery, answer: EngineAnswer, request_id: str, begun: float, requested: int = 0
    ) -> RecommendationResponse:
        """Return the list of an answer as the service shows it; ``requested`` stands for k where that is given."""
        found, index = answer.lists[0], _plan_of(answer).index
        fell_back = any(item.source == POPULAR for item in found)
        items: Sequence[Recommendation] = [] if fell_back and query.fallback == "none" else found
        if query.diversity is not None:
            items = cap_groups(items, query.diversity, query.k, index)
        cards = describe_recommendations(items, found.history_used, index, self.name, query.include)
        return RecommendationResponse(
            **self._describe_use(query, answer).model_dump(),
            recommendation_id=uuid4().hex,
            request_id=query.request_id or request_id,
            requested=requested or query.k,
            returned=len(cards),
            num_beams=found.num_beams,
            fallback_used=fell_back and bool(cards),
            items=cards,
            timing_ms=_describe_timing(answer, begun) if "timing" in query.include else None,
        )

    def _describe_use(self, query: HistoryQuery, answer: EngineAnswer) -> HistoryUse:
        found = answer.lists[0]
        return HistoryUse(
            run=self.describe_version(answer.recommender.snapshot),
            system=query.system or self.head,
            softmax=self.run.recipe.decode.score_softmax,
            history_used=len(found.history_used),
            history_dropped=[
                LeftOutItem(item_id=one.item_id, reason=one.reason) for one in found.dropped[-LIMITS.history :]
            ],
            num_dropped=len(found.dropped),
            missing_items=list(_plan_of(answer).missing_items),
        )


def _plan_of(answer: EngineAnswer) -> QueryPlan:
    """Return the plan of an answer, which the planner made."""
    assert isinstance(answer.plan, QueryPlan)  # noqa: S101 - this room makes no other
    return answer.plan


def _subtract(score: float | None, without: float | None) -> float | None:
    return None if score is None or without is None else score - without


def _describe_timing(answer: EngineAnswer, begun: float) -> AnswerTiming:
    return AnswerTiming(
        waited=answer.waited_s * 1000,
        decoded=answer.decoded_s * 1000,
        total=(monotonic() - begun) * 1000,
        batch_size=answer.batch_size,
    )
