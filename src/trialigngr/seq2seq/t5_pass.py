"""The training pass of a T5: the numbers of transformers' own forward pass, from the same weights, in less time.

Attention alone sees padding; all else runs over the tokens that are there. A history has many tokens and the decoder
few queries, so that the weights of the keys and values between them go to the queries and to what these find, not to
the tokens: q · (W h) = (Wᵀ q) · h. Dropout on a CPU draws eight random numbers at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, linear


class T5Pass:
    """The training pass of one model, which must have a feed-forward block of ReLU and tied embeddings. Its encoder
    sees both ways, or ``backwards_only``."""

    def __init__(self, model: Any, backwards_only: bool = False) -> None:
        self.model, self.config, self.backwards_only = model, model.config, backwards_only

    def to_logits(self, hidden_BLD: Tensor) -> Tensor:
        """Return what the decoder's hidden states say of the next token [B, L, V]."""
        return linear(hidden_BLD * self.config.d_model**-0.5, self.model.shared.weight)

    def encode(self, tokens_BT: Tensor, real_BT: Tensor) -> Tensor:
        """Return what the encoder makes of the tokens [B, T, D], padded at the right; 0 where there is none."""
        encoder, shape = self.model.encoder, tokens_BT.shape
        slots_M = real_BT.flatten().nonzero()[:, 0]
        hidden_BTT = ~real_BT[:, None]
        if self.backwards_only:
            hidden_BTT = hidden_BTT | _mark_future(shape[1], real_BT.device)
        bias_BHTT = _get_bias(encoder, shape[1]).masked_fill(hidden_BTT[:, None], float("-inf"))
        hidden_MD = self._drop(self.model.shared(tokens_BT.flatten()[slots_M]))
        for block in encoder.block:
            layer = block.layer[0]
            query_BHTD, key_BHTD, value_BHTD = (
                self._split_heads(_spread(part_MD, slots_M, shape))
                for part_MD in self._project(layer.SelfAttention, _normalize(layer.layer_norm, hidden_MD))
            )
            found_BTD = _merge_heads(self._attend(query_BHTD @ key_BHTD.mT, bias_BHTT) @ value_BHTD)
            found_MD = found_BTD.flatten(0, 1).index_select(0, slots_M)
            hidden_MD = hidden_MD + self._drop(layer.SelfAttention.o(found_MD))
            hidden_MD = self._feed_forward(block.layer[-1], hidden_MD)
        return _spread(self._drop(_normalize(encoder.final_layer_norm, hidden_MD)), slots_M, shape)

    def decode(self, written_BL: Tensor, read_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Return the decoder's hidden states [B, L, D]."""
        decoder, length = self.model.decoder, written_BL.shape[1]
        bias_HLL = _get_bias(decoder, length).masked_fill(_mark_future(length, written_BL.device), float("-inf"))
        hidden_BLD = self._drop(self.model.shared(written_BL))
        for block in decoder.block:
            own, cross = block.layer[0], block.layer[1]
            query_BHLD, key_BHLD, value_BHLD = map(
                self._split_heads, self._project(own.SelfAttention, _normalize(own.layer_norm, hidden_BLD))
            )
            found_BLD = _merge_heads(self._attend(query_BHLD @ key_BHLD.mT, bias_HLL) @ value_BHLD)
            hidden_BLD = hidden_BLD + self._drop(own.SelfAttention.o(found_BLD))
            normed_BLD = _normalize(cross.layer_norm, hidden_BLD)
            hidden_BLD = hidden_BLD + self._drop(self._look_back(cross.EncDecAttention, normed_BLD, read_BTD, real_BT))
            hidden_BLD = self._feed_forward(block.layer[-1], hidden_BLD)
        return self._drop(_normalize(decoder.final_layer_norm, hidden_BLD))

    def _look_back(self, attention: Any, hidden_BLD: Tensor, read_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Return what the decoder finds in the history [B, L, D]."""
        (batch, length, width), heads = hidden_BLD.shape, self.config.num_heads
        key_HCD, value_HCD = (part.weight.view(heads, -1, width) for part in (attention.k, attention.v))
        query_HXC = attention.q(hidden_BLD).view(batch * length, heads, -1).transpose(0, 1)
        asked_BYD = (query_HXC @ key_HCD).view(heads, batch, -1, width).transpose(0, 1).reshape(batch, -1, width)
        absent_B1T = ~real_BT[:, None]
        weights_BYT = self._attend((asked_BYD @ read_BTD.mT).masked_fill(absent_B1T, float("-inf")))
        found_BYD = weights_BYT @ read_BTD
        found_HXD = found_BYD.view(batch, heads, -1, width).transpose(0, 1).reshape(heads, -1, width)
        found_HXC = found_HXD @ value_HCD.mT
        return attention.o(found_HXC.transpose(0, 1).reshape(batch, length, -1))

    def _project(self, attention: Any, hidden: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values."""
        weights = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
        return linear(hidden, weights).chunk(3, -1)

    def _split_heads(self, hidden_BTD: Tensor) -> Tensor:
        return hidden_BTD.unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)

    def _attend(self, scores: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the weights with which is attended. T5 scales no scores."""
        return self._drop((scores if bias is None else scores + bias).softmax(-1))

    def _feed_forward(self, layer: Any, hidden: Tensor) -> Tensor:
        inner = layer.DenseReluDense.wi(_normalize(layer.layer_norm, hidden))
        return hidden + self._drop(layer.DenseReluDense.wo(self._drop(inner.relu())))

    def _drop(self, values: Tensor) -> Tensor:
        if not self.model.training or not self.config.dropout_rate:
            return values
        if values.device.type == "cpu":
            return values * draw_mask(values, self.config.dropout_rate)
        return dropout(values, self.config.dropout_rate)


def draw_mask(values: Tensor, rate: float) -> Tensor:
    """Return zeros and 1 / (1 − rate) in the shape of ``values``. The rate is brought to the next 256th, so that a
    random number of 64 bits is drawn for eight values: torch draws one for each, which takes five times as long."""
    words = torch.empty(values.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
    mask = words.view(torch.uint8)[: values.numel()].view(values.shape).to(values.dtype)
    dropped = min(round(rate * 256), 255)
    return mask.ge_(dropped).mul_(256 / (256 - dropped))


def _mark_future(length: int, device: torch.device) -> Tensor:
    """Return which tokens stand behind each [T, T]."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


def _normalize(norm: Any, hidden: Tensor) -> Tensor:
    return torch.nn.functional.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def _get_bias(stack: Any, length: int) -> Tensor:
    """Return the bias [H, T, T] of how far tokens stand apart."""
    bias_HTT: Tensor = stack.block[0].layer[0].SelfAttention.compute_bias(length, length)[0]
    return bias_HTT


def _spread(rows_MD: Tensor, slots_M: Tensor, shape: torch.Size) -> Tensor:
    """Return rows [B, T, D] where they stand, with zeros between them."""
    spread = rows_MD.new_zeros(shape.numel(), rows_MD.shape[-1]).index_copy(0, slots_M, rows_MD)
    return spread.view(*shape, -1)


def _merge_heads(found_BHTD: Tensor) -> Tensor:
    return found_BHTD.transpose(1, 2).flatten(2)
