"""`spread`: a generator that starts when it is asked, or copies of it on the workers of a Ray cluster. The ledger stays
in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from trialigngr.foundation.crew import RaySettings, crew_for
from trialigngr.llm.backends import MODELS
from trialigngr.llm.generator import Answer, CallSettings, Generator, GeneratorSettings, Question, batches

Answering = Callable[[list[Question]], list[Answer]]


def spread(
    start: Callable[[], Generator], who: GeneratorSettings, calls: CallSettings, ray: RaySettings, kept: bool = False
) -> Generator:
    """Return the generator that ``start`` gives, or copies of it on Ray. One by `openai` is never copied: its servers
    are elsewhere already, and its limit of calls is one. Where answers are ``kept`` already, it starts when it is
    asked, perhaps never; else at once, so that what cannot work is said before a ledger is made."""
    here = not ray.address or who.generator == "openai"
    if who.generator not in MODELS:  # one by rule: light enough to be asked who it is
        own: Any = start()
        return own if here else Spread(start, own.name, own.settings, own.size, ray)
    size = calls.concurrency if who.generator in ("openai", "vllm") else calls.batch
    if here:
        # vLLM's engine is a fork, and may hold no lock of an open ledger.
        late = kept and who.generator != "vllm"
        return OnDemand(start, *who.identity(who.generator, calls), size) if late else start()
    return Spread(start, *who.identity(who.generator, calls), size, ray)


class OnDemand:
    """A generator that is started by its first questions: where all answers are kept, no model is loaded and no server
    is looked for."""

    def __init__(self, start: Callable[[], Generator], name: str, settings: dict[str, Any], size: int) -> None:
        self.name, self.settings, self.size = name, settings, size
        self._start = start
        self._own: Generator | None = None

    def answers(self, questions: Iterable[Question | None]) -> Iterator[list[Answer]]:
        """Yield the answers in groups, in any order."""
        self._own = self._own or self._start()
        return self._own.answers(questions)

    def close(self) -> None:
        """Let go of what was started."""
        if self._own is not None:
            self._own.close()


class Spread:
    """Copies of a generator, each with a worker of a Ray cluster, that answer ``size`` questions at a time."""

    def __init__(
        self, start: Callable[[], Generator], name: str, settings: dict[str, Any], size: int, ray: RaySettings
    ) -> None:
        self.name, self.settings, self.size = name, settings, size
        self._crew = crew_for(partial(_answering, start), ray)

    def answers(self, questions: Iterable[Question | None]) -> Iterator[list[Answer]]:
        """Yield the answers to each batch as they come."""
        for _, group in self._crew.map(batches(questions, self.size)):
            yield group

    def close(self) -> None:
        """End the workers."""
        self._crew.close()


def _answering(start: Callable[[], Generator]) -> Answering:
    generator = start()
    return lambda questions: [answer for group in generator.answers(questions) for answer in group]
