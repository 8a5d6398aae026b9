"""The loop that trains an autoencoder together with its bottleneck, one modality or two side by side (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from trialigngr.foundation.console import Advance, progress
from trialigngr.foundation.seeds import child
from trialigngr.sids.collisions import collisions
from trialigngr.sids.quantizers.bottleneck import Bottleneck
from trialigngr.sids.quantizers.levels import Levels, Vectors
from trialigngr.sids.quantizers.network import Autoencoder

if TYPE_CHECKING:
    from trialigngr.sids.quantizers.rqvae import TrainingSettings

Measure = Literal["reconstruction", "collisions"]
MakeBottleneck = Callable[[Vectors], Bottleneck]
"""Latents of the training vectors [N, Z] → the bottleneck that starts from them."""


@dataclass
class Strand:
    """One modality: its vectors, its network, and what makes its bottleneck."""

    vectors_ND: Tensor
    network: Autoencoder
    make: MakeBottleneck
    bottleneck: Bottleneck = field(init=False)

    def latents(self, rows_N: Tensor) -> Tensor:
        """Return the latents of some rows, a block at a time, without gradient."""
        with torch.no_grad():
            return torch.cat([self.network.encode(self.vectors_ND[rows_B]) for rows_B in rows_N.split(8192)])


@dataclass(frozen=True)
class Trained:
    """A strand as it was at its best epoch."""

    weights: dict[str, Vectors]
    levels: Levels


@dataclass(frozen=True)
class _Best:
    least: float
    epoch: int
    strands: list[Trained]


def strand(
    vectors_ND: Vectors, network: Callable[[], Autoencoder], linear: bool, make: MakeBottleneck, seed: int
) -> Strand:
    """Return a strand whose network was drawn from ``seed`` and has looked at the data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child(seed, "network"))
        made = network()
    rows_ND = torch.from_numpy(vectors_ND)
    made.look_at(rows_ND, linear)
    return Strand(rows_ND, made, make)


def train(
    strands: Sequence[Strand], settings: TrainingSettings, seed: int, joint_term: nn.Module | None = None
) -> list[Trained]:
    """Return each strand at its best epoch: autoencoders alone first, then with their bottlenecks.

    Rows of the strands belong together; ``joint_term(quantised latents of each strand [B, Z], rows [B])`` is an extra
    loss, whose parameters are trained with the rest. Neither gradient nor start of the codes sees the held-out rows.
    """
    held_H, train_T = _split(len(strands[0].vectors_ND), settings.held_out, seed)
    shuffle = torch.Generator().manual_seed(child(seed, "batches"))
    with progress("quantizer", settings.warm_up + settings.epochs) as advance:
        _warm_up(strands, train_T, settings, shuffle, advance)
        for one in strands:
            one.bottleneck = one.make(one.latents(train_T).numpy())
        return _together(strands, train_T, held_H, settings, shuffle, joint_term, advance)


def _warm_up(
    strands: Sequence[Strand], train_T: Tensor, settings: TrainingSettings, shuffle: torch.Generator, advance: Advance
) -> None:
    parameters = [parameter for one in strands for parameter in one.network.parameters()]
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=0.0)
    for _ in range(settings.warm_up):
        for rows_B in _batches(train_T, settings.batch, shuffle):
            batches = [(one.network, one.vectors_ND[rows_B]) for one in strands]
            errors = [net.error(net.decode(net.encode(x_BD)), x_BD) for net, x_BD in batches]
            _step(optimiser, torch.stack(errors).sum())
        advance()


def _together(
    strands: Sequence[Strand],
    train_T: Tensor,
    held_H: Tensor,
    settings: TrainingSettings,
    shuffle: torch.Generator,
    joint_term: nn.Module | None,
    advance: Advance,
) -> list[Trained]:
    """Train until no epoch of the last ``patience`` was the best."""
    parameters = [p for one in strands for p in (*one.network.parameters(), *one.bottleneck.parameters())]
    parameters += joint_term.parameters() if joint_term is not None else []
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=0.0)
    best = _look(strands, held_H, 0, settings.best)
    for epoch in range(1, settings.epochs + 1):
        for rows_B in _batches(train_T, settings.batch, shuffle):
            _step(optimiser, _loss(strands, rows_B, joint_term))
        for one in strands:
            one.bottleneck.end_epoch(one.latents(train_T), shuffle)
        now = _look(strands, held_H, epoch, settings.best)
        best = now if now.least < best.least else best
        advance(note=f"{settings.best} {now.least:.4f}, best {best.least:.4f}")
        if epoch - best.epoch >= settings.patience:
            break
    return best.strands


def _loss(strands: Sequence[Strand], rows_B: Tensor, joint_term: nn.Module | None) -> Tensor:
    total, quantised = torch.zeros(()), []
    for one in strands:
        x_BD = one.vectors_ND[rows_B]
        quantised_BZ, loss = one.bottleneck(one.network.encode(x_BD), rows_B)
        total = total + one.network.error(one.network.decode(quantised_BZ), x_BD) + loss
        quantised.append(quantised_BZ)
    return total if joint_term is None else total + joint_term(quantised, rows_B)


@torch.no_grad()
def _look(strands: Sequence[Strand], held_H: Tensor, epoch: int, by: Measure) -> _Best:
    """Return the state as it is now, with what the best epoch has least of, summed over the strands."""
    measure = {"reconstruction": _held_out_error, "collisions": _collisions}[by]
    return _Best(
        sum(measure(one, held_H) for one in strands),
        epoch,
        [Trained(one.network.weights(), one.bottleneck.levels()) for one in strands],
    )


def _held_out_error(one: Strand, held_H: Tensor) -> float:
    x_HD, levels = one.vectors_ND[held_H], one.bottleneck.levels()
    latents_HZ = one.network.encode(x_HD).numpy()
    quantised_HZ = torch.from_numpy(levels.sum(levels.encode(latents_HZ)))
    return float(one.network.error(one.network.decode(quantised_HZ), x_HD))


def _collisions(one: Strand, _held_H: Tensor) -> float:
    rows_N = torch.arange(len(one.vectors_ND))
    return collisions(one.bottleneck.levels().encode(one.latents(rows_N).numpy()))["items"]


def _split(count: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return held-out and training rows; a single row is both."""
    order_N = torch.randperm(count, generator=torch.Generator().manual_seed(child(seed, "held out")))
    held = max(1, int(share * count))
    return order_N[:held], order_N[held:] if held < count else order_N


def _batches(rows_T: Tensor, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
    """Yield all rows once, in a new order."""
    for places_B in torch.randperm(len(rows_T), generator=shuffle).split(size):
        yield rows_T[places_B]


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
