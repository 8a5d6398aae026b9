"""The training pass against transformers' own: loss, gradients, and what dropout leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import T5Config, T5ForConditionalGeneration

from trialigngr.seq2seq.t5_pass import T5Pass, draw_mask

SOURCES = [[5, 6, 7, 8, 9, 1], [4, 1], [9, 5, 1], [7, 7, 6, 1]]
LABELS = torch.tensor([[3, 9, 4], [5, 5, 1], [2, 1, -100], [8, 3, 7]])


def build_model(dropout: float = 0.0) -> Any:
    """Return a small T5 of three heads whose attention leans on distances."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=12, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=3, dropout_rate=dropout,
        relative_attention_num_buckets=8, relative_attention_max_distance=6, pad_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.0 if "relative" in name else 0.3)
    return model


def lay_out(width: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens_BT = torch.tensor([source + [0] * (width - len(source)) for source in SOURCES])
    written_BL = LABELS.masked_fill(LABELS < 0, 0).roll(1, 1)
    written_BL[:, 0] = 0
    return tokens_BT, tokens_BT != 0, written_BL


def compute_logits(
    model: Any, tokens_BT: torch.Tensor, real_BT: torch.Tensor, written_BL: torch.Tensor, backwards_only: bool = False
) -> torch.Tensor:
    own = T5Pass(model, backwards_only)
    return own.to_logits(own.decode(written_BL, own.encode(tokens_BT, real_BT), real_BT))


def find_gradients(model: Any, logits_BLV: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = cross_entropy(logits_BLV.flatten(0, 1), LABELS.flatten())
    loss.backward()
    return float(loss.detach()), {name: own.grad.clone() for name, own in model.named_parameters()}


@pytest.mark.parametrize("width", [6, 9])
def test_loss_and_gradients_are_those_of_transformers(width: int) -> None:
    model = build_model().train()
    tokens_BT, real_BT, written_BL = lay_out(width)
    plain = model(input_ids=tokens_BT, attention_mask=real_BT, decoder_input_ids=written_BL, labels=LABELS)
    loss, gradients = find_gradients(model, plain.logits)
    assert loss == pytest.approx(float(plain.loss.detach()), abs=1e-6)
    own_loss, own = find_gradients(model, compute_logits(model, tokens_BT, real_BT, written_BL))
    assert own_loss == pytest.approx(loss, abs=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_an_encoder_that_sees_backwards_only_is_that_of_transformers_under_such_a_mask() -> None:
    model = build_model().eval()
    tokens_BT, real_BT, written_BL = lay_out()
    mask_B1TT = real_BT[:, None, None].expand(-1, -1, 6, -1).tril()
    read = model.encoder(input_ids=tokens_BT, attention_mask=mask_B1TT)
    plain = model(encoder_outputs=read, attention_mask=real_BT, decoder_input_ids=written_BL).logits
    own = compute_logits(model, tokens_BT, real_BT, written_BL, backwards_only=True)
    torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(own, compute_logits(model, tokens_BT, real_BT, written_BL), atol=1e-2)


def test_half_precision_keeps_the_loss_near() -> None:
    model = build_model().train()
    exactly, _ = find_gradients(model, compute_logits(model, *lay_out()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_BLV = compute_logits(model, *lay_out()).float()
    assert find_gradients(model, logits_BLV)[0] == pytest.approx(exactly, abs=0.05)


def test_dropout_is_off_in_validation_and_random_by_the_seed() -> None:
    model = build_model(0.5)
    one, other, same = (torch.manual_seed(seed) and compute_logits(model.train(), *lay_out()) for seed in (1, 2, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    off = model.eval()(input_ids=lay_out()[0], attention_mask=lay_out()[1], decoder_input_ids=lay_out()[2]).logits
    torch.testing.assert_close(compute_logits(model, *lay_out()), off, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_mask_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    mask = draw_mask(torch.empty(401, 1003), rate)
    assert mask.shape == (401, 1003)
    assert float((mask == 0).float().mean()) == pytest.approx(round(rate * 256) / 256, abs=0.003)
    assert float(mask.mean()) == pytest.approx(1, abs=0.003)
    # No place has a share of its own: each of the eight values of a random number is as random as the others.
    shares = torch.stack([(mask.flatten()[place::8] == 0).float().mean() for place in range(8)])
    assert float(shares.max() - shares.min()) < 0.01
