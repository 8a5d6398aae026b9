"""What stands between encoder and decoder while they are trained: residual codebooks that learn, or a fixed grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks
from trialigngr.sids.quantizers.parameters import CodebookUpdateRule
from trialigngr.sids.quantizers.sinkhorn import sinkhorn_codes


@dataclass(frozen=True)
class LevelBatch:
    """What a level's extra loss may look at: its number, the residuals that came in, the codes chosen for them, the
    codebook, and which rows of the data the batch holds."""

    level: int
    residual_BZ: Tensor
    codes_B: Tensor
    vectors_KZ: Tensor
    rows_B: Tensor


class LevelLoss(Protocol):
    """A loss that a method adds inside the levels."""

    def __call__(self, batch: LevelBatch) -> Tensor:
        """Return the loss of a batch at one level."""

    def end_epoch(self) -> None:
        """Do what is done once an epoch."""


class Bottleneck(Protocol):
    """Quantises latents so that gradients pass."""

    def __call__(self, latents_BZ: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantised latents [B, Z] and the loss that belongs to quantising."""

    def end_epoch(self, latents_NZ: Tensor, generator: torch.Generator) -> None:
        """Do what is done once an epoch."""

    def copy_codebooks(self) -> Codebooks:
        """Return a copy of the codebooks as they are now."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return what the optimiser moves."""


def nearest_codes(residual_BZ: Tensor, vectors_KZ: Tensor) -> Tensor:
    """Return the nearest code of each row [B]."""
    return torch.addmm(vectors_KZ.square().sum(1), residual_BZ, vectors_KZ.T, alpha=-2).argmin(1)


def straight_through(latents_BZ: Tensor, quantized_BZ: Tensor) -> Tensor:
    """Return the quantised latents; the gradient goes to the latents as if nothing had been done to them."""
    return latents_BZ + (quantized_BZ - latents_BZ).detach()


def rotation_trick(latents_BZ: Tensor, quantized_BZ: Tensor) -> Tensor:
    """Return the quantised latents; the gradient goes to the latents through the rotation and stretch that takes one
    onto the other (Fifty et al., arXiv 2410.06424, Eq. 4), so that it keeps its angle to the code."""
    length_B1 = latents_BZ.norm(dim=1, keepdim=True).clamp_min(1e-6).detach()
    from_BZ = (latents_BZ / length_B1).detach()
    to_BZ = F.normalize(quantized_BZ, dim=1, eps=1e-6).detach()
    between_BZ = F.normalize(from_BZ + to_BZ, dim=1, eps=1e-6)
    stretch_B1 = quantized_BZ.norm(dim=1, keepdim=True).detach() / length_B1
    along_B1, across_B1 = (latents_BZ * between_BZ).sum(1, True), (latents_BZ * from_BZ).sum(1, True)
    return stretch_B1 * (latents_BZ - 2 * along_B1 * between_BZ + 2 * across_B1 * to_BZ)


class ResidualBottleneck(nn.Module):
    """Levels that follow the running mean of their residuals (EMA), or the gradient of the codebook loss."""

    def __init__(
        self, initial_codebooks: Codebooks, update_rule: CodebookUpdateRule, level_loss: LevelLoss | None = None
    ) -> None:
        super().__init__()
        self.update_rule, self.level_loss = update_rule, level_loss
        self.codebook_vectors = nn.ParameterList(
            nn.Parameter(torch.from_numpy(level.vectors_KD.copy()), update_rule.ema_decay is None)
            for level in initial_codebooks
        )
        self.ema_counts = [torch.ones(level.num_codes) for level in initial_codebooks]
        self.ema_sums = [vectors_KZ.detach().clone() for vectors_KZ in self.codebook_vectors]
        self.codes_in_use = [torch.zeros(level.num_codes, dtype=torch.bool) for level in initial_codebooks]

    def forward(self, latents_BZ: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed codes [B, Z] and the mean over levels of codebook loss, commitment and extra term."""
        residual_BZ, loss = latents_BZ, latents_BZ.new_zeros(())
        for level, vectors_KZ in enumerate(self.codebook_vectors):
            codes_B = self._assign_codes(level, residual_BZ.detach())
            loss = loss + self._compute_level_loss(LevelBatch(level, residual_BZ, codes_B, vectors_KZ, rows_B))
            if self.training:
                self._update_codebook(level, residual_BZ.detach(), codes_B)
            residual_BZ = residual_BZ - vectors_KZ[codes_B].detach()
        quantised_BZ = (latents_BZ - residual_BZ).detach()
        through = rotation_trick if self.update_rule.rotation_trick else straight_through
        return through(latents_BZ, quantised_BZ), loss / len(self.codebook_vectors)

    def _assign_codes(self, level: int, residual_BZ: Tensor) -> Tensor:
        """Return the nearest codes; while training, on levels with a Sinkhorn ε, codes used evenly over the batch."""
        vectors_KZ = self.codebook_vectors[level].detach()
        epsilon = self.update_rule.sinkhorn_epsilons[level] if level < len(self.update_rule.sinkhorn_epsilons) else 0.0
        if self.training and epsilon > 0:
            distances_BK = Codebook(vectors_KZ.numpy()).code_distances(residual_BZ.numpy())
            return torch.from_numpy(sinkhorn_codes(distances_BK, epsilon)).long()
        return nearest_codes(residual_BZ, vectors_KZ)

    def _compute_level_loss(self, batch: LevelBatch) -> Tensor:
        chosen_BZ = batch.vectors_KZ[batch.codes_B]
        loss = self.update_rule.commitment_weight * F.mse_loss(batch.residual_BZ, chosen_BZ.detach())
        if self.update_rule.ema_decay is None:
            loss = loss + F.mse_loss(chosen_BZ, batch.residual_BZ.detach())
        return loss if self.level_loss is None else loss + self.level_loss(batch)

    def _update_codebook(self, level: int, residual_BZ: Tensor, codes_B: Tensor) -> None:
        self.codes_in_use[level][codes_B] = True
        decay = self.update_rule.ema_decay
        if decay is None:
            return
        counts_K = torch.bincount(codes_B, minlength=len(self.ema_counts[level])).float()
        sums_KZ = torch.zeros_like(self.ema_sums[level]).index_add_(0, codes_B, residual_BZ)
        self.ema_counts[level].mul_(decay).add_(counts_K, alpha=1 - decay)
        self.ema_sums[level].mul_(decay).add_(sums_KZ, alpha=1 - decay)
        seen_K = counts_K > 0
        self.codebook_vectors[level].data[seen_K] = self.ema_sums[level][seen_K] / self.ema_counts[level][seen_K, None]

    def end_epoch(self, latents_NZ: Tensor, generator: torch.Generator) -> None:
        """Move each code that no item chose during the epoch onto the residual of some item."""
        if self.level_loss is not None:
            self.level_loss.end_epoch()
        residual_NZ = latents_NZ
        for level, vectors_KZ in enumerate(self.codebook_vectors):
            dead_R = (~self.codes_in_use[level]).nonzero()[:, 0]
            if self.update_rule.restart_dead_codes and len(dead_R):
                rows_R = torch.randint(len(residual_NZ), (len(dead_R),), generator=generator)
                vectors_KZ.data[dead_R] = residual_NZ[rows_R]
                self.ema_sums[level][dead_R], self.ema_counts[level][dead_R] = residual_NZ[rows_R], 1.0
            self.codes_in_use[level].zero_()
            residual_NZ = residual_NZ - vectors_KZ.data[nearest_codes(residual_NZ, vectors_KZ.data)]

    def copy_codebooks(self) -> Codebooks:
        """Return a copy of the codebooks as they are now."""
        return Codebooks([Codebook(vectors_KZ.detach().numpy().copy()) for vectors_KZ in self.codebook_vectors])


class GridBottleneck(nn.Module):
    """Codebooks that stay as they are: the latent is rounded to them and nothing else is asked of it."""

    def __init__(self, codebooks: Codebooks) -> None:
        super().__init__()
        self.codebooks = codebooks

    def forward(self, latents_BZ: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rounded latents [B, Z], straight-through, and no loss."""
        codes_BL = self.codebooks.encode(latents_BZ.detach().numpy())
        return straight_through(latents_BZ, torch.from_numpy(self.codebooks.sum_codes(codes_BL))), latents_BZ.new_zeros(
            ()
        )

    def end_epoch(self, latents_NZ: Tensor, generator: torch.Generator) -> None:
        """Do nothing: nothing here is learned."""

    def copy_codebooks(self) -> Codebooks:
        """Return the grid."""
        return self.codebooks
