"""ETEGRec's two losses by hand, whose turn it is, its codes, and a training that was broken off between cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.circle import CircleInputs, N, build_circle, choose_settings, fit_system
from trialigngr.seq2seq import etegrec
from trialigngr.seq2seq.batches import OnePassExamples, TrainingExamples
from trialigngr.seq2seq.etegrec import (
    COLLISION_CODES,
    EtegRecGenerator,
    EtegRecObjective,
    Turn,
    append_collision_codes,
    compute_preference_loss,
    compute_sequence_item_loss,
)
from trialigngr.sids.errors import SidError
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.train.loop import Trainer

CPU = torch.device("cpu")
CYCLES: dict[str, Any] = {
    "epochs": 6,
    "finish_epochs": 2,
    "cycle_epochs": 2,
    "pretrain_epochs": 2,
    "tokenizer_learning_rate": 0.05,
}
SHORT = CYCLES | {"epochs": 4, "finish_epochs": 1, "batch_size": 32}


def build_objective(**changes: Any) -> EtegRecObjective:
    torch.manual_seed(0)
    settings = choose_settings("etegrec", **(CYCLES | changes))
    sizes = (N, N, N, COLLISION_CODES)
    vectors_NC = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
    return EtegRecObjective(EtegRecGenerator("etegrec", settings, sizes, "cpu"), build_circle(), vectors_NC, 0)


def test_sequence_item_loss_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    one = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    other = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    levels = [p.log(), p.log()], [q.log(), q.log()]
    assert float(compute_sequence_item_loss(*levels)) == pytest.approx(2 * (0 + one + other) / 2, rel=1e-5)


def test_preference_loss_by_hand() -> None:
    """Two places of one item are no negatives of each other."""
    told = torch.tensor([[1.0, 0], [3.0, 0], [0, 2]])
    taken = torch.tensor([[2.0, 0], [2.0, 0], [0, 1]])
    rows = torch.tensor([7, 7, 4])
    alone = np.log(1 + np.exp(-1 / 0.5))  # a negative at a cosine of 0
    last = np.log(1 + 2 * np.exp(-1 / 0.5))
    loss = float(compute_preference_loss(told, taken, rows, 0.5))
    assert loss == pytest.approx((2 * alone + last) / 3, rel=1e-5)


def test_quantizing_by_hand() -> None:
    tokenizer = build_objective().etegrec.tokenizer
    with torch.no_grad():
        z = tokenizer.network.encode(torch.ones(1, 6))
        for level, codes in enumerate(tokenizer.codebook_vectors):
            codes.copy_(torch.full_like(codes, 9.0))
            codes[0] = z[0] if level == 0 else 0.0
        found = tokenizer(torch.ones(1, 6))
    assert found.codes_BL.tolist() == [[0, 0, 0]]
    assert float(found.log_probs[0].exp().sum()) == pytest.approx(1)
    assert float(found.log_probs[0][0, 0]) == pytest.approx(
        -np.log(1 + (N - 1) * np.exp(-float((z - 9).square().sum()))), abs=1e-5
    )
    assert float(found.loss) == pytest.approx(
        float(tokenizer.network.reconstruction_error(found.decoded_BC, torch.ones(1, 6))), abs=1e-5
    )


def test_one_side_stands_still_while_the_other_learns() -> None:
    objective = build_objective()
    assert [objective.get_turn(epoch) for epoch in range(6)] == [
        *[Turn.TOKENIZER, Turn.RECOMMENDER] * 2, Turn.FINISH, Turn.FINISH
    ]  # fmt: skip
    moved = []
    for epoch in (0, 1, 4):
        objective.model.zero_grad(set_to_none=True)
        objective.prepare_training()
        for loss in objective.iter_micro_losses(objective.draw_batch(epoch * objective.steps_per_epoch)):
            loss.backward()
        moved.append({name.split(".")[0] for name, one in objective.model.named_parameters() if one.grad is not None})
    both = {"recommender", "state_projection", "preference_projection"}
    assert moved == [{"tokenizer"}, both, {"recommender"}]
    rates = [objective.learning_rate_at(epoch * objective.steps_per_epoch + 3) for epoch in (0, 1, 4)]
    own = objective.settings
    assert rates[0] < own.tokenizer_learning_rate
    assert rates[1] < own.learning_rate
    assert rates[2] < own.finish_learning_rate


@pytest.mark.parametrize("turn", Turn)
def test_histories_that_are_read_once_lose_what_their_beginnings_lose(turn: Turn) -> None:
    objective = build_objective(one_pass=True, max_history=6)
    objective.prepare_validation()
    made, history = objective.examples, np.array([0])
    assert isinstance(made, OnePassExamples)
    apart = TrainingExamples(objective.histories, made.sequences, made.micro_tokens)
    own = np.arange(*made.bounds[:2])
    batches = (examples.build_batch(chosen, 0, "", CPU) for examples, chosen in ((made, history), (apart, own)))
    with torch.no_grad():
        one_pass, alone = (float(sum(objective.iter_micro_losses(replace(batch, name=str(turn))))) for batch in batches)
    assert len(own) > 1
    assert one_pass == pytest.approx(alone, abs=1e-5)


def test_codes_change_between_cycles_and_stay_in_the_finish() -> None:
    objective = build_objective()
    seen = []
    for step in range(6 * objective.steps_per_epoch):
        batch = objective.draw_batch(step)
        seen.append(objective.etegrec.copy_codes())
        if batch.name == Turn.TOKENIZER:  # as if it learned
            for codes_KZ in objective.etegrec.tokenizer.codebook_vectors:
                codes_KZ.data.normal_()
    changes = [n for n in range(1, len(seen)) if not np.array_equal(seen[n - 1], seen[n])]
    assert changes == [objective.steps_per_epoch, 3 * objective.steps_per_epoch]
    assert len(np.unique(seen[-1], axis=0)) == N


def test_items_that_share_all_codes_are_told_apart_or_refused() -> None:
    codes_NL = np.array([[1, 2], [0, 0], [1, 2], [1, 2]], dtype=np.int32)
    assert append_collision_codes(codes_NL, 3).tolist() == [[1, 2, 0], [0, 0, 0], [1, 2, 1], [1, 2, 2]]
    with pytest.raises(SidError, match="3 items share all their codes, and the level that tells them apart has 2"):
        append_collision_codes(codes_NL, 2)


def test_a_collision_level_that_is_too_small_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etegrec, "COLLISION_CODES", 2)
    with pytest.raises(SidError, match=r"has 2; take larger ones by etegrec\.codebook_sizes"):
        build_objective(codebook_sizes=(2, 2))  # four SIDs for 24 items


def test_what_is_killed_between_cycles_goes_on_to_the_same_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = CircleInputs()
    steps = build_objective(**SHORT).steps_per_epoch
    monkeypatch.setattr(Trainer, "_checkpoint_is_due", lambda *_: True)
    facts = fit_system("etegrec", tmp_path / "whole", inputs, **SHORT)
    assert facts["collisions"]["items"] == 0
    train_step = Trainer.train_step
    for at in (steps - 1, steps, 3 * steps + 1):

        def breaks(trainer: Any, step: int, batch: Any, at: int = at) -> float:
            if step == at:
                raise KeyboardInterrupt
            return train_step(trainer, step, batch)

        with monkeypatch.context() as broken:
            broken.setattr(Trainer, "train_step", breaks)
            with pytest.raises(KeyboardInterrupt):
                fit_system("etegrec", tmp_path / "broken", inputs, **SHORT)
    fit_system("etegrec", tmp_path / "broken", inputs, **SHORT)
    for name in ("sids.parquet", "model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    assert SemanticIds.load(tmp_path / "whole").num_levels == 4
