"""The phases of the model: the tasks that this data can have become examples, and a backbone is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trialigngr.foundation.console import log
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import CatalogError, RecipeError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.ranks import compute_target_metrics
from trialigngr.models.backbone import Backbone, count_parameters, load_backbone
from trialigngr.models.build import build_backbone, prepare_for_training
from trialigngr.pipeline.model_card import format_model_card
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.sids.assign import QUANTIZER_FILE
from trialigngr.sids.quantizers.codebooks import Float32Array
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import list_sid_tokens
from trialigngr.systems.item_to_item import count_pairs
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.item_views import ItemViews
from trialigngr.tasks.soft_targets import SoftTargets
from trialigngr.tasks.task import Task, View
from trialigngr.train.checkpoint import remove_checkpoints
from trialigngr.train.loop import Trainer
from trialigngr.train.phases import PHASES, PhaseInputs, PhaseSpec, find_phases
from trialigngr.train.process_group import ProcessGroup
from trialigngr.train.settings import TrainSettings
from trialigngr.train.trackers import Tracker, open_trackers
from trialigngr.train.trie_softmax import TrieSoftmax

Facts = dict[str, Any]
SOFT_TARGET_WINDOW = 3
"""So far behind an item count those that were taken after it, one by its distance."""
REQUIRED_VIEWS = {"title": View.TITLE, "caption": View.VISUAL}


def train_phase(phase: PhaseSpec, artifacts: RunArtifacts, out: Path, workers: ProcessGroup) -> Facts:
    """Train the model through a phase, into a folder that ``AutoModelForCausalLM`` opens, and return the facts.
    ``workers`` train it together.

    Raises `RecipeError` when a task has no example on this data, `CatalogError` when nobody can be validated.
    """
    recipe, seed = artifacts.recipe, artifacts.recipe.seed + artifacts.seed
    wanted, prediction = select_possible_tasks(artifacts), recipe.tasks.find_recommendation_task()
    if not phase.trains_all_tasks:
        if prediction not in wanted:
            raise RecipeError(
                f"Phase {phase.name} trains on {prediction.name}, which this data cannot have; leave the phase out."
            )
        wanted = [prediction]
    _check_has_targets(artifacts)
    if workers.is_main_process:
        workers.broadcast_object((phase.name, artifacts.seed))
    backbone = _build_start(phase, artifacts, seed)
    chat = ChatTemplate(backbone.tokenizer)
    views = artifacts.encode_views(chat)
    tasks = _build_examples(artifacts, wanted, views, chat)
    sizes = count_parameters(backbone.trained_module)
    counts = {name: len(examples) for name, examples in tasks.items()}
    log(f"  {sizes['parameters']:,} parameters, {sizes['trained']:,} trained; examples by task: {counts}")
    if recipe.model.lora.rank:
        log(f"  rows of the vocabulary that are trained: {len(backbone.sid_token_ids):,}, those of the SID tokens")
    with ExitStack() as ends:
        trackers = _open_trackers(artifacts, out) if workers.is_main_process else []
        for tracker in trackers:
            ends.callback(tracker.close)
        own = None if phase.settings is None else getattr(recipe, phase.name)
        train = phase.adapt_train(recipe.train, own)
        sid_losses = _prepare_sid_losses(train, artifacts, backbone)
        inputs = PhaseInputs(backbone, tasks, prediction.name, recipe.tasks, train, own, seed, workers, **sid_losses)
        trainer = Trainer(
            train,
            phase.build_objective(inputs),
            _build_validator(artifacts, backbone, chat, views),
            seed,
            name="train" if own is None else phase.name,
            validates_start=not phase.starts_anew,
            process_group=workers,
            trackers=trackers,
        )
        facts = trainer.fit(out)
    facts["valid_ndcg_10"] = facts.pop("best")
    without = {f"items_without_{view}": views.count_missing(kind) for view, kind in _list_used_views(wanted).items()}
    facts |= {**sizes, "examples": counts, "sids": artifacts.sids.content_digest, **without}
    if workers.is_main_process:
        backbone.save(out)
        write_text_atomically(out / "README.md", format_model_card(artifacts, facts, phase))
        remove_checkpoints(out)
    return facts


def _build_start(phase: PhaseSpec, artifacts: RunArtifacts, seed: int) -> Backbone:
    """Return the model that a phase starts from: a new one, or that of the phase before."""
    model, sid_tokens = artifacts.recipe.model, list_sid_tokens(artifacts.sids.codebook_sizes)
    if (before := find_phase_before(artifacts.recipe, phase)) is None:
        new = build_backbone(model, sid_tokens, artifacts.tokenizer_texts(), seed, _load_codebooks(artifacts))
        if not model.items.hidden_size:
            return new
        torch.manual_seed(derive_seed(seed, "items"))
        return replace(new, items=artifacts.build_item_layer(new))
    return prepare_for_training(load_backbone(artifacts.seed_folder / before.stage, sid_tokens), model)


def find_phase_before(recipe: Recipe, phase: PhaseSpec) -> PhaseSpec | None:
    """Return the phase whose model a phase starts from; None for the first."""
    phases = find_phases(recipe.phases)
    place = phases.index(phase)
    return phases[place - 1] if place else None


def help_train_models(recipe: Recipe, out: Path, workers: ProcessGroup) -> None:
    """Help the first worker to train model after model, until it says that there is none left."""
    nothing: tuple[str, int] | None = None
    while (job := workers.broadcast_object(nothing)) is not None:
        phase, artifacts = PHASES[job[0]], RunArtifacts(recipe, out, job[1])
        train_phase(phase, artifacts, artifacts.seed_folder / f"{phase.stage}.partial", workers)


def _load_codebooks(artifacts: RunArtifacts) -> list[Float32Array]:
    """Return the code vectors [K, Z] of each level; none when nobody asks for them."""
    if artifacts.recipe.model.sid_embedding_init != "codebook":
        return []
    books = [level.vectors_KD for level in Quantizer.load(artifacts.run_folder / "sids" / QUANTIZER_FILE).codebooks]
    if tuple(map(len, books)) != tuple(artifacts.sids.codebook_sizes[: len(books)]):
        raise RecipeError("model.sid_embedding_init = codebook needs SIDs of these codebooks' sizes; use mean.")
    return books


def _prepare_sid_losses(train: TrainSettings, artifacts: RunArtifacts, backbone: Backbone) -> dict[str, Any]:
    """Return what the losses of SID tokens are over, how they weigh, and what draws targets, as `PhaseInputs` has
    them."""
    level_V, sizes = _token_levels(artifacts, backbone), artifacts.sids.codebook_sizes
    found: dict[str, Any] = {}
    if train.loss_softmax != "full":
        found["level_V"] = level_V
    if train.loss_softmax == "trie":
        ends = np.cumsum([0, *sizes]).tolist()
        tokens_LK = [backbone.sid_token_ids[first:end] for first, end in pairwise(ends)]
        found["trie_softmax"] = TrieSoftmax.from_trie(artifacts.trie, tokens_LK, pick_device(train.device))
    if train.level_weights:
        if len(train.level_weights) != len(sizes):
            raise RecipeError(
                f"train.level_weights has {len(train.level_weights)} weights, and SIDs have {len(sizes)} tokens."
            )
        weights = torch.tensor([1.0, *np.divide(train.level_weights, np.mean(train.level_weights))])
        found["token_weights_V"] = weights[level_V].to(pick_device(train.device))
    if train.soft_target_share:
        counts_NN = count_pairs(artifacts.histories, len(artifacts.catalog), SOFT_TARGET_WINDOW)
        found["soft_targets"] = SoftTargets(counts_NN, train.soft_target_share)
    return found


def _token_levels(artifacts: RunArtifacts, backbone: Backbone) -> Tensor:
    """Return each token's SID level [V], from 1; 0 where it is no SID token."""
    level_V = torch.zeros(backbone.model.config.vocab_size, dtype=torch.long)
    level_V[backbone.sid_token_ids] = torch.arange(1, len(artifacts.sids.codebook_sizes) + 1).repeat_interleave(
        torch.tensor(artifacts.sids.codebook_sizes)
    )
    return level_V


def _open_trackers(artifacts: RunArtifacts, out: Path) -> list[Tracker]:
    run = artifacts.run_folder.resolve().name + (f"-{artifacts.seed}" if artifacts.seed else "")
    settings = artifacts.recipe.train.model_dump(mode="json") | {"recipe": artifacts.recipe.description}
    return open_trackers(artifacts.recipe.train.trackers, out, run, settings)


def _check_has_targets(artifacts: RunArtifacts) -> None:
    if not (len(artifacts.histories.list_targets("valid")) and len(artifacts.histories.list_targets("test"))):
        raise CatalogError(
            "No user has an item for validation, or for test, so no model can be chosen and tested; "
            "with leave-last that takes three interactions."
        )


def _build_examples(
    artifacts: RunArtifacts, possible: list[Task], views: ItemViews, chat: ChatTemplate
) -> dict[str, TaskExamples]:
    tasks = {task.name: artifacts.build_examples(task, views, chat) for task in possible}
    if empty := [name for name, examples in tasks.items() if not len(examples)]:
        raise RecipeError(f"Task {empty[0]} has no example on this data; leave it out of tasks.use.")
    for view, kind in _list_used_views(possible).items():
        if without := views.count_missing(kind):
            log(f"  {without:,} items without a {view} are left out of the tasks that need one")
    return tasks


def _list_used_views(tasks: Sequence[Task]) -> dict[str, View]:
    """Return the texts that tasks show or ask for, by what they are called: only these are encoded."""
    return {
        name: view for name, view in REQUIRED_VIEWS.items() if any(view in (task.source, task.target) for task in tasks)
    }


def select_possible_tasks(artifacts: RunArtifacts) -> list[Task]:
    """Return the wanted tasks that this data can have, and log those it cannot: without pictures no T7 and T8, without
    titles only T3 and T7. Raises `RecipeError` when none is left."""
    lacking = {View.VISUAL: not any(artifacts.captions), View.TITLE: not any(item.title for item in artifacts.catalog)}
    words = {View.VISUAL: "captions (no pictures, or none described)", View.TITLE: "titles"}
    possible = []
    for task in artifacts.recipe.tasks.list_tasks():
        missing = [words[view] for view in lacking if lacking[view] and view in (task.source, task.target)]
        if missing:
            log(f"  {task.number} {task.name} is left out: this catalogue has no {' and no '.join(missing)}")
        else:
            possible.append(task)
    if not possible:
        raise RecipeError("None of tasks.use is possible on this data; add sids_to_sid (T3), which needs SIDs alone.")
    return possible


def _build_validator(
    artifacts: RunArtifacts, backbone: Backbone, chat: ChatTemplate, views: ItemViews
) -> Callable[[Any], dict[str, float]]:
    targets = artifacts.sample_targets("valid", artifacts.recipe.train.validate_users)
    recommender = artifacts.build_recommender(backbone, chat, views)
    prompts, wanted = artifacts.prompt_histories(targets), artifacts.histories.target_items(targets)

    def validate(_model: Any) -> dict[str, float]:
        ranks = recommender.compute_ranks(recommender.decode_beams(prompts, description="validate"), wanted)
        return {name: float(values.mean()) for name, values in compute_target_metrics(ranks, (5, 10)).items()}

    return validate
