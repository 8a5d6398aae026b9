"""A stage that may ask a language model: which one, about what, and what of that later stages depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialigngr.enrich.prompts import read_prompt
from trialigngr.llm.backends import LANGUAGE_MODELS
from trialigngr.recipes.recipe import Recipe

if TYPE_CHECKING:
    from trialigngr.enrich.captions import CaptionJob
    from trialigngr.enrich.mining import InterestJob
    from trialigngr.enrich.settings import CaptionSettings, InterestSettings
    from trialigngr.llm.settings import ServerSettings


@dataclass(frozen=True)
class LlmStage:
    """What a recipe says of a stage that may ask a language model; ``file`` says what became of each item."""

    settings: CaptionSettings | InterestSettings
    server: ServerSettings
    max_runs: int
    """In how many runs an item that failed is tried, the first included."""
    file: str
    build_job: Callable[[Recipe, Path, str], CaptionJob | InterestJob]
    """A recipe, a run whose catalogue stands, and the model's name → what is asked."""

    @property
    def asks(self) -> bool:
        """Whether a language model is asked."""
        return self.settings.generator in LANGUAGE_MODELS

    @property
    def may_cost(self) -> bool:
        """Whether one is asked that costs money or is elsewhere, as far as the recipe tells."""
        return self.settings.generator == "openai" and (self.server.may_cost_money or self.server.is_remote)

    @property
    def model_name(self) -> str:
        """The language model."""
        return self.settings.identify_model(self.settings.generator)[0]

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """The settings that its answers depend on."""
        return self.settings.identify_model(self.settings.generator)[1]

    def hash_inputs(self, choosing: bool = False) -> dict[str, str]:
        """Return the hashes of what a language model is told; none where no language model is asked. ``choosing``: its
        answers are taken from a list."""
        return read_prompt(self.settings.prompt_template).fingerprint_parts(choosing) if self.asks else {}


def hash_rows(rows: Iterable[object]) -> str:
    """Return 16 hex digits of what rows say."""
    return sha256("\n".join(map(repr, rows)).encode()).hexdigest()[:16]
