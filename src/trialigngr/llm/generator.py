"""The protocol of all backends: requests (prompts and perhaps a picture) in, texts out, in groups as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from PIL import Image

from trialigngr.foundation.errors import TriAlignError

T = TypeVar("T")


class GeneratorError(TriAlignError):
    """A generator that cannot work: no key, no server, no such model."""


@dataclass(frozen=True)
class GenerationRequest:
    """One call of a language model. ``number`` comes back with its response.

    ``response_schema`` has the ``name`` and the JSON ``schema`` that a server can hold the model to; None for running
    text.
    """

    number: int
    system_prompt: str
    user_prompt: str
    image: Image.Image | None = None
    response_schema: dict[str, Any] | None = None


@dataclass(frozen=True)
class GenerationResponse:
    """What came back: ``text``, or a ``problem`` in words. ``is_final`` ones would fail again with the same question.

    ``calls`` and tokens are those of all tries.
    """

    number: int
    text: str | None
    problem: str | None = None
    is_final: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 1


class Generator(Protocol):
    """Answers requests."""

    @property
    def name(self) -> str:
        """Who answers, as recorded with every answer."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that an answer depends on beside the question."""
        ...

    @property
    def max_in_flight(self) -> int:
        """How many questions are out together, at most; with several workers, at each."""
        ...

    def generate(self, requests: Iterable[GenerationRequest | None]) -> Iterator[list[GenerationResponse]]:
        """Yield the answers in groups, in any order; the next questions are drawn when a group has been taken.

        None among the questions says that the next one is still being made.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


def iter_batches(requests: Iterable[T | None], size: int) -> Iterator[list[T]]:
    """Yield requests, or whatever is not None, ``size`` at a time; the next are drawn when they are asked for."""
    present = (request for request in requests if request is not None)
    while batch := list(islice(present, size)):
        yield batch
