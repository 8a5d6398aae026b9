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

from trialigngr.foundation.console import log, show_progress
from trialigngr.foundation.device import autocast, pick_device
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.foundation.memory import return_freed_memory
from trialigngr.foundation.seeds import derive_seed
from trialigngr.models.backbone import Backbone
from trialigngr.models.compatibility import check_attention_is_causal, check_context_length
from trialigngr.models.layers import choose_decoding_attention, compile_layers
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.mixture import Mixture, count_epoch_steps
from trialigngr.tasks.packing import MicroBatch, SharedPrefixRow, pack_micro_batches
from trialigngr.tasks.settings import TaskSettings
from trialigngr.train.attention import ATTENTION_NAME as SHARED_PREFIX
from trialigngr.train.checkpoint import load_best, load_checkpoint, save_best, save_checkpoint, trainable_parameters
from trialigngr.train.ema import ExponentialMovingAverage
from trialigngr.train.loss import DeviceMicroBatch, TargetLosses, compute_trial_logits, weigh_losses
from trialigngr.train.metrics_logger import MetricsLogger
from trialigngr.train.process_group import ProcessGroup
from trialigngr.train.settings import TrainSettings
from trialigngr.train.sharding import gather_weights, shard_losses, to_full_tensor
from trialigngr.train.trackers import Tracker

TRIM_MEMORY_EVERY = 50
"""Steps on a CPU between two returns of freed memory; without them Beauty's training grew to 8 GB (docs/log.md)."""
LOG_EVERY = 50
"""Steps between two lines of ``metrics.jsonl``; each validation writes one besides."""
INITIAL_STATE = {"step": 0, "best": -1.0, "best_step": 0, "seconds": 0.0, "tokens": 0}
SINGLE_PROCESS = ProcessGroup()
Validate = Callable[[Any], dict[str, float]]


class Trainer:
    """Trains a backbone on a mixture into a folder; `fit` goes on from what lies there."""

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        tasks: dict[str, TaskExamples],
        task_settings: TaskSettings,
        validate: Validate,
        seed: int,
        *,
        process_group: ProcessGroup = SINGLE_PROCESS,
        level_V: Tensor | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.settings, self.backbone, self.validate, self.seed = settings, backbone, validate, seed
        self.process_group, self.trackers = process_group, trackers
        drawn = {name: task for name, task in tasks.items() if task_settings.is_ever_drawn(name)}
        steps = math.ceil(count_epoch_steps(drawn, settings.batch_size) * settings.epochs)
        self.steps = min(steps, settings.max_steps or steps)
        refuse = settings.unlikelihood_weight > 0
        self.mixture = Mixture(drawn, task_settings, settings.batch_size, self.steps, seed, with_negatives=refuse)
        self.device = pick_device(settings.device)
        if settings.attn_implementation == "flex_attention" and self.device.type != "cuda":
            raise RecipeError("train.attn_implementation = flex_attention trains on CUDA alone; use sdpa here.")
        self.level_V = None if level_V is None else level_V.to(self.device)
        compiled = settings.torch_compile and self.device.type == "cuda"
        self.target_losses = self._prepare_losses(
            TargetLosses(backbone.model, compiled), max(one.settings.max_length for one in drawn.values())
        )
        self.model = self.target_losses.model
        self.parameters = trainable_parameters(self.model)
        self.ema = ExponentialMovingAverage(self.parameters, settings.ema_decay)
        self.optimizer = self._make_optimizer()

    def _prepare_losses(self, losses: TargetLosses, max_length: int) -> TargetLosses:
        check_context_length(losses.model, max_length)
        placed = losses if self.settings.fsdp else losses.to(self.device)
        with autocast(placed.model.device, self.settings.precision):
            check_attention_is_causal(placed.model, compute_trial_logits)
        if self.settings.torch_compile:
            compile_layers(placed.model, whole_layers=self.settings.attn_implementation == "flex_attention")
        return shard_losses(losses, self.device, self.process_group) if self.settings.fsdp else placed

    def _make_optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.parameters.values())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, betas=(0.9, 0.98), fused=True)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then cosine to a hundredth."""
        warm = max(1, round(self.steps * self.settings.warmup_ratio))
        if step < warm:
            return self.settings.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1, self.steps - warm)
        return self.settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def fit(self, folder: Path) -> dict[str, Any]:
        """Train, keep the best weights by validation NDCG@10 in the model, and return the facts.

        Of several workers only the first writes to ``folder`` and validates; all read the checkpoint there.
        """
        state = load_checkpoint(folder, self.model, self.optimizer, self.ema.averages) or dict(INITIAL_STATE)
        state = self.process_group.broadcast_object(state)
        path = folder / "metrics.jsonl" if self.process_group.is_main_process else None
        journal = MetricsLogger(path, state["step"], state.pop("losses", {}))
        started, saved = time.monotonic() - state["seconds"], time.monotonic()
        with show_progress("train", self.steps, state["step"]) as advance:
            for step in range(state["step"], self.steps):
                if self._patience_is_over(state):
                    break
                task, rows = self.mixture.draw_batch(step)
                loss = self.train_step(step, task, rows)
                journal.add_loss(task.task.name, loss)
                state["step"], state["seconds"] = step + 1, time.monotonic() - started
                state["tokens"] += sum(map(len, rows))
                rate = state["tokens"] / max(state["seconds"], 1e-9)
                best = max(state["best"], 0)
                advance(1, f"{task.task.number} loss {loss:.3f}, {rate:,.0f} tokens/s, best {best:.4f}")
                if self.device.type == "cpu" and (step + 1) % TRIM_MEMORY_EVERY == 0:
                    return_freed_memory()
                if (step + 1) % self.settings.validate_every == 0 or step + 1 == self.steps:
                    state = self._validate_and_keep_best(state, journal, folder)
                elif (step + 1) % LOG_EVERY == 0 and self.process_group.is_main_process:
                    self._write_metrics(state, journal)
                if self._checkpoint_is_due(saved):
                    now, first = {**state, "losses": journal.pending_losses}, self.process_group.is_main_process
                    save_checkpoint(folder, self.model, self.optimizer, now, self.ema.averages, write=first)
                    saved = time.monotonic()
        if self.process_group.is_main_process:
            load_best(folder, self.backbone.model)
        self.backbone.model.set_attn_implementation(choose_decoding_attention(self.backbone.model))
        return {**state, "planned_steps": self.steps}

    def train_step(self, step: int, task: TaskExamples, rows: list[SharedPrefixRow]) -> float:
        """Take one optimizer step and return the loss; raise `TriAlignError` when it or its gradient is not finite."""
        torch.manual_seed(derive_seed(self.seed, "step", step))
        self.model.train()
        self.model.set_attn_implementation(SHARED_PREFIX)
        self.optimizer.zero_grad(set_to_none=True)
        targets = sum(row.num_targets for row in rows)
        parts, idle = self._pack_local_rows(task, rows)
        shares = [self._backward_micro_batch(part, targets) for part in parts]
        for part in idle:
            self._backward_micro_batch(part, math.inf)
        value = self.process_group.all_reduce_sum(sum(map(float, shares)))
        self._check_finite("loss", value, step, task)
        if not self.settings.fsdp:
            self.process_group.all_reduce_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm)
        self._check_finite("gradient", float(to_full_tensor(norm)), step, task)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate_at(step)
        self.optimizer.step()
        self.ema.update(step)
        return value

    def _pack_local_rows(
        self, task: TaskExamples, rows: list[SharedPrefixRow]
    ) -> tuple[list[MicroBatch], list[MicroBatch]]:
        """Return this worker's passes, and what it goes through for nothing: all must take part where weights lie in
        shares, as often as whoever has the most to do."""
        mine = self.process_group.select_local_rows(rows)
        parts = list(pack_micro_batches(task.prompt_header, mine, self.settings.micro_batch_tokens)) if mine else []
        if not self.settings.fsdp:
            return parts, []
        idle = self.process_group.all_reduce_max(len(parts)) - len(parts)
        return parts, [
            *pack_micro_batches(task.prompt_header, [min(rows, key=len)], self.settings.micro_batch_tokens)
        ] * idle

    def _backward_micro_batch(self, micro_batch: MicroBatch, num_targets: float) -> Tensor:
        """Add one pass' share of the gradient of the mean over ``num_targets``, and return its share of the loss, which
        nobody waits for here: a GPU computes while the next pass is laid out."""
        with autocast(self.device, self.settings.precision):
            passed = DeviceMicroBatch.from_micro_batch(micro_batch, self.device, self.settings.attn_implementation)
            losses_M = weigh_losses(self.target_losses(passed, self.level_V), passed, self.settings.unlikelihood_weight)
            loss = losses_M.sum() / num_targets
        # Where weights lie in shares, gradients come back as the mean over all workers.
        (loss * self.process_group.world_size if self.settings.fsdp else loss).backward()
        return loss.detach()

    def _check_finite(self, what: str, value: float, step: int, task: TaskExamples) -> None:
        """Stop before a value that is not finite reaches the weights, and so the checkpoints."""
        if not math.isfinite(value):
            raise TriAlignError(
                f"The {what} of task {task.task.name} is not a number at step {step} (batch "
                f"{self.mixture.batch_number(step)} of that task). The last good checkpoint stays until other settings "
                f"begin training anew: lower train.learning_rate (now {self.settings.learning_rate})."
            )

    def _checkpoint_is_due(self, last_saved: float) -> bool:
        """Return whether a checkpoint is due. One of shares takes all workers, so they go by the first one's clock."""
        due = time.monotonic() - last_saved >= self.settings.checkpoint_seconds
        return (
            self.process_group.broadcast_object(due)
            if self.settings.fsdp
            else due and self.process_group.is_main_process
        )

    def _patience_is_over(self, state: dict[str, Any]) -> bool:
        return bool(state["step"] - state["best_step"] >= self.settings.patience * self.settings.validate_every)

    def _validate_and_keep_best(
        self, state: dict[str, Any], metrics_logger: MetricsLogger, folder: Path
    ) -> dict[str, Any]:
        """Validate, write what was found, keep the weights where they are the best; return the state after it."""
        model = self.backbone.model if self.process_group.is_main_process else None
        with self.ema.average_parameters(), gather_weights(self.parameters, model, self.device):
            found = self._run_validation(state, folder) if self.process_group.is_main_process else {}
        if self.process_group.is_main_process:
            self._log_validation(state, self._write_metrics(state, metrics_logger, found), found)
        return self.process_group.broadcast_object(state)

    def _write_metrics(
        self, state: dict[str, Any], metrics_logger: MetricsLogger, metrics: dict[str, float] | None = None
    ) -> dict[str, float]:
        """Give the journal and the trackers a line, with what a validation found if there was one; return its mean
        losses by task."""
        valid = {} if metrics is None else {"valid": metrics}
        rate, seconds = self.learning_rate_at(state["step"] - 1), round(state["seconds"], 1)
        losses = metrics_logger.write_line(state["step"], **valid, rate=rate, tokens=state["tokens"], seconds=seconds)
        figures = {f"loss/{name}": loss for name, loss in losses.items()}
        figures |= {f"valid/{name}": value for name, value in (metrics or {}).items()}
        figures["tokens_per_second"] = state["tokens"] / max(state["seconds"], 1e-9)
        for tracker in self.trackers:
            tracker.log_metrics(state["step"], figures)
        return losses

    def _run_validation(self, state: dict[str, Any], folder: Path) -> dict[str, float]:
        model = self.backbone.model
        model.eval()
        model.set_attn_implementation(choose_decoding_attention(model))
        with torch.compiler.set_stance("force_eager"):  # what decodes has other shapes at every step
            found = self.validate(model)
        if found["NDCG@10"] > state["best"]:
            state["best"], state["best_step"] = found["NDCG@10"], state["step"]
            save_best(folder, model)
        return found

    def _log_validation(self, state: dict[str, Any], losses: dict[str, float], metrics: dict[str, float]) -> None:
        """Say on the terminal what a validation found, and what each task lost since the last line."""
        speed = state["tokens"] / max(state["seconds"], 1e-9)
        named = {self.mixture.tasks[name].task.number: loss for name, loss in losses.items()}
        log(
            f"  step {state['step']:,}/{self.steps:,}: validation NDCG@10 {metrics['NDCG@10']:.4f} "
            f"HR@10 {metrics['HR@10']:.4f} "
            f"(best {state['best']:.4f} at {state['best_step']:,}), {state['seconds']:.0f} s, {speed:,.0f} tokens/s; "
            f"loss {', '.join(f'{number} {loss:.3f}' for number, loss in sorted(named.items()))}"
        )
