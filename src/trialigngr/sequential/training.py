"""Training of a next-item network by the loop that trains the language model: softmax over all items at every place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.catalog.queries import Rows
from trialigngr.evaluate.system import compute_ranks
from trialigngr.foundation.device import autocast
from trialigngr.foundation.errors import CatalogError
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.ranks import compute_target_metrics
from trialigngr.sequential.batches import HistoryPieces, NextItemBatch
from trialigngr.sequential.full_softmax import full_softmax_loss
from trialigngr.sequential.network import NetworkScorer, NextItemNetwork
from trialigngr.sequential.settings import SequentialSettings
from trialigngr.train.checkpoint import remove_checkpoints
from trialigngr.train.loop import Trainer
from trialigngr.train.settings import LoopSettings

NO_CLIPPING = 1e9
"""A gradient norm that none reaches."""


class NextItemObjective:
    """Cross-entropy over all items at every place of the training parts, in passes over shuffled pieces of them."""

    unit = "items"

    def __init__(self, scorer: NetworkScorer, histories: Histories, seed: int) -> None:
        self.model = self.whole_model = scorer.network
        self.name, self.device, self.seed, self.settings = scorer.name, scorer.device, seed, scorer.network.settings
        self.pieces = HistoryPieces.from_histories(histories, self.settings.max_history)
        if not len(self.pieces):
            raise CatalogError(
                f"{self.name} learns what follows what, and no user has two items in the training part; leave it out "
                "of evaluate.systems, or give longer histories."
            )
        self.steps_per_epoch = math.ceil(len(self.pieces) / self.settings.batch_size)
        self.num_steps = self.steps_per_epoch * self.settings.epochs
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def draw_batch(self, step: int) -> NextItemBatch:
        """Return the pieces of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.settings.batch_size
        chosen = self._draw_order(epoch)[start : start + self.settings.batch_size]
        return self.pieces.build_batch(chosen, self.device, self.name, step, packs=self.model.packs_histories)

    def _draw_order(self, epoch: int) -> Rows:
        if epoch != self._epoch:
            order = np.random.default_rng(derive_seed(self.seed, self.name, epoch)).permutation(len(self.pieces))
            self._epoch, self._order = epoch, order
        return self._order

    def iter_micro_losses(self, batch: NextItemBatch) -> Iterator[Tensor]:
        """Yield the mean loss over the batch's targets."""
        with autocast(self.device):
            states_MD = self.model(batch.inputs)[batch.real_BT]
            loss = full_softmax_loss(states_MD, self.model.items.weight, batch.targets_BT[batch.real_BT])
        yield loss

    def prepare_training(self) -> None:
        """Turn dropout on."""
        self.model.train()

    def prepare_validation(self) -> None:
        """Turn dropout off."""
        self.model.eval()


def train_network(
    name: str,
    network_type: type[NextItemNetwork[Any]],
    settings: SequentialSettings,
    histories: Histories,
    num_items: int,
    valid: Targets,
    seed: int,
    folder: Path,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network on the training parts, choose the epoch on the ``valid`` targets, write it to ``folder``; return
    facts."""
    torch.manual_seed(derive_seed(seed, name))
    scorer = NetworkScorer(name, network_type(settings, num_items), device)
    objective = NextItemObjective(scorer, histories, seed)
    loop = LoopSettings(
        learning_rate=settings.learning_rate, warmup_ratio=0.0, weight_decay=0.0,
        max_grad_norm=NO_CLIPPING, device=device, validate_every=objective.steps_per_epoch, patience=settings.patience,
    )  # fmt: skip

    def validate(_network: Any) -> dict[str, float]:
        values = compute_target_metrics(compute_ranks(scorer, histories, valid), (10,))
        return {metric: float(found.mean()) for metric, found in values.items()}

    state = Trainer(loop, objective, validate, seed, name=name, lr_scheduler="constant", logs_validations=False).fit(
        folder
    )
    scorer.save(folder)
    remove_checkpoints(folder)
    epochs = {
        name: state[key] // objective.steps_per_epoch for name, key in (("epochs", "step"), ("best_epoch", "best_step"))
    }
    return {
        **epochs,
        "steps": state["step"],
        "valid_ndcg_10": state["best"],
        "parameters": sum(p.numel() for p in scorer.network.parameters()),
    }
