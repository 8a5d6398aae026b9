"""The queue: batches are every request alone, one mistake is nobody else's, and nothing that was taken is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.runs import HISTORY
from trialigngr.decode.filters import Filter
from trialigngr.foundation.errors import CatalogError
from trialigngr.runs.request import Recommendations, RecommendRequest
from trialigngr.runs.run import Run
from trialigngr.serve.engine import BatchEngine, EngineAnswer
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.limits import QueueSettings

PATIENCE = 120


class GatedRecommender:
    """Answers when it is let, with the history of each request; ``bad`` in one is a mistake."""

    def __init__(self) -> None:
        self.sizes, self.gate, self.asked = list[int](), threading.Event(), threading.Event()

    def recommend(self, requests: Sequence[RecommendRequest], row_filters: Sequence[Filter]) -> list[Recommendations]:
        self.asked.set()
        assert self.gate.wait(PATIENCE)
        self.sizes.append(len(requests))
        assert len(row_filters) == len(requests)
        if any("bad" in request.history for request in requests):
            raise CatalogError("There is no item 'bad'.")
        if any("bug" in request.history for request in requests):
            raise ZeroDivisionError
        return [Recommendations([], request.history) for request in requests]


def plan(*histories: Sequence[str]) -> Callable[[Any], Any]:
    requests = tuple(RecommendRequest(history, 3) for history in histories)
    return lambda recommender: SimpleNamespace(requests=requests, row_filters=[Filter()] * len(requests))


@pytest.fixture
def recommender() -> GatedRecommender:
    return GatedRecommender()


def start(recommender: Any, **settings: Any) -> BatchEngine:
    engine = BatchEngine(SimpleNamespace(current_recommender=recommender), QueueSettings(**settings))  # type: ignore[arg-type]
    engine.start()
    return engine


@pytest.fixture
def busy(recommender: GatedRecommender) -> Iterator[BatchEngine]:
    """Return an engine that is held up by one request, so that what comes now waits."""
    engine = start(recommender, max_waiting=8, max_batch=4)
    engine.submit([(plan(["first"]), 1)])
    assert recommender.asked.wait(PATIENCE)
    yield engine
    recommender.gate.set()
    engine.drain()


def answers_of(futures: Sequence[Future[EngineAnswer]]) -> list[tuple[str, ...]]:
    return [found.history_used for future in futures for found in future.result(PATIENCE).lists]


def test_what_waits_is_answered_together(busy: BatchEngine, recommender: GatedRecommender) -> None:
    futures = busy.submit([(plan([str(number)]), 1) for number in range(6)])
    recommender.gate.set()
    assert answers_of(futures) == [(str(number),) for number in range(6)]
    assert recommender.sizes == [1, 4, 2]


def test_a_plan_of_several_requests_is_not_split(busy: BatchEngine, recommender: GatedRecommender) -> None:
    futures = busy.submit([(plan(["a"], ["b"], ["c"]), 3), (plan(["d"], ["e"]), 2)])
    recommender.gate.set()
    assert answers_of(futures) == [("a",), ("b",), ("c",), ("d",), ("e",)]
    assert recommender.sizes == [1, 3, 2]


def test_a_full_queue_takes_all_or_none(busy: BatchEngine) -> None:
    busy.submit([(plan(["a"]), 7)])
    with pytest.raises(ServiceError) as raised:
        busy.submit([(plan(["b"]), 1), (plan(["c"]), 1)])
    assert raised.value.code == "overloaded"
    assert busy.num_waiting == 7
    busy.submit([(plan(["b"]), 1)])


def test_an_empty_queue_takes_whatever_comes_at_once(busy: BatchEngine) -> None:
    (future,) = busy.submit([(plan(*[["a"]] * 20), 20)])
    with pytest.raises(ServiceError) as raised:
        busy.submit([(plan(["b"]), 1)])
    assert raised.value.code == "overloaded"
    future.cancel()


@pytest.mark.parametrize(("wrong", "error"), [("bad", CatalogError), ("bug", ZeroDivisionError)])
def test_a_mistake_is_nobody_elses(
    busy: BatchEngine, recommender: GatedRecommender, wrong: str, error: type[Exception]
) -> None:
    first, second, third = busy.submit([(plan(["a"]), 1), (plan([wrong]), 1), (plan(["c"]), 1)])
    recommender.gate.set()
    assert answers_of([first, third]) == [("a",), ("c",)]
    assert isinstance(second.exception(PATIENCE), error)


def test_a_plan_that_cannot_be_made_is_nobody_elses(busy: BatchEngine, recommender: GatedRecommender) -> None:
    def fail(recommender: Any) -> Any:
        raise ServiceError("unknown_brand", "There is no brand 'x'.")

    first, second = busy.submit([(fail, 1), (plan(["b"]), 1)])
    recommender.gate.set()
    assert isinstance(first.exception(PATIENCE), ServiceError)
    assert answers_of([second]) == [("b",)]


def test_what_nobody_waits_for_any_more_is_not_decoded(busy: BatchEngine, recommender: GatedRecommender) -> None:
    first, second = busy.submit([(plan(["a"]), 1), (plan(["b"]), 1)])
    assert first.cancel()
    recommender.gate.set()
    assert answers_of([second]) == [("b",)]
    assert recommender.sizes == [1, 1]


def test_what_waited_too_long_is_given_up(recommender: GatedRecommender) -> None:
    engine = start(recommender, deadline_s=-1)
    recommender.gate.set()
    (future,) = engine.submit([(plan(["a"]), 1)])
    error = future.exception(PATIENCE)
    assert isinstance(error, ServiceError)
    assert error.code == "deadline"
    engine.drain()


def test_draining_answers_what_waits_and_takes_nothing_more(busy: BatchEngine, recommender: GatedRecommender) -> None:
    futures = busy.submit([(plan([str(number)]), 1) for number in range(5)])
    recommender.gate.set()
    busy.drain()
    assert answers_of(futures) == [(str(number),) for number in range(5)]
    with pytest.raises(ServiceError) as raised:
        busy.submit([(plan(["late"]), 1)])
    assert raised.value.code == "draining"


def test_the_recommender_is_that_of_the_moment(recommender: GatedRecommender) -> None:
    source = SimpleNamespace(current_recommender=recommender)
    engine = BatchEngine(source, QueueSettings())  # type: ignore[arg-type]
    engine.start()
    recommender.gate.set()
    assert engine.submit([(plan(["a"]), 1)])[0].result(PATIENCE).recommender is recommender
    source.current_recommender = newer = GatedRecommender()
    newer.gate.set()
    assert engine.submit([(plan(["b"]), 1)])[0].result(PATIENCE).recommender is newer
    engine.drain()


def test_a_batch_of_one_is_the_single_call(run: Run) -> None:
    engine = BatchEngine(run, QueueSettings())
    engine.start()
    for history in (HISTORY, HISTORY[:1], []):
        found = engine.submit([(plan(history), 1)])[0].result(PATIENCE).lists[0]
        assert found == run.recommend(history, 3)
        assert found.history_used == tuple(history)
    engine.drain()
