"""The training loop: one task a batch, AdamW with warm-up and cosine, selection and early stopping on validation.

Everything random is a function of (seed, step), so a run that was killed and goes on ends with the weights of one that
was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trialigngr.foundation.console import log, progress
from trialigngr.foundation.device import autocast, pick_device
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.foundation.memory import return_freed_memory
from trialigngr.foundation.seeds import child
from trialigngr.models.backbone import Backbone
from trialigngr.models.fitness import refuse_narrow, refuse_unfit
from trialigngr.models.layers import compile_layers, usual_attention
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.mixture import Mixture, epoch_steps
from trialigngr.tasks.packing import Pass, Sheet, passes
from trialigngr.tasks.task import TaskSettings
from trialigngr.train.attention import NAME as SHARED_PREFIX
from trialigngr.train.average import Average
from trialigngr.train.checkpoint import load_best, load_checkpoint, save_best, save_checkpoint, trainable
from trialigngr.train.journal import Journal
from trialigngr.train.loss import DevicePass, TargetLosses, both_ways, with_unlikelihood
from trialigngr.train.settings import TrainSettings
from trialigngr.train.shards import gathered, shard, whole
from trialigngr.train.trackers import Tracker
from trialigngr.train.workers import Workers

TRIM_EVERY = 50
"""Steps on a CPU between two returns of freed memory; without them Beauty's training grew to 8 GB (docs/log.md)."""
LINE_EVERY = 50
"""Steps between two lines of ``metrics.jsonl``; each validation writes one besides."""
FRESH = {"step": 0, "best": -1.0, "best_step": 0, "seconds": 0.0, "tokens": 0}
ALONE = Workers()
Validate = Callable[[Any], dict[str, float]]


class Trainer:
    """Trains a backbone on a mixture into a folder; `fit` goes on from what lies there."""

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        tasks: dict[str, TaskExamples],
        mixture: TaskSettings,
        validate: Validate,
        seed: int,
        *,
        workers: Workers = ALONE,
        level_V: Tensor | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.settings, self.backbone, self.validate, self.seed = settings, backbone, validate, seed
        self.workers, self.trackers = workers, trackers
        drawn = {name: task for name, task in tasks.items() if mixture.ever_drawn(name)}
        steps = math.ceil(epoch_steps(drawn, settings.batch_size) * settings.epochs)
        self.steps = min(steps, settings.max_steps or steps)
        refuse = settings.unlikelihood > 0
        self.mixture = Mixture(drawn, mixture, settings.batch_size, self.steps, seed, refuse=refuse)
        self.device = pick_device(settings.device)
        if settings.attention == "flex" and self.device.type != "cuda":
            raise RecipeError("train.attention = flex trains on CUDA alone; use blocks here.")
        self.level_V = None if level_V is None else level_V.to(self.device)
        compiled = settings.compile and self.device.type == "cuda"
        self.losses = self._placed(
            TargetLosses(backbone.model, compiled), max(one.settings.max_length for one in drawn.values())
        )
        self.model = self.losses.model
        self.parameters = trainable(self.model)
        self.average = Average(self.parameters, settings.ema)
        self.optimizer = self._optimizer()

    def _placed(self, losses: TargetLosses, longest: int) -> TargetLosses:
        refuse_narrow(losses.model, longest)
        placed = losses if self.settings.shard else losses.to(self.device)
        with autocast(placed.model.device, self.settings.precision):
            refuse_unfit(placed.model, both_ways)
        if self.settings.compile:
            compile_layers(placed.model, whole=self.settings.attention == "flex")
        return shard(losses, self.device, self.workers) if self.settings.shard else placed

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.parameters.values())
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
        """Train, keep the best weights by validation NDCG@10 in the model, and return the facts.

        Of several workers only the first writes to ``out`` and validates; all read the checkpoint there.
        """
        state = load_checkpoint(out, self.model, self.optimizer, self.average.values) or dict(FRESH)
        state = self.workers.agree(state)
        path = out / "metrics.jsonl" if self.workers.first else None
        journal = Journal(path, state["step"], state.pop("losses", {}))
        started, saved = time.monotonic() - state["seconds"], time.monotonic()
        with progress("train", self.steps, state["step"]) as advance:
            for step in range(state["step"], self.steps):
                if self._stale(state):
                    break
                task, sheets = self.mixture.batch(step)
                loss = self.train_step(step, task, sheets)
                journal.loss(task.task.name, loss)
                state["step"], state["seconds"] = step + 1, time.monotonic() - started
                state["tokens"] += sum(map(len, sheets))
                rate = state["tokens"] / max(state["seconds"], 1e-9)
                best = max(state["best"], 0)
                advance(1, f"{task.task.number} loss {loss:.3f}, {rate:,.0f} tokens/s, best {best:.4f}")
                if self.device.type == "cpu" and (step + 1) % TRIM_EVERY == 0:
                    return_freed_memory()
                if (step + 1) % self.settings.validate_every == 0 or step + 1 == self.steps:
                    state = self._validated(state, journal, out)
                elif (step + 1) % LINE_EVERY == 0 and self.workers.first:
                    self._write(state, journal)
                if self._due(saved):
                    now, first = {**state, "losses": journal.since}, self.workers.first
                    save_checkpoint(out, self.model, self.optimizer, now, self.average.values, write=first)
                    saved = time.monotonic()
        if self.workers.first:
            load_best(out, self.backbone.model)
        self.backbone.model.set_attn_implementation(usual_attention(self.backbone.model))
        return {**state, "planned_steps": self.steps}

    def train_step(self, step: int, task: TaskExamples, sheets: list[Sheet]) -> float:
        """Take one optimizer step and return the loss; raise `TriAlignError` when it or its gradient is not finite."""
        torch.manual_seed(child(self.seed, "step", step))
        self.model.train()
        self.model.set_attn_implementation(SHARED_PREFIX)
        self.optimizer.zero_grad(set_to_none=True)
        targets = sum(len(branch.target) for sheet in sheets for branch in sheet.branches)
        parts, idle = self._passes(task, sheets)
        shares = [self._backward(part, targets) for part in parts]
        for part in idle:
            self._backward(part, math.inf)
        value = self.workers.sum(sum(map(float, shares)))
        self._refuse("loss", value, step, task)
        if not self.settings.shard:
            self.workers.sum_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        self._refuse("gradient", float(whole(norm)), step, task)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.step()
        self.average.update(step)
        return value

    def _passes(self, task: TaskExamples, sheets: list[Sheet]) -> tuple[list[Pass], list[Pass]]:
        """Return this worker's passes, and what it goes through for nothing: all must take part where weights lie in
        shares, as often as whoever has the most to do."""
        mine = self.workers.share(sheets)
        parts = list(passes(task.header, mine, self.settings.pass_tokens)) if mine else []
        if not self.settings.shard:
            return parts, []
        idle = self.workers.most(len(parts)) - len(parts)
        return parts, [*passes(task.header, [min(sheets, key=len)], self.settings.pass_tokens)] * idle

    def _backward(self, part: Pass, targets: float) -> Tensor:
        """Add one pass' share of the gradient of the mean over ``targets``, and return its share of the loss, which
        nobody waits for here: a GPU computes while the next pass is laid out."""
        with autocast(self.device, self.settings.precision):
            passed = DevicePass.of(part, self.device, self.settings.attention)
            losses_M = with_unlikelihood(self.losses(passed, self.level_V), passed, self.settings.unlikelihood)
            loss = losses_M.sum() / targets
        # Where weights lie in shares, gradients come back as the mean over all workers.
        (loss * self.workers.count if self.settings.shard else loss).backward()
        return loss.detach()

    def _refuse(self, what: str, value: float, step: int, task: TaskExamples) -> None:
        """Stop before a value that is not finite reaches the weights, and so the checkpoints."""
        if not math.isfinite(value):
            raise TriAlignError(
                f"The {what} of task {task.task.name} is not a number at step {step} (batch "
                f"{self.mixture.number(step)} of that task). The last good checkpoint stays until other settings begin "
                f"training anew: lower train.learning_rate (now {self.settings.learning_rate})."
            )

    def _due(self, saved: float) -> bool:
        """Say whether a checkpoint is due. One of shares takes all workers, so they go by the first one's clock."""
        due = time.monotonic() - saved >= self.settings.checkpoint_seconds
        return self.workers.agree(due) if self.settings.shard else due and self.workers.first

    def _stale(self, state: dict[str, Any]) -> bool:
        return bool(state["step"] - state["best_step"] >= self.settings.patience * self.settings.validate_every)

    def _validated(self, state: dict[str, Any], journal: Journal, out: Path) -> dict[str, Any]:
        """Validate, write what was found, keep the weights where they are the best; return the state after it."""
        model = self.backbone.model if self.workers.first else None
        with self.average.in_place(), gathered(self.parameters, model, self.device):
            found = self._validate(state, out) if self.workers.first else {}
        if self.workers.first:
            self._tell(state, self._write(state, journal, found), found)
        return self.workers.agree(state)

    def _write(
        self, state: dict[str, Any], journal: Journal, found: dict[str, float] | None = None
    ) -> dict[str, float]:
        """Give the journal and the trackers a line, with what a validation found if there was one; return its mean
        losses by task."""
        valid = {} if found is None else {"valid": found}
        rate, seconds = self.rate(state["step"] - 1), round(state["seconds"], 1)
        losses = journal.write(state["step"], **valid, rate=rate, tokens=state["tokens"], seconds=seconds)
        figures = {f"loss/{name}": loss for name, loss in losses.items()}
        figures |= {f"valid/{name}": value for name, value in (found or {}).items()}
        figures["tokens_per_second"] = state["tokens"] / max(state["seconds"], 1e-9)
        for tracker in self.trackers:
            tracker.write(state["step"], figures)
        return losses

    def _validate(self, state: dict[str, Any], out: Path) -> dict[str, float]:
        model = self.backbone.model
        model.eval()
        model.set_attn_implementation(usual_attention(model))
        with torch.compiler.set_stance("force_eager"):  # what decodes has other shapes at every step
            found = self.validate(model)
        if found["NDCG@10"] > state["best"]:
            state["best"], state["best_step"] = found["NDCG@10"], state["step"]
            save_best(out, model)
        return found

    def _tell(self, state: dict[str, Any], losses: dict[str, float], found: dict[str, float]) -> None:
        """Say on the terminal what a validation found, and what each task lost since the last line."""
        speed = state["tokens"] / max(state["seconds"], 1e-9)
        named = {self.mixture.tasks[name].task.number: loss for name, loss in losses.items()}
        log(
            f"  step {state['step']:,}/{self.steps:,}: validation NDCG@10 {found['NDCG@10']:.4f} "
            f"HR@10 {found['HR@10']:.4f} "
            f"(best {state['best']:.4f} at {state['best_step']:,}), {state['seconds']:.0f} s, {speed:,.0f} tokens/s; "
            f"loss {', '.join(f'{number} {loss:.3f}' for number, loss in sorted(named.items()))}"
        )
