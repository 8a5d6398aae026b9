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
    from trialigngr.enrich.captions import CaptionJob, CaptionSettings
    from trialigngr.enrich.interests import InterestSettings
    from trialigngr.enrich.mining import InterestJob
    from trialigngr.llm.generator import CallSettings


@dataclass(frozen=True)
class LlmStage:
    """What a recipe says of a stage that may ask a language model; ``file`` says what became of each item."""

    settings: CaptionSettings | InterestSettings
    calls: CallSettings
    file: str
    build_job: Callable[[Recipe, Path, str], CaptionJob | InterestJob]
    """A recipe, a run whose catalogue stands, and the model's name → what is asked."""

    @property
    def asks(self) -> bool:
        """Whether a language model is asked."""
        return self.settings.generator in LANGUAGE_MODELS

    @property
    def model_name(self) -> str:
        """The language model."""
        return self.settings.identify_model(self.settings.generator, self.calls)[0]

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """The settings that its answers depend on."""
        return self.settings.identify_model(self.settings.generator, self.calls)[1]

    def hash_inputs(self, choosing: bool = False) -> dict[str, str]:
        """Return the hashes of what a language model is told, and of its engine's arguments that count; none where no
        language model is asked. ``choosing``: its answers are taken from a list."""
        if not self.asks:
            return {}
        recorded = self.recorded_settings
        engine = {"engine": hash_rows(sorted(recorded["engine"].items()))} if "engine" in recorded else {}
        return read_prompt(self.settings.prompt_template).fingerprint_parts(choosing) | engine


def hash_rows(rows: Iterable[object]) -> str:
    """Return 16 hex digits of what rows say."""
    return sha256("\n".join(map(repr, rows)).encode()).hexdigest()[:16]
