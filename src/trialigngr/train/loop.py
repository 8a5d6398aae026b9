"""The training loop: AdamW with warm-up and a schedule, selection and early stopping on validation, checkpoints.

What is trained, and on what, is an `Objective`. Everything random is a function of (seed, step), so a run that was
killed and goes on ends with the weights of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from trialigngr.foundation.console import log, show_progress
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.memory import return_freed_memory
from trialigngr.foundation.seeds import derive_seed
from trialigngr.train.checkpoint import load_best, load_checkpoint, save_best, save_checkpoint, trainable_parameters
from trialigngr.train.ema import ExponentialMovingAverage
from trialigngr.train.metrics_logger import MetricsLogger
from trialigngr.train.objective import Batch, Objective
from trialigngr.train.process_group import SINGLE_PROCESS, ProcessGroup
from trialigngr.train.settings import LoopSettings, LrScheduler
from trialigngr.train.sharding import gather_weights, to_full_tensor
from trialigngr.train.trackers import Tracker

TRIM_MEMORY_EVERY = 50
"""Steps on a CPU between two returns of freed memory; without them Beauty's training grew to 8 GB (docs/log)."""
LOG_EVERY = 50
"""Steps between two lines of ``metrics.jsonl``; each validation writes one besides."""
INITIAL_STATE = {"step": 0, "best": -1.0, "best_step": 0, "seconds": 0.0, "tokens": 0}
Validate = Callable[[Any], dict[str, float]]
ObjectiveT = TypeVar("ObjectiveT", bound=Objective)


class Trainer(Generic[ObjectiveT]):
    """Trains an objective's model into a folder; `fit` goes on from what lies there.

    ``validate`` returns figures of the whole model, NDCG@10 among them, by which the best weights are chosen. ``name``
    is the recipe's section of the settings, which messages and the progress bar say. After the warm-up ``lr_scheduler``
    falls to a hundredth of the peak (``cosine``) or stays there (``constant``). With ``validates_start``
    the weights of the start are chosen where no later ones are better.
    """

    def __init__(
        self,
        settings: LoopSettings,
        objective: ObjectiveT,
        validate: Validate,
        seed: int,
        *,
        name: str = "train",
        lr_scheduler: LrScheduler = "cosine",
        logs_validations: bool = True,
        validates_start: bool = False,
        process_group: ProcessGroup = SINGLE_PROCESS,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.settings, self.objective, self.validate, self.seed = settings, objective, validate, seed
        self.name, self.lr_scheduler, self.logs_validations = name, lr_scheduler, logs_validations
        self.validates_start = validates_start
        self.process_group, self.trackers = process_group, trackers
        self.steps, self.model = objective.num_steps, objective.model
        self.device = pick_device(settings.device)
        self.parameters = trainable_parameters(self.model)
        self.ema = ExponentialMovingAverage(self.parameters, settings.ema_decay)
        self.optimizer = self._make_optimizer()
        self._labels: dict[str, str] = {}

    def _make_optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.parameters.values())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": self.settings.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, betas=(0.9, 0.98), fused=True)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then cosine to a hundredth, or no change."""
        warm = max(1, round(self.steps * self.settings.warmup_ratio))
        if step < warm:
            return self.settings.learning_rate * (step + 1) / warm
        if self.lr_scheduler == "constant":
            return self.settings.learning_rate
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
        if self.validates_start and state["best"] < 0:
            state = self._validate_and_keep_best(state, journal, folder)
        with show_progress(self.name, self.steps, state["step"]) as advance:
            for step in range(state["step"], self.steps):
                if self._patience_is_over(state):
                    break
                batch = self.objective.draw_batch(step)
                loss = self.train_step(step, batch)
                journal.add_loss(batch.name, loss)
                self._labels[batch.name] = batch.label
                state["step"], state["seconds"] = step + 1, time.monotonic() - started
                state["tokens"] += batch.num_tokens
                rate = state["tokens"] / max(state["seconds"], 1e-9)
                best = max(state["best"], 0)
                advance(1, f"{batch.label} loss {loss:.3f}, {rate:,.0f} {self.objective.unit}/s, best {best:.4f}")
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
            load_best(folder, self.objective.whole_model)
        self.objective.prepare_validation()
        return {**state, "planned_steps": self.steps}

    def train_step(self, step: int, batch: Batch) -> float:
        """Take one optimizer step and return the loss; raise `TriAlignError` when it or its gradient is not finite."""
        torch.manual_seed(derive_seed(self.seed, "step", step))
        self.objective.prepare_training()
        self.optimizer.zero_grad(set_to_none=True)
        shares = []
        for loss in self.objective.iter_micro_losses(batch):
            # Where weights lie in shares, gradients come back as the mean over all workers.
            (loss * self.process_group.world_size if self.settings.fsdp else loss).backward()
            shares.append(loss.detach())
        value = self.process_group.all_reduce_sum(sum(map(float, shares)))
        self._check_finite("loss", value, step, batch)
        if not self.settings.fsdp:
            self.process_group.all_reduce_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm)
        self._check_finite("gradient", float(to_full_tensor(norm)), step, batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate_at(step)
        self.optimizer.step()
        self.ema.update(step)
        return value

    def _check_finite(self, what: str, value: float, step: int, batch: Batch) -> None:
        """Stop before a value that is not finite reaches the weights, and so the checkpoints."""
        if not math.isfinite(value):
            raise TriAlignError(
                f"The {what} of {batch.description} is not a number at step {step}. The last good checkpoint stays "
                f"until other settings begin training anew: lower {self.name}.learning_rate (now "
                f"{self.settings.learning_rate})."
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
        model = self.objective.whole_model if self.process_group.is_main_process else None
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
        model = self.objective.whole_model
        self.objective.prepare_validation()
        with torch.compiler.set_stance("force_eager"):  # what decodes has other shapes at every step
            found = self.validate(model)
        if found["NDCG@10"] > state["best"]:
            state["best"], state["best_step"] = found["NDCG@10"], state["step"]
            save_best(folder, model)
        return found

    def _log_validation(self, state: dict[str, Any], losses: dict[str, float], metrics: dict[str, float]) -> None:
        """Say on the terminal what a validation found, and what each task lost since the last line."""
        if not self.logs_validations:
            return
        speed = state["tokens"] / max(state["seconds"], 1e-9)
        said = sorted((self._labels.get(name, name), loss) for name, loss in losses.items())
        losses_said = f"; loss {', '.join(f'{label} {loss:.3f}' for label, loss in said)}" if said else ""
        log(
            f"  step {state['step']:,}/{self.steps:,}: validation NDCG@10 {metrics['NDCG@10']:.4f} "
            f"HR@10 {metrics['HR@10']:.4f} (best {state['best']:.4f} at {state['best_step']:,}), "
            f"{state['seconds']:.0f} s, {speed:,.0f} {self.objective.unit}/s{losses_said}"
        )
