"""What a recipe says of the trained model and of its test, as their manifests keep it."""

from __future__ import annotations

from typing import Any

from trialigngr.decode.settings import DecodeSettings
from trialigngr.evaluate.settings import EvaluateSettings
from trialigngr.foundation.config import Settings
from trialigngr.models.settings import BackboneSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.systems.settings import PriorSettings
from trialigngr.tasks.settings import PromptSettings, TaskSettings
from trialigngr.train.phases import PhaseSpec
from trialigngr.train.settings import TrainSettings


class ModelStageSettings(Settings):
    """Everything that the trained model depends on beside its parents."""

    seed: int
    tasks: TaskSettings
    prompt: PromptSettings
    model: BackboneSettings
    train: TrainSettings
    decode: DecodeSettings

    @classmethod
    def from_recipe(cls, recipe: Recipe, seed: int) -> ModelStageSettings:
        """Return what a recipe says of the model of a seed."""
        return cls(
            seed=recipe.seed + seed,
            tasks=recipe.tasks,
            prompt=recipe.prompt,
            model=recipe.model,
            train=recipe.train.model_copy(update={"trackers": ()}),  # who watches changes nothing
            decode=recipe.decode,
        )


class PhaseStageSettings(ModelStageSettings):
    """Everything that the model of a later phase depends on beside its parents."""

    own: dict[str, Any]

    @classmethod
    def from_phase(cls, recipe: Recipe, phase: PhaseSpec, seed: int) -> ModelStageSettings:
        """Return what a recipe says of a phase; of the first that is what it says of the model."""
        common = ModelStageSettings.from_recipe(recipe, seed)
        if phase.starts_anew:
            return common
        own = getattr(recipe, phase.name).model_dump(mode="json") if phase.settings else {}
        return cls(**{name: getattr(common, name) for name in ModelStageSettings.model_fields}, own=own)


class SystemStageSettings(Settings):
    """Everything that a system depends on beside its parents."""

    seed: int
    own: dict[str, Any]

    @classmethod
    def from_recipe(cls, recipe: Recipe, name: str) -> SystemStageSettings:
        """Return what a recipe says of a system."""
        settings = recipe.get_system_settings(name)
        return cls(seed=recipe.seed, own=settings.model_dump(mode="json") if settings else {})


class EvaluationStageSettings(Settings):
    """Everything that the test depends on beside its parents."""

    decode: DecodeSettings
    prior: PriorSettings
    evaluate: EvaluateSettings

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> EvaluationStageSettings:
        """Return what a recipe says of the test; how a prior is tuned and which figures head tables changes nothing."""
        prior = recipe.prior.model_copy(update={"validate_users": 1})
        if not prior.has_say:
            prior = PriorSettings(items_weight=prior.items_weight)
        evaluate = recipe.evaluate.model_copy(update={"seen_items": None})
        return cls(decode=recipe.decode, prior=prior, evaluate=evaluate)


class PriorStageSettings(Settings):
    """Everything that the validation of the generator with its prior depends on beside its parents."""

    decode: DecodeSettings
    prior: PriorSettings
