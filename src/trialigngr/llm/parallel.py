"""`parallelize_generator`: a language model that starts when it is asked, or copies of it on the workers of a Ray
cluster. The response cache stays in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from trialigngr.foundation.executor import BATCHES_PER_WORKER, RaySettings, make_executor
from trialigngr.llm.backends import start_language_model
from trialigngr.llm.generator import GenerationRequest, GenerationResponse, Generator
from trialigngr.llm.settings import BackendSettings, GeneratorSettings

BatchFunction = Callable[[list[GenerationRequest]], list[GenerationResponse]]


def parallelize_generator(
    settings: GeneratorSettings, backend: BackendSettings, ray: RaySettings, has_responses: bool = False
) -> Generator:
    """Return the language model of the settings, or copies of it on Ray.

    One by `openai` is never copied: its servers are elsewhere already, and its limit of calls is one. Where answers are
    there already (``has_responses``), it starts at the first request, perhaps never; else at once, so that what cannot
    work is said before a cache is made.
    """
    start = partial(start_language_model, settings, backend)
    name, recorded_settings = settings.identify_model(settings.generator)
    max_in_flight = backend.max_in_flight(settings.generator)
    if ray.address and settings.generator != "openai":
        return ParallelGenerator(start, name, recorded_settings, max_in_flight, ray)
    return LazyGenerator(start, name, recorded_settings, max_in_flight) if has_responses else start()


class LazyGenerator:
    """A generator that is started by its first request: where all responses are kept, no model is loaded and no server
    is looked for."""

    def __init__(self, start: Callable[[], Generator], name: str, settings: dict[str, Any], max_in_flight: int) -> None:
        self.name, self.settings, self.max_in_flight = name, settings, max_in_flight
        self._start = start
        self._generator: Generator | None = None

    def submit(self, request: GenerationRequest) -> None:
        """Hand a request on."""
        self._generator = self._generator or self._start()
        self._generator.submit(request)

    def collect(self, wait: bool) -> list[GenerationResponse]:
        """Return responses that have come."""
        return [] if self._generator is None else self._generator.collect(wait)

    def close(self) -> None:
        """Let go of what was started."""
        if self._generator is not None:
            self._generator.close()


class _BatchQueue:
    """Batches of the requests that were put in; it goes on after its end when there are more."""

    def __init__(self, batch_size: int) -> None:
        self._requests, self._batch_size = deque[GenerationRequest](), batch_size

    def put(self, request: GenerationRequest) -> None:
        self._requests.append(request)

    def __iter__(self) -> _BatchQueue:
        return self

    def __next__(self) -> list[GenerationRequest]:
        if not self._requests:
            raise StopIteration
        return [self._requests.popleft() for _ in range(min(self._batch_size, len(self._requests)))]


class ParallelGenerator:
    """Copies of a generator, each with a worker of a Ray cluster, that answer a batch of requests at a time."""

    def __init__(
        self, start: Callable[[], Generator], name: str, settings: dict[str, Any], batch_size: int, ray: RaySettings
    ) -> None:
        self.name, self.settings = name, settings
        self.max_in_flight = batch_size * ray.num_workers * BATCHES_PER_WORKER
        self._queue = _BatchQueue(batch_size)
        self._executor = make_executor(partial(_make_batch_function, start), ray)
        self._results = self._iter_results()

    def submit(self, request: GenerationRequest) -> None:
        """Keep a request for a worker that has room."""
        self._queue.put(request)

    def collect(self, wait: bool) -> list[GenerationResponse]:
        """Return the responses to the next batch that is finished; without ``wait`` workers are not looked at."""
        return next(self._results) if wait else []

    def _iter_results(self) -> Iterator[list[GenerationResponse]]:
        while True:
            for _, responses in self._executor.map(self._queue):
                yield responses

    def close(self) -> None:
        """End the workers."""
        self._executor.close()


def _make_batch_function(start: Callable[[], Generator]) -> BatchFunction:
    return partial(_answer_batch, start())


def _answer_batch(generator: Generator, requests: list[GenerationRequest]) -> list[GenerationResponse]:
    for request in requests:
        generator.submit(request)
    responses: list[GenerationResponse] = []
    while len(responses) < len(requests):
        responses += generator.collect(wait=True)
    return responses
