"""`EncoderDecoderModel`: a T5 of transformers as a `SequenceModel`. The encoder reads a prompt once for all beams."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, EncoderDecoderCache

from trialigngr.decode.lm_head import compute_level_logits
from trialigngr.decode.preallocated_cache import PreallocatedLayer, convert_mask
from trialigngr.decode.sequence_model import Prompts
from trialigngr.foundation.errors import RecipeError

if TYPE_CHECKING:  # a GPU's machine may lack pydantic (benchmarks/decode_gpu.py)
    from trialigngr.decode.settings import ScoreSoftmax


class EncoderDecoderModel:
    """The prompt is what the encoder reads, both ways or ``backwards_only``; the decoder begins with its start token.
    The model's generation_config is never read."""

    def __init__(self, model: Any, backwards_only: bool = False) -> None:
        self.model, self.backwards_only = model, backwards_only

    @property
    def device(self) -> torch.device:
        """Where the model stands now."""
        device: torch.device = self.model.device
        return device

    def check(self, num_tokens: int) -> None:
        """Raise `RecipeError` for a model that is no T5. T5 tells distances, not positions: no prompt is too long."""
        config = self.model.config
        if config.model_type != "t5" or not config.is_encoder_decoder:
            raise RecipeError(
                f"A model of type {config.model_type!r} cannot be decoded as an encoder and a decoder here: only "
                "T5's attention is told where beams stand. Take a T5ForConditionalGeneration."
            )
        if config.decoder_start_token_id is None:
            raise RecipeError("This T5 names no decoder_start_token_id, with which its decoder begins; set it.")

    def start(self, prompts: Prompts, reserved_tokens: int) -> DecoderState:
        """Read prompts with the encoder, and the start token with the decoder."""
        return DecoderState(self.model, prompts, reserved_tokens, self.backwards_only)

    def compute_logits(self, hidden_XD: Tensor, tokens_K: Tensor, score_softmax: ScoreSoftmax) -> Tensor:
        """Return float32 logits [X, K] of some tokens."""
        if self.model.config.scale_decoder_outputs:
            hidden_XD = hidden_XD * self.model.config.d_model**-0.5
        return compute_level_logits(self.model, hidden_XD, tokens_K, score_softmax)


class DecoderState:
    """Encoded prompts, and what the decoder has appended: keys and values of both kinds of attention are kept.

    The decoder's layers are called one by one, because T5 would take a token's slot for its position, and beams of one
    depth stand in slots side by side.
    """

    def __init__(self, model: Any, prompts: Prompts, reserved_tokens: int, backwards_only: bool) -> None:
        """Encode prompts, padded at the right; neither attention looks there."""
        self.model, device, batch = model, model.device, len(prompts)
        lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
        width = max(map(len, prompts))
        real_BT = torch.arange(width, device=device) < lengths_B[:, None]
        tokens_BT = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=device)
        mask = (
            convert_mask(real_BT[:, None, None].expand(-1, -1, width, -1).tril(), model) if backwards_only else real_BT
        )
        self._encoded_BTD = model.encoder(input_ids=tokens_BT, attention_mask=mask).last_hidden_state
        self._encoder_mask = convert_mask(real_BT[:, None, None], model)
        slots = partial(PreallocatedLayer, batch, 1 + reserved_tokens)
        self._cache = EncoderDecoderCache(
            Cache(layer_class_to_replicate=slots), Cache(layer_class_to_replicate=DynamicLayer)
        )
        self.num_appended = 0
        # The start token stands first, and every token that is appended sees it.
        self._positions_BS = torch.zeros(batch, 0, dtype=torch.long, device=device)
        start_B1 = torch.full((batch, 1), model.config.decoder_start_token_id, device=device)
        visible_B11 = torch.ones(batch, 1, 1, dtype=torch.bool, device=device)
        self.last_BD = self._run_decoder(start_B1, torch.zeros_like(start_B1), visible_B11)[:, 0]

    def advance(self, tokens_BX: Tensor, offsets_BX: Tensor, visible_BXS: Tensor) -> Tensor:
        """Append X tokens a prompt, and return their hidden states [B, X, D] (see `SequenceState`)."""
        batch, new = tokens_BX.shape
        self.num_appended += new
        start_BX1 = torch.ones(batch, new, 1, dtype=torch.bool, device=tokens_BX.device)
        visible_BXS = torch.cat([start_BX1, visible_BXS.expand(batch, -1, -1)], 2)
        return self._run_decoder(tokens_BX, 1 + offsets_BX, visible_BXS)

    def reset_to_prompts(self) -> None:
        """Drop what was appended."""
        self.num_appended, self._positions_BS = 0, self._positions_BS[:, :1]
        for layer in self._cache.self_attention_cache.layers:
            layer.length = 1

    def _run_decoder(self, tokens_BX: Tensor, positions_BX: Tensor, visible_BXS: Tensor) -> Tensor:
        decoder, mask = self.model.decoder, convert_mask(visible_BXS[:, None], self.model)
        self._positions_BS = torch.cat([self._positions_BS, positions_BX], 1)
        bias_BHXS, cross_bias = self._compute_position_bias(positions_BX), None
        hidden_BXD = decoder.embed_tokens(tokens_BX)
        for block in decoder.block:
            hidden_BXD, bias_BHXS, cross_bias = block(
                hidden_BXD,
                attention_mask=mask,
                position_bias=bias_BHXS,
                encoder_hidden_states=self._encoded_BTD,
                encoder_attention_mask=self._encoder_mask,
                encoder_decoder_position_bias=cross_bias,
                past_key_values=self._cache,
            )
        found: Tensor = decoder.final_layer_norm(hidden_BXD)
        return found

    def _compute_position_bias(self, positions_BX: Tensor) -> Tensor:
        """Return T5's bias [B, H, X, S] for how far each slot stands before each new token."""
        slots = self._positions_BS.shape[1]
        attention = self.model.decoder.block[0].layer[0].SelfAttention
        # T5's own bias of a last token looking back: at the distances S − 1 … 0, and a path is no longer than S slots.
        bias_HS = attention.compute_bias(1, slots, past_seen_tokens=slots - 1)[0, :, 0].flip(1)
        distance_BXS = (positions_BX[..., None] - self._positions_BS[:, None]).clamp(min=0)
        return bias_HS[:, distance_BXS].transpose(0, 1)
