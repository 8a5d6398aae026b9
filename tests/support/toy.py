"""A training run of seconds: the tests' small world, two layers, two tasks."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.support.world import SIZES, TEXTS, World
from trialigngr.models.build import build_backbone
from trialigngr.models.item_layer import ItemLayer
from trialigngr.models.settings import BackboneSettings, ItemSettings
from trialigngr.sids.semantic_ids import list_sid_tokens
from trialigngr.tasks.settings import TaskSettings
from trialigngr.train import loop
from trialigngr.train.checkpoint import trainable_parameters
from trialigngr.train.loop import Trainer
from trialigngr.train.process_group import join_process_group
from trialigngr.train.settings import TrainSettings
from trialigngr.train.sft import SftObjective
from trialigngr.train.sharding import to_full_tensor

STEPS = 36
LINE_EVERY = 5
"""Steps between two lines of a run that is killed."""
USED = ("title_to_sid", "sids_to_sid")
PAIRS: dict[str, dict[str, Any]] = {
    "usual": {},
    # A batch of one example leaves the second worker with nothing to do.
    "idle": {"batch_size": 1},
    # Two examples are two sheets of T1, one of T3: here too one worker has nothing to do at times.
    "shared": {"fsdp": True, "ema_decay": 0.5, "batch_size": 2},
    "level": {"fsdp": True, "loss_softmax": "level", "unlikelihood_weight": 0.5},
}
"""What two processes train: by name, settings. One with an average is killed on its way and goes on."""


def settings(**changes: Any) -> TrainSettings:
    """Return settings under which every step is checkpointed and a run takes seconds."""
    usual = {
        "batch_size": 16,
        "epochs": 1000,
        "max_steps": STEPS,
        "learning_rate": 3e-3,
        "micro_batch_tokens": 400,
        "precision": "fp32",
        "device": "cpu",
        "validate_every": 12,
        "checkpoint_seconds": 0,
    }
    return TrainSettings(**usual | changes)


def fingerprint(model: Any) -> float:
    """Return a number that depends on every weight: a stand-in for NDCG@10 that goes up and down."""
    with torch.no_grad():
        return float(sum(parameter.double().sin().sum() for parameter in model.parameters())) % 1


def toy(
    validate: Any = None,
    weights: dict[str, float] | None = None,
    dropout: float = 0.1,
    more: Any = None,
    checkpointing: bool = False,
    items: ItemSettings | None = None,
    task_settings: TaskSettings | None = None,
    **changes: Any,
) -> Trainer[SftObjective]:
    """Return a trainer of the toy; ``more`` are keywords of the trainer itself, ``changes`` are settings."""
    torch.set_num_threads(1)
    world = World()
    small = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "ffn_size": 48, "vocab_size": 320, "dropout": dropout}
    # The same texts as the world's tokenizer, so the same words.
    shape = BackboneSettings(**small, gradient_checkpointing=checkpointing)
    backbone = build_backbone(shape, list_sid_tokens(SIZES), TEXTS, seed=0)
    assert backbone.tokenizer.get_vocab() == world.chat.tokenizer.get_vocab()
    if items is not None:
        torch.manual_seed(1)
        last = world.examples("title_to_sid").build_targets(np.arange(len(world.catalog)))
        tokens_N = torch.tensor([[token for token in own if token in backbone.sid_token_ids][-1] for own in last])
        backbone = replace(backbone, items=ItemLayer(items, 32, len(tokens_N), torch.randn(len(tokens_N), 5), tokens_N))
    shown = items is not None and items.is_shown
    tasks = {name: world.examples(name, names_items=shown) for name in USED}
    if changes.get("softmax") == "level":
        level_V = torch.zeros(backbone.model.config.vocab_size, dtype=torch.long)
        level_V[backbone.sid_token_ids] = torch.arange(1, len(SIZES) + 1).repeat_interleave(torch.tensor(SIZES))
        more = {"level_V": level_V} | (more or {})
    given = validate or (lambda model: {"NDCG@10": fingerprint(model), "HR@10": 0.0})
    chosen, more = settings(**changes), more or {}
    parts = {name: more.pop(name) for name in ("level_V",) if name in more}
    if "process_group" in more:
        parts["process_group"] = more["process_group"]
    drawn = task_settings or TaskSettings(weights=weights or {})
    objective = SftObjective(chosen, backbone, tasks, drawn, 0, **parts)
    return Trainer(chosen, objective, given, 0, **more)


def one_of_two(folder: Path) -> None:
    """Train as one of the processes that the environment speaks of; each writes where it ended."""
    with join_process_group() as workers:
        for name, changes in PAIRS.items():
            out = folder / name
            out.mkdir(exist_ok=True)
            trainer = toy(dropout=0.0, max_steps=9, validate_every=3, more={"process_group": workers}, **changes)
            if changes.get("ema_decay"):
                killed_at(trainer, 5, out)
                trainer = toy(dropout=0.0, max_steps=9, validate_every=3, more={"process_group": workers}, **changes)
            trainer.fit(out)
            # The first has the best weights now; all have the same last ones in the optimizer's averages.
            moments = {name: trainer.optimizer.state[value]["exp_avg"] for name, value in trainer.parameters.items()}
            state = {name: to_full_tensor(value) for name, value in moments.items()}
            save_file(state, folder / f"{name}-{workers.rank}.safetensors")


def killed_at(trainer: Trainer[SftObjective], step: int, out: Path) -> None:
    """Train until a step begins, and no further."""
    drawn = trainer.objective.draw_batch

    def batch(number: int) -> Any:
        if number == step:
            raise KeyboardInterrupt
        return drawn(number)

    trainer.objective.draw_batch = batch  # type: ignore[method-assign]
    with suppress(KeyboardInterrupt):
        trainer.fit(out)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable_parameters(trainer.model).items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def train_as(folder: Path, environment: dict[str, str]) -> None:
    """Train as the process of a group that its environment says it is."""
    os.environ.update(environment)
    one_of_two(folder)


def train_and_wait(folder: Path) -> None:
    """Train, and wait to be killed."""
    loop.LOG_EVERY = LINE_EVERY
    toy().fit(folder)
    time.sleep(600)
