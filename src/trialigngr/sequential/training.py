"""Training of a next-item network by the loop that trains the language model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.evaluate.system import compute_ranks
from trialigngr.foundation.console import log
from trialigngr.foundation.device import autocast
from trialigngr.foundation.files import remove_path
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.ranks import compute_target_metrics
from trialigngr.sequential.batches import HistoryPieces, TrainingBatch
from trialigngr.sequential.losses import LOSSES, NegativeDraw
from trialigngr.sequential.network import WEIGHTS_FILE, DataSizes, NetworkScorer, NextItemNetwork
from trialigngr.sequential.settings import SequentialSettings
from trialigngr.train.checkpoint import remove_checkpoints
from trialigngr.train.epochs import ShuffledEpochs
from trialigngr.train.loop import Trainer
from trialigngr.train.settings import LoopSettings

NO_CLIPPING = 1e9
"""A gradient norm that none reaches."""
PRETRAINING_FOLDER = "pretraining"
"""Beside the network while it is trained."""


class NextItemObjective:
    """A network's loss on the training parts, in ``epochs`` passes over shuffled pieces of them."""

    unit = "items"

    def __init__(self, scorer: NetworkScorer, histories: Histories, seed: int) -> None:
        self.model = self.whole_model = scorer.network
        self.name, self.device, self.seed, self.settings = scorer.name, scorer.device, seed, scorer.network.settings
        self.pieces = HistoryPieces.from_histories(histories, self.model.piece_length, self.name, self.device)
        self.epochs_of_pieces = ShuffledEpochs(len(self.pieces), self.settings.batch_size, seed, self.name)
        self.steps_per_epoch = self.epochs_of_pieces.steps_per_epoch
        counts_N = histories.count_train_items(self.model.sizes.num_items)
        self.draw = NegativeDraw.from_counts(self.settings.num_negatives, counts_N, self.device)

    @property
    def epochs(self) -> int:
        """Passes over the pieces, at most."""
        return self.settings.epochs

    @property
    def num_steps(self) -> int:
        """Steps of all passes."""
        return self.steps_per_epoch * self.epochs

    def draw_batch(self, step: int) -> TrainingBatch:
        """Return the pieces of a step."""
        return self.model.build_batch(self.pieces, self.epochs_of_pieces.choose_examples(step), step)

    def iter_micro_losses(self, batch: TrainingBatch) -> Iterator[Tensor]:
        """Yield the mean loss over the batch's targets."""
        with autocast(self.device):
            shown = self.model.hide_targets(batch)
            states_MD = self.model.scale_states(self.model(shown.inputs).flatten(0, 1)[shown.places_M])
            loss = LOSSES[self.settings.loss](states_MD, shown.targets_M, self.model.scale_vectors, self.draw)
        yield loss

    def prepare_training(self) -> None:
        """Turn dropout on."""
        self.model.train()

    def prepare_validation(self) -> None:
        """Turn dropout off."""
        self.model.eval()


class PretrainingObjective(NextItemObjective):
    """What a network learns before that, on whole histories."""

    @property
    def epochs(self) -> int:
        """Passes over the pieces."""
        return self.model.pretrain_epochs

    def draw_batch(self, step: int) -> TrainingBatch:
        """Return the pieces of a step."""
        return self.pieces.build_whole_batch(self.epochs_of_pieces.choose_examples(step), step)

    def iter_micro_losses(self, batch: TrainingBatch) -> Iterator[Tensor]:
        """Yield the network's own loss."""
        with autocast(self.device):
            loss = self.model.compute_pretraining_loss(batch)
        yield loss


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on: the training parts, and ``valid`` targets that choose the epoch. ``attributes`` are
    None for a network that needs none."""

    histories: Histories
    num_items: int
    valid: Targets
    attributes: ItemAttributes | None = None

    def measure_sizes(self) -> DataSizes:
        """Return how long a network's tables are."""
        if self.attributes is None:
            return DataSizes(self.num_items, len(self.histories))
        per_item = int(np.diff(self.attributes.offsets).max(initial=1))
        return DataSizes(self.num_items, len(self.histories), len(self.attributes), per_item)


def train_network(
    name: str,
    network_type: type[NextItemNetwork[Any]],
    settings: SequentialSettings,
    data: TrainingData,
    seed: int,
    folder: Path,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network, choose the epoch on the validation targets, write it to ``folder``; return facts."""
    torch.manual_seed(derive_seed(seed, name))
    network = network_type(settings, data.measure_sizes())
    network.read_data(data.histories, data.attributes)
    if network.uses_times and data.histories.times is None:
        log(f"  {name}: the log has no timestamps, so it goes by the order alone")
    scorer = NetworkScorer(name, network, device)
    if network.pretrain_epochs:
        _pretrain_network(scorer, data, seed, folder / PRETRAINING_FOLDER)
    objective = NextItemObjective(scorer, data.histories, seed)
    state = _build_trainer(scorer, objective, data, seed).fit(folder)
    scorer.save(folder)
    remove_checkpoints(folder)
    remove_path(folder / PRETRAINING_FOLDER)
    epochs = {
        name: state[key] // objective.steps_per_epoch for name, key in (("epochs", "step"), ("best_epoch", "best_step"))
    }
    return {
        **epochs,
        "steps": state["step"],
        "parameters": sum(p.numel() for p in scorer.network.parameters()),
    }


def _pretrain_network(scorer: NetworkScorer, data: TrainingData, seed: int, folder: Path) -> None:
    """Train a network for its first losses, all passes; take what lies in ``folder`` if that was done before a kill."""
    if not (folder / WEIGHTS_FILE).exists():
        folder.mkdir(exist_ok=True)
        objective = PretrainingObjective(scorer, data.histories, seed)
        _build_trainer(scorer, objective, data, seed, validate_every=objective.num_steps).fit(folder)
        scorer.save(folder)
    scorer.network.load_state_dict(load_file(folder / WEIGHTS_FILE, device=str(scorer.device)))


def _build_trainer(
    scorer: NetworkScorer, objective: NextItemObjective, data: TrainingData, seed: int, validate_every: int = 0
) -> Trainer[NextItemObjective]:
    """Return the loop; it validates after every pass unless otherwise told."""
    settings = scorer.network.settings
    loop = LoopSettings(
        learning_rate=settings.learning_rate, warmup_ratio=0.0, weight_decay=0.0, max_grad_norm=NO_CLIPPING,
        device=str(scorer.device), validate_every=validate_every or objective.steps_per_epoch,
        patience=settings.patience, ema_decay=settings.ema_decay,
    )  # fmt: skip

    def validate(_network: Any) -> dict[str, float]:
        values = compute_target_metrics(compute_ranks(scorer, data.histories, data.valid), (10,))
        return {metric: float(found.mean()) for metric, found in values.items()}

    return Trainer(loop, objective, validate, seed, name=scorer.name, lr_scheduler="constant", logs_validations=False)
