"""The loop that trains an autoencoder together with its bottleneck, one modality or two side by side (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trialigngr.foundation.console import ProgressCallback, show_progress
from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.collisions import compute_collision_rates
from trialigngr.sids.quantizers.autoencoder import Autoencoder
from trialigngr.sids.quantizers.bottleneck import Bottleneck
from trialigngr.sids.quantizers.codebooks import Codebooks, Float32Array
from trialigngr.sids.quantizers.parameters import AutoencoderTraining
from trialigngr.sids.quantizers.settings import SelectionMetric

HELD_OUT_RATIO = 0.1
"""Share of the vectors that training does not see and early stopping looks at."""
MakeBottleneck = Callable[[Float32Array], Bottleneck]
"""Latents of the training vectors [N, Z] → the bottleneck that starts from them."""


@dataclass
class ModalityAutoencoder:
    """One modality: its vectors, its network, and what makes its bottleneck."""

    vectors_ND: Tensor
    network: Autoencoder
    make_bottleneck: MakeBottleneck
    bottleneck: Bottleneck = field(init=False)

    def compute_latents(self, rows_N: Tensor) -> Tensor:
        """Return the latents of some rows, a block at a time, without gradient."""
        with torch.no_grad():
            return torch.cat([self.network.encode(self.vectors_ND[rows_B]) for rows_B in rows_N.split(8192)])


@dataclass(frozen=True)
class TrainedAutoencoder:
    """A strand as it was at its best epoch."""

    weights: dict[str, Float32Array]
    codebooks: Codebooks


@dataclass(frozen=True)
class _EpochSnapshot:
    metric_value: float
    epoch: int
    autoencoders: list[TrainedAutoencoder]


def init_autoencoder(
    vectors_ND: Float32Array,
    make_network: Callable[[], Autoencoder],
    linear_skip: bool,
    make_bottleneck: MakeBottleneck,
    seed: int,
) -> ModalityAutoencoder:
    """Return a strand whose network was drawn from ``seed`` and has looked at the data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "network"))
        made = make_network()
    rows_ND = torch.from_numpy(vectors_ND)
    made.init_from_data(rows_ND, linear_skip)
    return ModalityAutoencoder(rows_ND, made, make_bottleneck)


def train_autoencoders(
    autoencoders: Sequence[ModalityAutoencoder],
    training: AutoencoderTraining,
    seed: int,
    joint_loss: nn.Module | None = None,
) -> list[TrainedAutoencoder]:
    """Return each strand at its best epoch: autoencoders alone first, then with their bottlenecks.

    Rows of the strands belong together; ``joint_term(quantised latents of each strand [B, Z], rows [B])`` is an extra
    loss, whose parameters are trained with the rest. Neither gradient nor start of the codes sees the held-out rows.
    """
    held_H, train_T = _split_held_out(len(autoencoders[0].vectors_ND), seed)
    shuffle = torch.Generator().manual_seed(derive_seed(seed, "batches"))
    with show_progress("quantizer", training.warmup_epochs + training.epochs) as advance:
        _run_warmup(autoencoders, train_T, training, shuffle, advance)
        for one in autoencoders:
            one.bottleneck = one.make_bottleneck(one.compute_latents(train_T).numpy())
        return _train_jointly(autoencoders, train_T, held_H, training, shuffle, joint_loss, advance)


def _run_warmup(
    autoencoders: Sequence[ModalityAutoencoder],
    train_T: Tensor,
    training: AutoencoderTraining,
    shuffle: torch.Generator,
    advance: ProgressCallback,
) -> None:
    parameters = [parameter for one in autoencoders for parameter in one.network.parameters()]
    optimiser = torch.optim.AdamW(parameters, training.learning_rate, weight_decay=0.0)
    for _ in range(training.warmup_epochs):
        for rows_B in _iter_batches(train_T, training.batch_size, shuffle):
            batches = [(one.network, one.vectors_ND[rows_B]) for one in autoencoders]
            errors = [net.reconstruction_error(net.decode(net.encode(x_BD)), x_BD) for net, x_BD in batches]
            _take_optimizer_step(optimiser, torch.stack(errors).sum())
        advance()


def _train_jointly(
    autoencoders: Sequence[ModalityAutoencoder],
    train_T: Tensor,
    held_H: Tensor,
    training: AutoencoderTraining,
    shuffle: torch.Generator,
    joint_loss: nn.Module | None,
    advance: ProgressCallback,
) -> list[TrainedAutoencoder]:
    """Train until no epoch of the last ``patience`` was the best."""
    parameters = [p for one in autoencoders for p in (*one.network.parameters(), *one.bottleneck.parameters())]
    parameters += joint_loss.parameters() if joint_loss is not None else []
    optimiser = torch.optim.AdamW(parameters, training.learning_rate, weight_decay=0.0)
    best = _snapshot_epoch(autoencoders, held_H, 0, training.selection_metric)
    for epoch in range(1, training.epochs + 1):
        for rows_B in _iter_batches(train_T, training.batch_size, shuffle):
            _take_optimizer_step(optimiser, _compute_total_loss(autoencoders, rows_B, joint_loss))
        for one in autoencoders:
            one.bottleneck.end_epoch(one.compute_latents(train_T), shuffle)
        now = _snapshot_epoch(autoencoders, held_H, epoch, training.selection_metric)
        best = now if now.metric_value < best.metric_value else best
        advance(note=f"{training.selection_metric} {now.metric_value:.4f}, best {best.metric_value:.4f}")
        if epoch - best.epoch >= training.patience:
            break
    return best.autoencoders


def _compute_total_loss(
    autoencoders: Sequence[ModalityAutoencoder], rows_B: Tensor, joint_loss: nn.Module | None
) -> Tensor:
    total, quantised = torch.zeros(()), []
    for one in autoencoders:
        x_BD = one.vectors_ND[rows_B]
        quantised_BZ, loss = one.bottleneck(one.network.encode(x_BD), rows_B)
        total = total + one.network.reconstruction_error(one.network.decode(quantised_BZ), x_BD) + loss
        quantised.append(quantised_BZ)
    return total if joint_loss is None else total + joint_loss(quantised, rows_B)


@torch.no_grad()
def _snapshot_epoch(
    autoencoders: Sequence[ModalityAutoencoder], held_H: Tensor, epoch: int, metric: SelectionMetric
) -> _EpochSnapshot:
    """Return the state as it is now, with what the best epoch has least of, summed over the strands."""
    measure = {"reconstruction": _held_out_error, "collisions": _collision_rate}[metric]
    return _EpochSnapshot(
        sum(measure(one, held_H) for one in autoencoders),
        epoch,
        [TrainedAutoencoder(one.network.copy_weights(), one.bottleneck.copy_codebooks()) for one in autoencoders],
    )


def _held_out_error(one: ModalityAutoencoder, held_H: Tensor) -> float:
    x_HD, levels = one.vectors_ND[held_H], one.bottleneck.copy_codebooks()
    latents_HZ = one.network.encode(x_HD).numpy()
    quantised_HZ = torch.from_numpy(levels.sum_codes(levels.encode(latents_HZ)))
    return float(one.network.reconstruction_error(one.network.decode(quantised_HZ), x_HD))


def _collision_rate(one: ModalityAutoencoder, _held_H: Tensor) -> float:
    rows_N = torch.arange(len(one.vectors_ND))
    return compute_collision_rates(one.bottleneck.copy_codebooks().encode(one.compute_latents(rows_N).numpy()))["items"]


def _split_held_out(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return held-out and training rows; a single row is both."""
    order_N = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "held out")))
    held = max(1, int(HELD_OUT_RATIO * count))
    return order_N[:held], order_N[held:] if held < count else order_N


def _iter_batches(rows_T: Tensor, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
    """Yield all rows once, in a new order."""
    for places_B in torch.randperm(len(rows_T), generator=shuffle).split(size):
        yield rows_T[places_B]


def _take_optimizer_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
