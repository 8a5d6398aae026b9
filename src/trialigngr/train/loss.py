"""The loss of packed rows: autoregressive cross-entropy on target tokens (Eq. 7), logits only where a target is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trialigngr.tasks.packing import PackedRows


@dataclass(frozen=True)
class DeviceRows:
    """`PackedRows` as tensors; their intervals have become an additive attention mask (0 seen, lowest not)."""

    tokens_BT: Tensor
    positions_BT: Tensor
    mask_B1TT: Tensor
    predict_row_M: Tensor
    predict_place_M: Tensor
    predict_token_M: Tensor

    @classmethod
    def of(cls, rows: PackedRows, device: torch.device) -> DeviceRows:
        """Move rows to the device and build their mask there."""

        def tensor(array: np.ndarray[Any, Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        seen_B1TT = visible(*map(tensor, (rows.header_BT, rows.trunk_from_BT, rows.trunk_to_BT, rows.own_from_BT)))
        mask = torch.zeros(seen_B1TT.shape, device=device).masked_fill_(~seen_B1TT, torch.finfo(torch.bfloat16).min)
        predict = map(tensor, (rows.predict_row_M, rows.predict_place_M, rows.predict_token_M))
        return cls(tensor(rows.tokens_BT), tensor(rows.positions_BT), mask, *predict)


def visible(header_BT: Tensor, trunk_from_BT: Tensor, trunk_to_BT: Tensor, own_from_BT: Tensor) -> Tensor:
    """Return the attention mask [B, 1, T, T]: True where query q may look at key k (see `PackedRows`)."""
    place = torch.arange(header_BT.shape[1], device=header_BT.device)
    key_11T, query_1T1 = place[None, None, :], place[None, :, None]
    in_header = key_11T < header_BT[..., None]
    in_trunk = (key_11T >= trunk_from_BT[..., None]) & (key_11T < trunk_to_BT[..., None])
    in_own = (key_11T >= own_from_BT[..., None]) & (key_11T <= query_1T1)
    return (in_header | in_trunk | in_own)[:, None]


def target_losses(model: Any, rows: DeviceRows) -> Tensor:
    """Return the cross-entropy of each target token [M] over the full vocabulary, in fp32."""
    hidden_BTD = model.base_model(
        input_ids=rows.tokens_BT, attention_mask=rows.mask_B1TT, position_ids=rows.positions_BT, use_cache=False
    ).last_hidden_state
    hidden_MD = hidden_BTD[rows.predict_row_M, rows.predict_place_M]
    logits_MV = model.get_output_embeddings()(hidden_MD).float()
    return torch.nn.functional.cross_entropy(logits_MV, rows.predict_token_M, reduction="none")
