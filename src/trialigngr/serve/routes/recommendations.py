"""Lists after a history, one or many, the order of candidates, and what each item of a history adds."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from time import monotonic

from fastapi import APIRouter, Request

from trialigngr.serve.engine import EngineAnswer
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.request_models import BatchQuery, ExplanationQuery, RankQuery, RecommendationQuery
from trialigngr.serve.response_models import BatchEntry, BatchResponse, ExplanationResponse, RecommendationResponse
from trialigngr.serve.responses import describe_fault, read_request_id
from trialigngr.serve.service import Service


def build_recommendation_router(service: Service) -> APIRouter:
    """Return the paths that rank."""
    router = APIRouter(tags=["recommendations"])

    @router.post("/v1/recommendations")
    async def recommend(query: RecommendationQuery, request: Request) -> RecommendationResponse:
        """Return the best items after a history, each with its source, score, SID, reason and picture."""
        return await service.find_run(query.run).recommend(query, read_request_id(request))

    @router.post("/v1/recommendations/batch")
    async def recommend_batch(batch: BatchQuery, request: Request) -> BatchResponse:
        """Return what each request gets, its list or its error; a queue that has no room for all refuses all."""
        return BatchResponse(responses=await answer_batch(service, batch.requests, read_request_id(request)))

    @router.post("/v1/rank")
    async def rank_items(query: RankQuery, request: Request) -> RecommendationResponse:
        """Return given candidates in order, with exact scores."""
        return await service.find_run(query.run).rank(query, read_request_id(request))

    @router.post("/v1/explain")
    async def explain_item(query: ExplanationQuery) -> ExplanationResponse:
        """Return the score of an item after a history, and without each item of it."""
        return await service.find_run(query.run).explain(query)

    return router


async def answer_batch(service: Service, queries: list[RecommendationQuery], request_id: str) -> list[BatchEntry]:
    """Return the answer or the error of each query, in their order."""
    begun = monotonic()
    futures, refused = _submit_all(service, queries)
    answers = [service.find_run(queries[place].run).wait_for(future) for place, future in futures.items()]
    found = dict(zip(futures, await asyncio.gather(*answers, return_exceptions=True), strict=True)) | refused

    def describe_entry(place: int) -> BatchEntry:
        answer, query = found[place], queries[place]
        own_id = query.request_id or f"{request_id[:56]}-{place}"
        if not isinstance(answer, EngineAnswer):
            return BatchEntry(error=describe_fault(_as_exception(answer), own_id))
        return BatchEntry(ok=service.find_run(query.run).describe_answer(query, answer, own_id, begun))

    return await asyncio.to_thread(lambda: [describe_entry(place) for place in range(len(queries))])


def _submit_all(
    service: Service, queries: list[RecommendationQuery]
) -> tuple[dict[int, Future[EngineAnswer]], dict[int, BaseException]]:
    """Return what will hold the answer to each query, by its place, and the errors of those that name no run.

    Raises `ServiceError` where a queue has no room; then queries of other runs are called off if they have not begun.
    """
    futures, refused, by_run = dict[int, Future[EngineAnswer]](), dict[int, BaseException](), dict[str, list[int]]()
    for place, query in enumerate(queries):
        try:
            by_run.setdefault(service.find_run(query.run).name, []).append(place)
        except ServiceError as error:
            refused[place] = error
    try:
        for name, places in by_run.items():
            run = service.find_run(name)
            jobs = run.engine.submit([(run.plan_query(queries[place]), 1) for place in places])
            futures |= zip(places, jobs, strict=True)
    except ServiceError:
        for future in futures.values():
            future.cancel()
        raise
    return futures, refused


def _as_exception(error: BaseException) -> Exception:
    """Return an error of a request; raise what is no error of it but ends the whole, such as a cancellation."""
    if isinstance(error, Exception):
        return error
    raise error
