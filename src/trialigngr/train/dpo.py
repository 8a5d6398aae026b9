"""`DpoObjective`: items that were taken against items that were not, in packed rows: a prompt is read once for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from trialigngr.foundation.device import autocast
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import derive_seed
from trialigngr.models.reference import ReferenceModel
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.packing import Continuation, SharedPrefixRow
from trialigngr.train.loss import DeviceMicroBatch, compute_target_losses, sum_branch_log_probs
from trialigngr.train.phases import PhaseInputs
from trialigngr.train.settings import DpoSettings
from trialigngr.train.sft import PackedRows


@dataclass(frozen=True)
class PreferenceBatch:
    """Examples of a task, each with its answer (branch (1 + n) · i) and n negatives (the branches behind it)."""

    task: TaskExamples
    rows: list[SharedPrefixRow]
    num_examples: int
    number: int
    name: str = "dpo"
    label: str = "DPO"

    @property
    def description(self) -> str:
        """What messages say."""
        return f"phase dpo (batch {self.number})"

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(map(len, self.rows))


class DpoObjective(PackedRows):
    """−log σ(−log Σ_j exp(β (Δ_j − Δ_taken))), Δ the log-probability of a SID minus that by the model at the start.

    Without dropout: the model and the one at the start are to differ by their weights alone.
    """

    def __init__(self, inputs: PhaseInputs) -> None:
        self.examples, self.own, self.seed = inputs.tasks[inputs.prediction], inputs.settings, inputs.seed
        self.num_steps: int = self.own.max_steps
        self.num_items = len(self.examples.views.token_ids[self.examples.task.target])
        first, *others = self.examples.build_targets(np.arange(self.num_items))
        if all(other == first for other in others):
            raise RecipeError(
                "Phase dpo holds SIDs against each other, and all items share one; leave it out of phases."
            )
        super().__init__(inputs.train, inputs.backbone, self.examples.settings.max_length, inputs.process_group)
        self.reference = ReferenceModel(inputs.backbone)
        self.level_V = None if inputs.level_V is None else inputs.level_V.to(self.device)

    def draw_batch(self, step: int) -> PreferenceBatch:
        """Return the examples of a step, with negatives drawn from the whole catalogue."""
        size, dice = self.settings.batch_size, np.random.default_rng(derive_seed(self.seed, "dpo", step))
        rows = self.examples.draw_batch(derive_seed(self.seed, "dpo"), step, size)
        return PreferenceBatch(
            self.examples, add_negatives(rows, self.examples, self.num_items, self.own, dice), size, step
        )

    def prepare_training(self) -> None:
        """Let the model attend to packed rows, without dropout."""
        super().prepare_training()
        self.model.eval()
        for module in self.model.modules():
            # A layer that keeps no activations looks at its own flag; its parts, which drop, at theirs.
            if getattr(module, "gradient_checkpointing", False):
                module.training = True

    def iter_micro_losses(self, batch: PreferenceBatch) -> Iterator[Tensor]:
        """Yield each micro-batch's share of the mean over the examples; all answers of a prompt stand in one."""
        for part in self.pack_local_rows(batch.task.prompt_header, batch.rows)[0]:
            laid_out = self.move_to_device(part)
            with autocast(self.device, self.settings.precision):
                ours_M = self.target_losses(laid_out, self.level_V)
                with torch.no_grad(), self.reference.use_weights() as reference:
                    theirs_M = compute_target_losses(reference, laid_out, self.level_V)
                loss = compute_preference_loss(ours_M - theirs_M, laid_out, self.own, batch.num_examples)
            yield loss


def add_negatives(
    rows: list[SharedPrefixRow],
    examples: TaskExamples,
    num_items: int,
    settings: DpoSettings,
    dice: np.random.Generator,
) -> list[SharedPrefixRow]:
    """Return the rows with ``num_negatives`` other answers behind each, and the branches numbered over all rows."""
    width, found, branch = 1 + settings.num_negatives, [], 0
    for row in rows:
        answers = []
        for taken in row.continuations:
            others = _draw_other_answers(taken, examples, num_items, settings.num_negatives, dice)
            answers += [replace(one, branch=branch + place) for place, one in enumerate((taken, *others))]
            branch += width
        found.append(SharedPrefixRow(row.prefix_tokens, answers))
    return found


def _draw_other_answers(
    taken: Continuation, examples: TaskExamples, num_items: int, count: int, dice: np.random.Generator
) -> list[Continuation]:
    """Return answers of items drawn from the catalogue whose SID is another than the one taken."""
    found: list[list[int]] = []
    while len(found) < count:
        drawn = examples.build_targets(dice.integers(num_items, size=count - len(found)))
        found += [target for target in drawn if target != taken.target]
    return [replace(taken, target=target, item=-1) for target in found]


def compute_preference_loss(
    losses_M: Tensor, micro_batch: DeviceMicroBatch, settings: DpoSettings, num_examples: int
) -> Tensor:
    """Return the sum over a micro-batch's examples, divided by ``num_examples`` of the whole batch.

    ``losses_M`` are −Δ of the target tokens.
    """
    width = 1 + settings.num_negatives
    rewards_G = settings.beta * sum_branch_log_probs(losses_M, micro_batch, num_examples * width)
    here = torch.unique(micro_batch.branch_M // width)
    rewards_EW = rewards_G.view(num_examples, width)[here]
    margins_E = (rewards_EW[:, 1:] - rewards_EW[:, :1]).logsumexp(1)
    return softplus(margins_E).sum() / num_examples


def build_dpo_objective(inputs: PhaseInputs) -> DpoObjective:
    """Return the objective of phase ``dpo``."""
    return DpoObjective(inputs)
