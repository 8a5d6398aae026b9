"""`spread`: a generator that starts when it is asked, or copies of it on the workers of a Ray cluster. The ledger stays
in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from trialigngr.foundation.executor import RaySettings, make_executor
from trialigngr.llm.backends import LANGUAGE_MODELS
from trialigngr.llm.generator import (
    CallSettings,
    GenerationRequest,
    GenerationResponse,
    Generator,
    GeneratorSettings,
    iter_batches,
)

BatchFunction = Callable[[list[GenerationRequest]], list[GenerationResponse]]


def parallelize_generator(
    start: Callable[[], Generator],
    settings: GeneratorSettings,
    calls: CallSettings,
    ray: RaySettings,
    has_responses: bool = False,
) -> Generator:
    """Return the generator that ``start`` gives, or copies of it on Ray. One by `openai` is never copied: its servers
    are elsewhere already, and its limit of calls is one. Where answers are ``has_responses`` already, it starts when it
    is asked, perhaps never; else at once, so that what cannot work is said before a ledger is made."""
    here = not ray.address or settings.generator == "openai"
    if settings.generator not in LANGUAGE_MODELS:  # one by rule: light enough to be asked who it is
        own: Any = start()
        return own if here else ParallelGenerator(start, own.name, own.settings, own.size, ray)
    size = calls.max_concurrency if settings.generator == "openai" else calls.batch_size
    if here:
        return LazyGenerator(start, *settings.identify_model(settings.generator), size) if has_responses else start()
    return ParallelGenerator(start, *settings.identify_model(settings.generator), size, ray)


class LazyGenerator:
    """A generator that is started by its first questions: where all answers are kept, no model is loaded and no server
    is looked for."""

    def __init__(self, start: Callable[[], Generator], name: str, settings: dict[str, Any], size: int) -> None:
        self.name, self.settings, self.max_in_flight = name, settings, size
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
    """Copies of a generator, each with a worker of a Ray cluster, that answer ``max_in_flight`` questions at a time."""

    def __init__(
        self, start: Callable[[], Generator], name: str, settings: dict[str, Any], size: int, ray: RaySettings
    ) -> None:
        self.name, self.settings, self.max_in_flight = name, settings, size
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
    return lambda questions: [answer for group in generator.generate(questions) for answer in group]
