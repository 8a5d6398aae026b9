"""The model stage: the tasks that this data can have become examples, and a backbone is trained on them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import CatalogError, RecipeError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.metrics.ranks import per_target
from trialigngr.models.backbone import Backbone, build_backbone, parameter_counts
from trialigngr.pipeline.card import card
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import Parts
from trialigngr.sids.assign import QUANTIZER
from trialigngr.sids.quantizers.levels import Vectors
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.semantic_ids import all_tokens
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.task import Task, View
from trialigngr.tasks.views import ItemViews
from trialigngr.train.checkpoint import clear
from trialigngr.train.loop import Trainer
from trialigngr.train.trackers import Tracker, open_trackers
from trialigngr.train.workers import Workers

Facts = dict[str, Any]
WITHOUT = {"title": View.TITLE, "caption": View.VISUAL}


def train_model(parts: Parts, out: Path) -> Facts:
    """Train the model into a folder that ``AutoModelForCausalLM`` opens, and return the facts.

    Raises `RecipeError` when a task has no example on this data, `CatalogError` when nobody can be validated.
    """
    recipe, seed, workers = parts.recipe, parts.recipe.seed + parts.seed, parts.workers
    wanted = possible_tasks(parts)
    _refuse_untestable(parts)
    if workers.first:
        workers.agree(parts.seed)
    backbone = build_backbone(recipe.model, all_tokens(parts.sids.sizes), parts.texts(), seed, _codebooks(parts))
    chat = Chat(backbone.tokenizer)
    views = parts.views(chat)
    tasks = _examples(parts, wanted, views, chat)
    sizes = parameter_counts(backbone.model)
    counts = {name: len(examples) for name, examples in tasks.items()}
    log(f"  {sizes['parameters']:,} parameters, {sizes['trained']:,} trained; examples by task: {counts}")
    if recipe.model.lora.rank:
        log(f"  rows of the vocabulary that are trained: {len(backbone.sid_ids):,}, those of the SID tokens")
    with ExitStack() as ends:
        trackers = _trackers(parts, out) if workers.first else []
        for tracker in trackers:
            ends.callback(tracker.close)
        trainer = Trainer(
            recipe.train,
            backbone,
            tasks,
            recipe.tasks,
            _validator(parts, backbone, chat, views),
            seed,
            workers=workers,
            level_V=_levels(parts, backbone) if recipe.train.softmax == "level" else None,
            trackers=trackers,
        )
        facts = trainer.fit(out)
    without = {f"items_without_{view}": views.missing(kind) for view, kind in WITHOUT.items()}
    facts |= {**sizes, "examples": counts, "sids": parts.sids.digest, **without}
    if workers.first:
        backbone.save(out)
        write_text_atomically(out / "README.md", card(parts, facts))
        clear(out)
    return facts


def help_train(recipe: Recipe, out: Path, workers: Workers) -> None:
    """Help the first worker to train model after model, until it says that there is none left."""
    while (seed := workers.agree(-1)) >= 0:
        parts = Parts(recipe, out, seed, workers)
        train_model(parts, parts.own / "model.partial")


def _codebooks(parts: Parts) -> list[Vectors]:
    """Return the code vectors [K, Z] of each level; none when nobody asks for them."""
    if parts.recipe.model.sid_rows != "codebook":
        return []
    books = [level.vectors_KD for level in Quantizer.load(parts.out / "sids" / QUANTIZER).levels]
    if tuple(map(len, books)) != tuple(parts.sids.sizes[: len(books)]):
        raise RecipeError("model.sid_rows = codebook needs SIDs of these codebooks' sizes; use mean.")
    return books


def _levels(parts: Parts, backbone: Backbone) -> Tensor:
    """Return each token's SID level [V], from 1; 0 where it is no SID token."""
    level_V = torch.zeros(backbone.model.config.vocab_size, dtype=torch.long)
    level_V[backbone.sid_ids] = torch.arange(1, len(parts.sids.sizes) + 1).repeat_interleave(
        torch.tensor(parts.sids.sizes)
    )
    return level_V


def _trackers(parts: Parts, out: Path) -> list[Tracker]:
    run = parts.out.resolve().name + (f"-{parts.seed}" if parts.seed else "")
    settings = parts.recipe.train.model_dump(mode="json") | {"recipe": parts.recipe.description}
    return [*open_trackers(parts.recipe.train.trackers, out, run, settings)]


def _refuse_untestable(parts: Parts) -> None:
    if not (len(parts.histories.targets("valid")) and len(parts.histories.targets("test"))):
        raise CatalogError(
            "No user has an item for validation, or for test, so no model can be chosen and tested; "
            "with leave-last that takes three interactions."
        )


def _examples(parts: Parts, wanted: list[Task], views: ItemViews, chat: Chat) -> dict[str, TaskExamples]:
    tasks = {task.name: parts.examples(task, views, chat) for task in wanted}
    if empty := [name for name, examples in tasks.items() if not len(examples)]:
        raise RecipeError(f"Task {empty[0]} has no example on this data; leave it out of tasks.use.")
    for view, kind in WITHOUT.items():
        if (without := views.missing(kind)) and any(kind in (task.source, task.target) for task in wanted):
            log(f"  {without:,} items without a {view} are left out of the tasks that need one")
    return tasks


def possible_tasks(parts: Parts) -> list[Task]:
    """Return the wanted tasks that this data can have, and log those it cannot: without pictures no T7 and T8, without
    titles only T3 and T7. Raises `RecipeError` when none is left."""
    lacking = {View.VISUAL: not any(parts.captions), View.TITLE: not any(item.title for item in parts.catalog)}
    words = {View.VISUAL: "captions (no pictures, or none described)", View.TITLE: "titles"}
    possible = []
    for task in parts.recipe.tasks.tasks():
        missing = [words[view] for view in lacking if lacking[view] and view in (task.source, task.target)]
        if missing:
            log(f"  {task.number} {task.name} is left out: this catalogue has no {' and no '.join(missing)}")
        else:
            possible.append(task)
    if not possible:
        raise RecipeError("None of tasks.use is possible on this data; add sids_to_sid (T3), which needs SIDs alone.")
    return possible


def _validator(parts: Parts, backbone: Backbone, chat: Chat, views: ItemViews) -> Callable[[Any], dict[str, float]]:
    targets = parts.sample("valid", parts.recipe.train.validate_users)
    recommender = parts.recommender(backbone, chat, views)
    prompts, wanted = parts.histories_of(targets), parts.histories.target_items(targets)

    def validate(_model: Any) -> dict[str, float]:
        ranks = recommender.ranks(recommender.all_beams(prompts, what="validate"), wanted)
        return {name: float(values.mean()) for name, values in per_target(ranks, (5, 10)).items()}

    return validate
