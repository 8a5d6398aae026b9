"""HSTU (Zhai et al., ICML 2024, arXiv 2402.17152): attention without softmax, by places and times apart."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

from trialigngr.sequential.batches import SequenceBatch
from trialigngr.sequential.blocks import check_heads, hide_others, make_embedding
from trialigngr.sequential.network import DataSizes, NextItemNetwork
from trialigngr.sequential.settings import HstuSettings

NUM_TIME_BUCKETS, TIME_BASE = 128, 0.301
"""A time apart of s seconds is in bucket log(s) / .301."""


class HstuLayer(nn.Module):
    """Items are weighed by SiLU(q·k + bias of places and times apart), over the length of the longest history."""

    def __init__(self, settings: HstuSettings) -> None:
        super().__init__()
        size = settings.hidden_size
        self.num_heads, self.max_history = settings.num_heads, settings.max_history
        self.gates_and_attention = nn.Linear(size, 4 * size, bias=False)
        nn.init.normal_(self.gates_and_attention.weight, std=0.02)
        self.output, self.dropout = nn.Linear(size, size), nn.Dropout(settings.dropout)
        self.place_bias = make_embedding(settings.max_history, 1)
        self.time_bias = make_embedding(NUM_TIME_BUCKETS + 1, 1)

    def forward(self, states_BTD: Tensor, apart_BTT: Tensor, buckets_BTT: Tensor | None, hidden: Tensor) -> Tensor:
        """Return the states after the layer [B, T, D]."""
        size = states_BTD.shape[-1:]
        mixed = silu(self.gates_and_attention(layer_norm(states_BTD, size)))
        gates_BTD, values, queries, keys = mixed.chunk(4, -1)
        values_BHTC, queries_BHTC, keys_BHTC = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (values, queries, keys)
        )
        bias_BTT = self.place_bias(apart_BTT)[..., 0]
        if buckets_BTT is not None:
            bias_BTT = bias_BTT + self.time_bias(buckets_BTT)[..., 0]
        weights_BHTT = silu(queries_BHTC @ keys_BHTC.transpose(2, 3) + bias_BTT[:, None]) / self.max_history
        seen_BHTC = weights_BHTT.masked_fill(hidden, 0.0) @ values_BHTC
        seen_BTD = seen_BHTC.transpose(1, 2).flatten(2)
        kept_BTD: Tensor = self.output(self.dropout(gates_BTD * layer_norm(seen_BTD, size)))
        return states_BTD + kept_BTD


class Hstu(NextItemNetwork[HstuSettings]):
    """Layers without feed-forward; scores are cosines. The time of an item is when it was taken: when the next one will
    be is not asked, since nobody knows it."""

    packs_histories = True
    uses_times = True

    def __init__(self, settings: HstuSettings, sizes: DataSizes) -> None:
        super().__init__(settings, sizes)
        check_heads("hstu", settings)
        self.places = make_embedding(settings.max_history, settings.hidden_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.layers = nn.ModuleList(HstuLayer(settings) for _ in range(settings.num_layers))

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Return the states [B, T, D]."""
        apart_BTT = (batch.places_BT[:, :, None] - batch.places_BT[:, None]).clamp(min=0)
        buckets_BTT = None if batch.times_BT is None else find_time_buckets(batch.times_BT)
        hidden = hide_others(batch, causal=True)
        hidden = hidden[:, None] if hidden.dim() == 3 else hidden
        scaled_BTD = self.items(batch.items_BT) * math.sqrt(self.items.embedding_dim)
        states_BTD = self.dropout(scaled_BTD + self.places(batch.places_BT))
        for layer in self.layers:
            states_BTD = layer(states_BTD, apart_BTT, buckets_BTT, hidden)
        return states_BTD


def find_time_buckets(times_BT: Tensor) -> Tensor:
    """Return in which bucket the times of two places are apart [B, T, T]."""
    seconds_BTT = (times_BT[:, :, None] - times_BT[:, None]).abs().clamp(min=1)
    return (seconds_BTT.float().log() / TIME_BASE).long().clamp(max=NUM_TIME_BUCKETS)
