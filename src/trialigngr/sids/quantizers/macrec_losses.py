"""MACRec's two coupling losses (torch), as its code has them (arXiv 2511.15122 §3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trialigngr.sids.quantizers.bottleneck import LevelBatch
from trialigngr.sids.quantizers.codebooks import Codes


def contrast_loss(residual_BZ: Tensor, positives_B: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE of normalised residuals, each with its positive among all rows of the batch, itself too."""
    directions_BZ = F.normalize(residual_BZ, dim=1, eps=1e-6)
    return F.cross_entropy(directions_BZ @ directions_BZ.T / temperature, positives_B)


def alignment_loss(text_BZ: Tensor, picture_BZ: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE between an item's two quantised vectors, both ways, averaged."""
    products_BB = F.normalize(text_BZ, dim=1, eps=1e-6) @ F.normalize(picture_BZ, dim=1, eps=1e-6).T / temperature
    own_B = torch.arange(len(text_BZ))
    return (F.cross_entropy(products_BB, own_B) + F.cross_entropy(products_BB.T, own_B)) / 2


def draw_positives(labels_B: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each row another row of the same label, at random; the row itself where there is none."""
    order_B = torch.argsort(labels_B, stable=True)
    places_B = torch.argsort(order_B)
    _, label_B, counts_C = torch.unique(labels_B, return_inverse=True, return_counts=True)
    first_B, count_B = (counts_C.cumsum(0) - counts_C)[label_B], counts_C[label_B]
    draws_B = (torch.rand(len(labels_B), generator=generator) * (count_B - 1)).long()
    steps_B = torch.where(count_B > 1, 1 + draws_B, 0)
    return order_B[first_B + (places_B - first_B + steps_B) % count_B]


class ContrastLoss:
    """Cross-modal contrast of one modality's residuals; positives share a cluster of the other modality."""

    def __init__(self, labels_N: Codes, weight: float, from_level: int, temperature: float, seed: int) -> None:
        self.labels_N, self.weight, self.from_level = torch.from_numpy(labels_N), weight, from_level
        self.temperature = temperature
        self.generator = torch.Generator().manual_seed(seed)

    def end_epoch(self) -> None:
        """Do nothing: the labels stay."""

    def __call__(self, batch: LevelBatch) -> Tensor:
        """Return the loss of a batch at one level."""
        if batch.level < self.from_level or not self.weight:
            return batch.residual_BZ.new_zeros(())
        positives_B = draw_positives(self.labels_N[batch.rows_B], self.generator)
        return self.weight * contrast_loss(batch.residual_BZ, positives_B, self.temperature)


class AlignmentLoss(nn.Module):
    """Alignment of an item's summed codes of both modalities."""

    def __init__(self, weight: float, temperature: float) -> None:
        super().__init__()
        self.weight, self.temperature = weight, temperature

    def forward(self, quantized: Sequence[Tensor], rows_B: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.weight * alignment_loss(quantized[0], quantized[1], self.temperature)
