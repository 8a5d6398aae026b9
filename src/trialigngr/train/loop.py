"""The training loop: one task a batch, AdamW with warm-up and cosine, selection and early stopping on validation.

Everything random is a function of (seed, step), so a run that was killed and goes on ends with the weights of one that
was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from trialigngr.foundation.artifact import write_text_atomically
from trialigngr.foundation.config import Settings
from trialigngr.foundation.console import log, progress
from trialigngr.foundation.device import Precision, autocast, pick_device, return_freed_memory
from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.seeds import child
from trialigngr.models.backbone import Backbone
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.mixture import Mixture, epoch_steps
from trialigngr.tasks.packing import Pass, Sheet, passes
from trialigngr.train.attention import NAME as SHARED_PREFIX
from trialigngr.train.checkpoint import load_best, load_checkpoint, save_best, save_checkpoint, trainable
from trialigngr.train.loss import DevicePass, target_losses

TRIM_EVERY = 50
"""Steps on a CPU between two returns of freed memory; without them Beauty's training grew to 8 GB (docs/log.md)."""
Validate = Callable[[Any], dict[str, float]]


class TrainSettings(Settings):
    """The paper's values (Table 10) are the defaults; what it does not say is AdamW, cosine, 3 % warm-up."""

    batch_size: int = Field(64, ge=1)
    """Examples (targets) in a batch."""
    epochs: float = Field(3.0, gt=0)
    """One epoch is as many batches as all tasks together have examples."""
    max_steps: int | None = Field(None, ge=1)
    """Stop the schedule after this many batches, whatever the epochs say."""
    learning_rate: float = Field(3e-4, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decay of matrices."""
    warm_up: float = Field(0.03, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    pass_tokens: int = Field(8192, ge=1)
    """Tokens that go through the model at once; a batch of more is cut into passes whose gradients add up."""
    precision: Precision = "auto"
    """``bf16``, ``fp32``, or ``auto``: bf16 matmuls where the hardware is fast at them."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``mps`` or ``auto``."""
    validate_every: int = Field(500, ge=1)
    """Steps between validations (constrained decoding of a fixed sample of users)."""
    validate_users: int = Field(1000, ge=1)
    """Users in that sample."""
    patience: int = Field(5, ge=1)
    """Stop after this many validations without a better NDCG@10; the best checkpoint is kept."""
    checkpoint_seconds: float = Field(60.0, ge=0)
    """Seconds between checkpoints."""


class _Journal:
    """``metrics.jsonl``: mean loss by task between lines, and validations. Lines after a resumed step are dropped."""

    def __init__(self, path: Path, resumed: int, since: dict[str, list[float]]) -> None:
        self.path, self.since = path, since  # losses by task since the last line; a checkpoint carries them over
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        write_text_atomically(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= resumed))

    def loss(self, task: str, value: float) -> None:
        self.since.setdefault(task, []).append(value)

    def write(self, step: int, **more: Any) -> None:
        losses = {task: sum(values) / len(values) for task, values in self.since.items()}
        self.since.clear()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "loss": losses, **more}) + "\n")


def _step_of(line: str) -> float:
    """Return the step of a journal's line; infinity for a line that a kill cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class Trainer:
    """Trains a backbone on a mixture into a folder; `fit` goes on from what lies there."""

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        tasks: dict[str, TaskExamples],
        weights: dict[str, float],
        validate: Validate,
        seed: int,
    ) -> None:
        self.settings, self.backbone, self.validate, self.seed = settings, backbone, validate, seed
        drawn = {name: task for name, task in tasks.items() if weights.get(name, 1.0)}
        steps = math.ceil(epoch_steps(drawn, settings.batch_size) * settings.epochs)
        self.steps = min(steps, settings.max_steps or steps)
        self.mixture = Mixture(drawn, weights, settings.batch_size, self.steps, seed)
        self.device = pick_device(settings.device)
        self.model = backbone.model.to(self.device)
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = list(trainable(self.model).values())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, betas=(0.9, 0.98), fused=True)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then cosine to a hundredth."""
        warm = max(1, round(self.steps * self.settings.warm_up))
        if step < warm:
            return self.settings.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1, self.steps - warm)
        return self.settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def fit(self, out: Path) -> dict[str, Any]:
        """Train, keep the best weights by validation NDCG@10 in the model, and return the facts."""
        state = load_checkpoint(out, self.model, self.optimizer) or {
            "step": 0,
            "best": -1.0,
            "best_step": 0,
            "seconds": 0.0,
        }
        journal = _Journal(out / "metrics.jsonl", state["step"], state.pop("losses", {}))
        started, saved = time.monotonic() - state["seconds"], time.monotonic()
        with progress("train", self.steps, state["step"]) as advance:
            for step in range(state["step"], self.steps):
                if self._stale(state):
                    break
                task, sheets = self.mixture.batch(step)
                loss = self.train_step(step, task, sheets)
                journal.loss(task.task.name, loss)
                advance(1, f"{task.task.number} loss {loss:.3f}, best {max(state['best'], 0):.4f}")
                if self.device.type == "cpu" and (step + 1) % TRIM_EVERY == 0:
                    return_freed_memory()
                state["step"], state["seconds"] = step + 1, time.monotonic() - started
                if (step + 1) % self.settings.validate_every == 0 or step + 1 == self.steps:
                    self._validated(state, journal, out)
                if time.monotonic() - saved >= self.settings.checkpoint_seconds:
                    save_checkpoint(out, self.model, self.optimizer, {**state, "losses": journal.since})
                    saved = time.monotonic()
        load_best(out, self.model)
        self.model.set_attn_implementation("sdpa")
        return {**state, "planned_steps": self.steps}

    def train_step(self, step: int, task: TaskExamples, sheets: list[Sheet]) -> float:
        """Take one optimizer step and return the loss; raise `TriAlignError` when it or its gradient is not finite."""
        torch.manual_seed(child(self.seed, "step", step))
        self.model.train()
        self.model.set_attn_implementation(SHARED_PREFIX)
        self.optimizer.zero_grad(set_to_none=True)
        parts = list(passes(task.header, sheets, self.settings.pass_tokens))
        targets = sum(len(part.predict_token_M) for part in parts)
        value = sum(self._backward(part, targets) for part in parts)
        self._refuse("loss", value, step, task)
        norm = torch.nn.utils.clip_grad_norm_(trainable(self.model).values(), self.settings.clip)
        self._refuse("gradient", float(norm), step, task)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.step()
        return value

    def _backward(self, part: Pass, targets: int) -> float:
        """Add one pass' share of the gradient of the mean over ``targets``, and return its share of the loss."""
        with autocast(self.device, self.settings.precision):
            loss = target_losses(self.model, DevicePass.of(part, self.device)).sum() / targets
        loss.backward()
        return float(loss.detach())

    def _refuse(self, what: str, value: float, step: int, task: TaskExamples) -> None:
        """Stop before a value that is not finite reaches the weights, and so the checkpoints."""
        if not math.isfinite(value):
            raise TriAlignError(
                f"The {what} of task {task.task.name} is not a number at step {step} (batch "
                f"{self.mixture.number(step)} of that task); the last good checkpoint is kept. "
                f"Run again with a smaller train.learning_rate (now {self.settings.learning_rate})."
            )

    def _stale(self, state: dict[str, Any]) -> bool:
        return bool(state["step"] - state["best_step"] >= self.settings.patience * self.settings.validate_every)

    def _validated(self, state: dict[str, Any], journal: _Journal, out: Path) -> None:
        self.model.eval()
        self.model.set_attn_implementation("sdpa")
        found = self.validate(self.model)
        journal.write(state["step"], valid=found, rate=self.rate(state["step"] - 1), seconds=round(state["seconds"], 1))
        if found["NDCG@10"] > state["best"]:
            state["best"], state["best_step"] = found["NDCG@10"], state["step"]
            save_best(out, self.model)
        log(
            f"  step {state['step']:,}/{self.steps:,}: validation NDCG@10 {found['NDCG@10']:.4f} "
            f"HR@10 {found['HR@10']:.4f} "
            f"(best {state['best']:.4f} at {state['best_step']:,}), {state['seconds']:.0f} s"
        )
