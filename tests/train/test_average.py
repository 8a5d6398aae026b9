"""The average of the weights: by hand, over a kill, and as what is validated and kept. And the narrowed softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.backbones import tiny_backbone
from tests.support.toy import equal, toy, weights
from tests.support.world import SIZES, World
from trialigngr.tasks.packing import pack_micro_batches
from trialigngr.train.attention import ATTENTION_NAME
from trialigngr.train.ema import ExponentialMovingAverage
from trialigngr.train.loss import DeviceMicroBatch, compute_target_losses


def test_an_average_by_hand():
    weight = torch.nn.Parameter(torch.tensor([4.0]))
    average = ExponentialMovingAverage({"w": weight}, 0.5)
    with torch.no_grad():
        weight.fill_(14.0)
    average.update(0)  # early on it forgets faster: a decay of 1/10
    assert average.averages["w"].item() == pytest.approx(0.1 * 4 + 0.9 * 14)
    average.update(1000)
    assert average.averages["w"].item() == pytest.approx(0.5 * 13 + 0.5 * 14)
    with average.average_parameters():
        assert weight.item() == pytest.approx(13.5)
    assert (weight.item(), average.averages["w"].item()) == (14.0, pytest.approx(13.5))


def test_what_is_validated_and_kept_is_the_average(tmp_path: Path):
    seen: list[dict[str, torch.Tensor]] = []

    def validate(model: Any) -> dict[str, float]:
        seen.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return {"NDCG@10": float(len(seen)), "HR@10": 0.0}

    trainer = toy(validate, ema_decay=0.9)
    trainer.fit(tmp_path)
    assert equal(weights(trainer), seen[-1])
    # After the swap back the average holds the same; the last weights, trained on, were others.
    assert equal(trainer.ema.averages, seen[-1])


def test_the_average_survives_a_kill(tmp_path: Path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = toy(ema_decay=0.9)
    whole.fit(tmp_path / "whole")

    def dies(_model: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy(dies, ema_decay=0.9).fit(tmp_path / "broken")
    again = toy(ema_decay=0.9)
    again.fit(tmp_path / "broken")
    assert equal(weights(again), weights(whole))
    assert all(torch.equal(again.ema.averages[name], value) for name, value in whole.ema.averages.items())


def test_a_sid_token_s_loss_over_its_level_alone():
    world = World()
    model = tiny_backbone("qwen", len(world.chat.tokenizer))
    model.set_attn_implementation(ATTENTION_NAME)
    ids = [
        [world.chat.tokenizer.get_vocab()[f"<{letter}_{code}>"] for code in range(size)]
        for letter, size in zip("abc", SIZES, strict=True)
    ]
    level_V = torch.zeros(model.config.vocab_size, dtype=torch.long)
    for level, tokens in enumerate(ids, 1):
        level_V[tokens] = level
    examples = world.examples("titles_to_sid")
    (part,) = pack_micro_batches(examples.prompt_header, examples.draw_batch(0, 0, 12), 9999)
    rows = DeviceMicroBatch.from_micro_batch(part, torch.device("cpu"))
    whole, narrow = compute_target_losses(model, rows), compute_target_losses(model, rows, level_V)
    wanted = level_V[rows.target_token_M]
    assert (wanted == 0).sum() == 12  # the end of each answer
    assert (narrow < whole).all()
    # By hand: the softmax over what is of the target's own kind alone, words for the end of an answer.
    hidden = model.model(rows.tokens_1T, position_ids=rows.positions_1T, layout=rows.layout).last_hidden_state[0]
    for row, (place, token) in enumerate(zip(rows.source_place_M, rows.target_token_M, strict=True)):
        logits = model.lm_head(hidden[place])
        rivals = logits[level_V == level_V[token]]
        torch.testing.assert_close(narrow[row], rivals.logsumexp(0) - logits[token])
