"""What a recipe says of the trained model and of its test, as their manifests keep it."""

from __future__ import annotations

from trialigngr.decode.recommend import DecodeSettings
from trialigngr.evaluate.figures import EvaluateSettings
from trialigngr.foundation.config import Settings
from trialigngr.models.backbone import BackboneSettings
from trialigngr.recipes.recipe import Recipe
from trialigngr.systems.co_occurrence import CoOccurrenceSettings
from trialigngr.tasks.examples import PromptSettings
from trialigngr.tasks.task import TaskSettings
from trialigngr.train.settings import TrainSettings


class ModelSettings(Settings):
    """Everything that the trained model depends on beside its parents."""

    seed: int
    tasks: TaskSettings
    prompt: PromptSettings
    model: BackboneSettings
    train: TrainSettings
    decode: DecodeSettings

    @classmethod
    def of(cls, recipe: Recipe, seed: int) -> ModelSettings:
        """Return what a recipe says of the model of a seed."""
        return cls(
            seed=recipe.seed + seed,
            tasks=recipe.tasks,
            prompt=recipe.prompt,
            model=recipe.model,
            train=recipe.train.model_copy(update={"trackers": ()}),  # who watches changes nothing
            decode=recipe.decode,
        )


class EvaluationSettings(Settings):
    """Everything that the test depends on beside its parents."""

    decode: DecodeSettings
    evaluate: EvaluateSettings
    co_occurrence: CoOccurrenceSettings

    @classmethod
    def of(cls, recipe: Recipe) -> EvaluationSettings:
        """Return what a recipe says of the test."""
        return cls(decode=recipe.decode, evaluate=recipe.evaluate, co_occurrence=recipe.co_occurrence)
