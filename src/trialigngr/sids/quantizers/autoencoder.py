"""The network of RQ-VAE and the loop that trains it (torch); `rqvae` wraps it behind numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trialigngr.foundation.console import Advance, progress
from trialigngr.foundation.seeds import child
from trialigngr.sids.quantizers.kmeans import residual_kmeans
from trialigngr.sids.quantizers.levels import Level, Levels, Vectors, blocks

if TYPE_CHECKING:
    from trialigngr.sids.quantizers.rqvae import RqVaeSettings


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers of these widths with ReLU between them and nothing after the last."""
    layers: list[nn.Module] = []
    for width_in, width_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """x → (x − mean) / scale → encoder → latent, and back. ``mean_D`` and ``scale`` come from the data."""

    mean_D: Tensor
    scale: Tensor

    def __init__(self, width: int, hidden: Sequence[int], latent: int) -> None:
        super().__init__()
        self.encoder = mlp([width, *hidden, latent])
        self.decoder = mlp([latent, *reversed(hidden), width])
        self.register_buffer("mean_D", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))

    def measure(self, vectors_ND: Tensor) -> None:
        """Take mean and scale from the data, so that one learning rate fits embeddings of any length."""
        self.mean_D.copy_(vectors_ND.mean(0))
        spread = float((vectors_ND - self.mean_D).square().mean().sqrt())
        self.scale.fill_(spread if spread > 0 else 1.0)

    def encode(self, vectors_BD: Tensor) -> Tensor:
        """Return latents [B, Z]."""
        latents_BZ: Tensor = self.encoder((vectors_BD - self.mean_D) / self.scale)
        return latents_BZ

    def decode(self, latents_BZ: Tensor) -> Tensor:
        """Return vectors [B, D]."""
        vectors_BD: Tensor = self.decoder(latents_BZ) * self.scale + self.mean_D
        return vectors_BD

    def distance(self, decoded_BD: Tensor, vectors_BD: Tensor) -> Tensor:
        """Return the mean squared error in units of the data's variance."""
        return F.mse_loss(decoded_BD, vectors_BD) / self.scale.square()


class Codebooks(nn.Module):
    """The levels while they are trained. With ``ema`` they follow the mean of their residuals, else the gradient."""

    def __init__(self, levels: Levels, ema: float | None) -> None:
        super().__init__()
        self.vectors = nn.ParameterList(nn.Parameter(torch.from_numpy(level.vectors_KD.copy()), ema is None) for level in levels)
        self.ema = ema
        self.counts = [torch.ones(level.size) for level in levels]
        self.sums = [vectors_KZ.detach().clone() for vectors_KZ in self.vectors]
        self.used = [torch.zeros(level.size, dtype=torch.bool) for level in levels]

    def forward(self, latents_BZ: Tensor, commitment: float) -> tuple[Tensor, Tensor]:
        """Return the summed codes [B, Z], straight-through, and the mean codebook and commitment loss of the levels."""
        residual_BZ, total_BZ, loss = latents_BZ, torch.zeros_like(latents_BZ), latents_BZ.new_zeros(())
        for level, vectors_KZ in enumerate(self.vectors):
            codes_B = nearest(residual_BZ.detach(), vectors_KZ.detach())
            chosen_BZ = vectors_KZ[codes_B]
            loss = loss + commitment * F.mse_loss(residual_BZ, chosen_BZ.detach())
            if self.ema is None:
                loss = loss + F.mse_loss(chosen_BZ, residual_BZ.detach())
            if self.training:
                self._follow(level, residual_BZ.detach(), codes_B)
            total_BZ = total_BZ + chosen_BZ.detach()
            residual_BZ = residual_BZ - chosen_BZ.detach()
        return latents_BZ + (total_BZ - latents_BZ).detach(), loss / len(self.vectors)

    def levels(self) -> Levels:
        """Return a copy of the codebooks as they are now."""
        return Levels([Level(vectors_KZ.detach().numpy().copy()) for vectors_KZ in self.vectors])

    def _follow(self, level: int, residual_BZ: Tensor, codes_B: Tensor) -> None:
        self.used[level][codes_B] = True
        if self.ema is None:
            return
        size = len(self.counts[level])
        counts_K = torch.bincount(codes_B, minlength=size).float()
        sums_KZ = torch.zeros_like(self.sums[level]).index_add_(0, codes_B, residual_BZ)
        self.counts[level].mul_(self.ema).add_(counts_K, alpha=1 - self.ema)
        self.sums[level].mul_(self.ema).add_(sums_KZ, alpha=1 - self.ema)
        seen_K = counts_K > 0
        self.vectors[level].data[seen_K] = self.sums[level][seen_K] / self.counts[level][seen_K].clamp_min(1e-6)[:, None]

    def restart_dead(self, latents_NZ: Tensor, generator: torch.Generator) -> None:
        """Move each code that no item chose since the last call onto the residual of some item."""
        residual_NZ = latents_NZ
        for level, vectors_KZ in enumerate(self.vectors):
            dead_R = (~self.used[level]).nonzero()[:, 0]
            rows_R = torch.randint(len(residual_NZ), (len(dead_R),), generator=generator)
            vectors_KZ.data[dead_R] = residual_NZ[rows_R]
            self.sums[level][dead_R], self.counts[level][dead_R] = residual_NZ[rows_R], 1.0
            self.used[level].zero_()
            residual_NZ = residual_NZ - vectors_KZ.data[nearest(residual_NZ, vectors_KZ.data)]


def nearest(residual_BZ: Tensor, vectors_KZ: Tensor) -> Tensor:
    """Return the nearest code of each row [B]."""
    return torch.addmm(vectors_KZ.square().sum(1), residual_BZ, vectors_KZ.T, alpha=-2).argmin(1)


def _build(state: dict[str, Vectors]) -> Autoencoder:
    """Return the network whose weights these are; its widths are read off them."""
    weights = [tensor for name, tensor in state.items() if name.startswith("encoder.") and tensor.ndim == 2]
    widths = [weights[0].shape[1], *(len(weight) for weight in weights)]
    network = Autoencoder(widths[0], widths[1:-1], widths[-1])
    network.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in state.items()})
    return network.eval()


@torch.no_grad()
def run(state: dict[str, Vectors], way: str, rows_NX: Vectors) -> Vectors:
    """Send rows through the network the ``encode`` or ``decode`` way, a block at a time [N, Y]."""
    network = _build(state)
    step = network.encode if way == "encode" else network.decode
    parts = [step(torch.from_numpy(rows_NX[rows])).numpy() for rows in blocks(len(rows_NX), 8192)]
    return np.concatenate(parts)


def train(vectors_ND: Vectors, sizes: tuple[int, ...], settings: RqVaeSettings, seed: int) -> tuple[dict[str, Vectors], Levels]:
    """Return the weights of the best epoch and the codebooks over the latents of all vectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child(seed, "network"))
        network = Autoencoder(vectors_ND.shape[1], settings.hidden, settings.latent)
    all_ND = torch.from_numpy(vectors_ND)
    network.measure(all_ND)
    held_ND, train_ND = _split(all_ND, settings.held_out, seed)
    shuffle = torch.Generator().manual_seed(child(seed, "batches"))
    with progress("RQ-VAE", settings.warm_up + settings.epochs) as advance:
        optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=0.0)
        for _ in range(settings.warm_up):
            for batch_BD in _batches(train_ND, settings.batch, shuffle):
                _step(optimiser, network.distance(network.decode(network.encode(batch_BD)), batch_BD))
            advance()
        levels = residual_kmeans(_latents_of(network, all_ND).numpy(), sizes, settings.kmeans, seed)
        books = Codebooks(levels, settings.ema_decay if settings.codebooks == "ema" else None)
        best = _fit_together(network, books, train_ND, held_ND, settings, shuffle, advance)
    network.load_state_dict(best.weights)
    final = residual_kmeans(_latents_of(network, all_ND).numpy(), sizes, settings.kmeans, seed, start=best.levels)
    return {name: tensor.numpy() for name, tensor in best.weights.items()}, final


@dataclass(frozen=True)
class Best:
    """The epoch that reconstructed the held-out vectors best."""

    error: float
    epoch: int
    weights: dict[str, Tensor]
    levels: Levels


def _fit_together(
    network: Autoencoder, books: Codebooks, train_ND: Tensor, held_ND: Tensor, settings: RqVaeSettings, shuffle: torch.Generator, advance: Advance
) -> Best:
    """Train network and codebooks until the held-out error has not fallen for ``patience`` epochs; return the best epoch."""
    optimiser = torch.optim.AdamW([*network.parameters(), *books.parameters()], settings.learning_rate, weight_decay=0.0)
    best = _look(network, books, held_ND, 0)
    for epoch in range(1, settings.epochs + 1):
        for batch_BD in _batches(train_ND, settings.batch, shuffle):
            quantised_BZ, loss = books(network.encode(batch_BD), settings.commitment)
            _step(optimiser, network.distance(network.decode(quantised_BZ), batch_BD) + loss)
        if settings.restart_dead:
            books.restart_dead(_latents_of(network, train_ND), shuffle)
        now = _look(network, books, held_ND, epoch)
        best = min(best, now, key=lambda seen: seen.error)
        advance(note=f"held-out error {now.error:.4f}, best {best.error:.4f}")
        if epoch - best.epoch >= settings.patience:
            break
    return best


@torch.no_grad()
def _look(network: Autoencoder, books: Codebooks, held_ND: Tensor, epoch: int) -> Best:
    """Return the state as it is now with its held-out error."""
    books.eval()
    quantised_BZ, _ = books(network.encode(held_ND), 0.0)
    error = float(network.distance(network.decode(quantised_BZ), held_ND))
    books.train()
    weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    return Best(error, epoch, weights, books.levels())


def _split(all_ND: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return held-out and training vectors; of a single vector both are it."""
    order_N = torch.randperm(len(all_ND), generator=torch.Generator().manual_seed(child(seed, "held out")))
    held = max(1, int(share * len(all_ND)))
    return all_ND[order_N[:held]], all_ND[order_N[held:]] if held < len(all_ND) else all_ND


def _batches(rows_ND: Tensor, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
    """Yield all rows once, in a new order."""
    for rows_B in torch.randperm(len(rows_ND), generator=shuffle).split(size):
        yield rows_ND[rows_B]


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@torch.no_grad()
def _latents_of(network: Autoencoder, rows_ND: Tensor) -> Tensor:
    """Return the latents of all rows, a block at a time."""
    return torch.cat([network.encode(block_BD) for block_BD in rows_ND.split(8192)])
