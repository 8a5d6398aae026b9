"""`PHASES`: what the language model goes through, one after the other, each from the model of the one before."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError, did_you_mean
from trialigngr.train.settings import DpoSettings, TrainSettings

if TYPE_CHECKING:
    from torch import Tensor

    from trialigngr.models.backbone import Backbone
    from trialigngr.tasks.examples import TaskExamples
    from trialigngr.tasks.settings import TaskSettings
    from trialigngr.tasks.soft_targets import SoftTargets
    from trialigngr.train.objective import Objective
    from trialigngr.train.process_group import ProcessGroup
    from trialigngr.train.trie_softmax import TrieSoftmax


@dataclass(frozen=True)
class PhaseInputs:
    """What a phase's objective is built from. ``train`` are the settings of the loop as the phase has them,
    ``settings`` its own; ``prediction`` names the task whose prompts ask for recommendations. ``level_V`` narrows the
    softmax of SID tokens to their level, ``trie_softmax`` further; ``token_weights_V`` are those of tokens' losses;
    ``soft_targets`` draws targets."""

    backbone: Backbone
    tasks: Mapping[str, TaskExamples]
    prediction: str
    task_settings: TaskSettings
    train: TrainSettings
    settings: Any
    seed: int
    process_group: ProcessGroup
    level_V: Tensor | None = None
    token_weights_V: Tensor | None = None
    trie_softmax: TrieSoftmax | None = None
    soft_targets: SoftTargets | None = None


@dataclass(frozen=True)
class PhaseSpec:
    """A phase of the registry. ``stage`` is the stage that it is, and its folder; ``builder`` the path of the function
    that builds its objective, ``module:name``; ``settings`` its section of a recipe beside ``train``."""

    name: str
    stage: str
    builder: str
    settings: type[Settings] | None = None
    starts_anew: bool = False
    """Whether it trains a new model: the first phase, and no other."""
    trains_all_tasks: bool = False
    """Whether it takes all tasks of the recipe, or only the one whose prompts ask for recommendations."""
    takes_fsdp: bool = False
    """Whether weights may lie in shares."""
    takes_items: bool = False
    """Whether it trains vectors of items too."""
    holds_reference: bool = False
    """Whether it keeps the weights of its start, too: a second copy, where no adapters hold what is trained."""
    adapt_train: Callable[[TrainSettings, Any], TrainSettings] = lambda train, own: train
    """Returns the settings of the loop for this phase."""

    def build_objective(self, inputs: PhaseInputs) -> Objective:
        """Return the phase's objective."""
        module, _, name = self.builder.partition(":")
        objective: Objective = getattr(importlib.import_module(module), name)(inputs)
        return objective


def _adapt_to_dpo(train: TrainSettings, own: DpoSettings) -> TrainSettings:
    changes = {"learning_rate": own.learning_rate, "max_steps": own.max_steps, "unlikelihood_weight": 0.0}
    return train.model_copy(update=changes)


PHASES: dict[str, PhaseSpec] = {
    spec.name: spec
    for spec in (
        PhaseSpec(
            "sft",
            "model",
            "trialigngr.train.sft:build_sft_objective",
            starts_anew=True,
            trains_all_tasks=True,
            takes_fsdp=True,
            takes_items=True,
        ),
        PhaseSpec(
            "dpo",
            "dpo",
            "trialigngr.train.dpo:build_dpo_objective",
            DpoSettings,
            holds_reference=True,
            adapt_train=_adapt_to_dpo,
        ),
    )
}
"""Name → spec."""


def find_phases(names: Sequence[str]) -> list[PhaseSpec]:
    """Return the phases of these names; raise `RecipeError` for an unknown one, and where they cannot follow each
    other: the first trains a model, and each comes once."""
    for name in names:
        if name not in PHASES:
            raise RecipeError(f"There is no phase {name!r}; there are {', '.join(PHASES)}.{did_you_mean(name, PHASES)}")
    if not names or not PHASES[names[0]].starts_anew:
        start = f"phase {names[0]} starts from a model that sft has trained" if names else "there is none"
        raise RecipeError(f"phases = {list(names)}: {start}; begin with sft, such as phases = {['sft', *names]}.")
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise RecipeError(f"phases = {list(names)} names {twice[0]} twice; a phase comes once.")
    return [PHASES[name] for name in names]
