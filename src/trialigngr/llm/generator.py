"""The protocol of all backends: requests (prompts and perhaps a picture) in, texts out as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from trialigngr.foundation.errors import TriAlignError


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
        """How many requests may be submitted and not collected yet."""
        ...

    def submit(self, request: GenerationRequest) -> None:
        """Take a request; its response is among those that `collect` returns later."""
        ...

    def collect(self, wait: bool) -> list[GenerationResponse]:
        """Return responses that have come and were not returned before, in any order.

        With ``wait``, at least one: no request will be submitted before that, so whatever was is worked on. Without,
        perhaps none, and at once.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...
