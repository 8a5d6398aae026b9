"""LETTER's two losses (torch), by the equations of arXiv 2405.07314 §3.2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trialigngr.foundation.seeds import derive_seed
from trialigngr.sids.quantizers.bottleneck import LevelBatch
from trialigngr.sids.quantizers.codebooks import Codebook, Float32Array
from trialigngr.sids.quantizers.kmeans import fit_kmeans
from trialigngr.sids.quantizers.settings import KMeansSettings


def collaboration_loss(quantized_BC: Tensor, collaborative_BC: Tensor) -> Tensor:
    """Return −mean log softmax of an item's product with its own collaborative vector among the batch's (L_CF)."""
    return F.cross_entropy(quantized_BC @ collaborative_BC.T, torch.arange(len(quantized_BC)))


def diversity_loss(vectors_KZ: Tensor, codes_B: Tensor, positives_B: Tensor) -> Tensor:
    """Return −mean log softmax of a code's product with its positive among all codes but itself (L_Div)."""
    products_BK = vectors_KZ[codes_B] @ vectors_KZ.T
    others_BK = products_BK.scatter(1, codes_B[:, None], -torch.inf)
    return F.cross_entropy(others_BK, positives_B)


class CollaborationLoss(nn.Module):
    """α L_CF. A linear map, learned beside, takes latents to the collaborative vectors' width where it is another."""

    def __init__(self, weight: float, latent_size: int, vectors_NC: Float32Array, seed: int) -> None:
        super().__init__()
        self.weight, self.vectors_NC = weight, torch.from_numpy(vectors_NC)
        width = vectors_NC.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "collaboration"))
            self.projection: nn.Module = (
                nn.Identity() if latent_size == width else nn.Linear(latent_size, width, bias=False)
            )

    def forward(self, quantized: Sequence[Tensor], rows_B: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.weight * collaboration_loss(self.projection(quantized[0]), self.vectors_NC[rows_B])


class DiversityLoss:
    """β L_Div. A level's codes are clustered anew each epoch; the positive is a random other code of the cluster."""

    def __init__(self, weight: float, num_clusters: int, seed: int) -> None:
        self.weight, self.num_clusters, self.seed = weight, num_clusters, seed
        self.generator = torch.Generator().manual_seed(derive_seed(seed, "diversity"))
        self.cluster_members: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def end_epoch(self) -> None:
        """Forget the clusters."""
        self.cluster_members.clear()

    def __call__(self, batch: LevelBatch) -> Tensor:
        """Return the loss of a batch at one level; 0 where a level has a single code."""
        if len(batch.vectors_KZ) < 2:
            return batch.residual_BZ.new_zeros(())
        if batch.level not in self.cluster_members:
            self.cluster_members[batch.level] = self._cluster_codes(batch)
        return self.weight * diversity_loss(batch.vectors_KZ, batch.codes_B, self._draw_positives(batch))

    def _cluster_codes(self, batch: LevelBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes sorted by cluster, and of each code its place there and the cluster's span."""
        codes_KZ = batch.vectors_KZ.detach().numpy()
        means_CZ = fit_kmeans(
            codes_KZ, min(self.num_clusters, len(codes_KZ) // 2), KMeansSettings(max_iterations=10), self.seed
        )
        cluster_K = torch.from_numpy(Codebook(means_CZ).nearest_codes(codes_KZ)).long()
        sorted_K = torch.argsort(cluster_K, stable=True)
        places_K = torch.argsort(sorted_K)
        counts_C = torch.bincount(cluster_K)
        spans_K2 = torch.stack([(counts_C.cumsum(0) - counts_C)[cluster_K], counts_C[cluster_K]], 1)
        return sorted_K, places_K, spans_K2

    def _draw_positives(self, batch: LevelBatch) -> Tensor:
        """Return another code of the same cluster; any other code where the cluster has no other."""
        sorted_K, places_K, spans_K2 = self.cluster_members[batch.level]
        spans_B2, places_B = spans_K2[batch.codes_B], places_K[batch.codes_B]
        first_B, count_B = torch.where(spans_B2[:, 1:] > 1, spans_B2, torch.tensor([0, len(sorted_K)])).unbind(1)
        draws_B = (torch.rand(len(places_B), generator=self.generator) * (count_B - 1)).long()
        return sorted_K[first_B + (places_B - first_B + 1 + draws_B) % count_B]
