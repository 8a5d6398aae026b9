"""`parallelize_generator`: a language model that starts when it is asked, or copies of it on the workers of a Ray
cluster. The response cache stays in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from trialigngr.foundation.executor import RaySettings, make_executor
from trialigngr.llm.backends import start_language_model
from trialigngr.llm.generator import GenerationRequest, GenerationResponse, Generator, iter_batches
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
    """A generator that is started by its first requests: where all answers are kept, no model is loaded and no server
    is looked for."""

    def __init__(self, start: Callable[[], Generator], name: str, settings: dict[str, Any], max_in_flight: int) -> None:
        self.name, self.settings, self.max_in_flight = name, settings, max_in_flight
        self._start = start
        self._generator: Generator | None = None

    def generate(self, requests: Iterable[GenerationRequest | None]) -> Iterator[list[GenerationResponse]]:
        """Yield the answers in groups, in any order."""
        self._generator = self._generator or self._start()
        return self._generator.generate(requests)

    def close(self) -> None:
        """Let go of what was started."""
        if self._generator is not None:
            self._generator.close()


class ParallelGenerator:
    """Copies of a generator, each with a worker of a Ray cluster, that answer ``max_in_flight`` requests at a time."""

    def __init__(
        self, start: Callable[[], Generator], name: str, settings: dict[str, Any], max_in_flight: int, ray: RaySettings
    ) -> None:
        self.name, self.settings, self.max_in_flight = name, settings, max_in_flight
        self._executor = make_executor(partial(_make_batch_function, start), ray)

    def generate(self, requests: Iterable[GenerationRequest | None]) -> Iterator[list[GenerationResponse]]:
        """Yield the answers to each batch as they come."""
        for _, group in self._executor.map(iter_batches(requests, self.max_in_flight)):
            yield group

    def close(self) -> None:
        """End the workers."""
        self._executor.close()


def _make_batch_function(start: Callable[[], Generator]) -> BatchFunction:
    generator = start()
    return lambda requests: [response for group in generator.generate(requests) for response in group]
