"""Preference optimization on packed branches: the loss of plain rows, value and gradient; what it learns; its start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from tests.support.backbones import SIDS, pretrained
from tests.support.toy import settings, toy
from tests.support.world import World
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.backbone import Backbone
from trialigngr.models.build import build_backbone
from trialigngr.models.reference import ReferenceModel
from trialigngr.models.settings import BackboneSettings, LoraSettings
from trialigngr.tasks.examples import unshare_rows
from trialigngr.tasks.packing import SharedPrefixRow, pack_micro_batches
from trialigngr.train.dpo import DpoObjective, PreferenceBatch, add_negatives, compute_preference_loss
from trialigngr.train.loop import Trainer
from trialigngr.train.loss import DeviceMicroBatch, compute_target_losses
from trialigngr.train.phases import PHASES, PhaseInputs, find_phases
from trialigngr.train.process_group import SINGLE_PROCESS
from trialigngr.train.settings import DpoSettings

CPU = torch.device("cpu")


def build_objective(own: DpoSettings, **changes: Any) -> DpoObjective:
    started = toy(dropout=0.1, **changes).objective
    train = PHASES["dpo"].adapt_train(started.settings, own)
    tasks = dict(started.mixture.tasks)
    inputs = PhaseInputs(
        started.backbone, tasks, "sids_to_sid", None, train, own, 0, SINGLE_PROCESS  # type: ignore[arg-type]
    )  # fmt: skip
    return DpoObjective(inputs)


def move(model: Any) -> None:
    """Bring a model away from where it started."""
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=dice)


def reference_loss(objective: DpoObjective, batch: PreferenceBatch) -> torch.Tensor:
    """S-DPO as its paper writes it, from one plain forward pass of each answer of each example."""

    def log_prob(model: Any, row: SharedPrefixRow) -> torch.Tensor:
        (answer,) = row.continuations
        prompt = [*batch.task.prompt_header, *row.prefix_tokens[: answer.prefix_length], *answer.prompt_suffix]
        logits = model(torch.tensor([[*prompt, *answer.target]])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(1, torch.tensor(answer.target)[:, None]).sum()

    deltas: dict[int, torch.Tensor] = {}
    objective.whole_model.set_attn_implementation("sdpa")
    with objective.reference.use_weights() as reference:
        for row in unshare_rows(batch.rows):
            with torch.no_grad():
                theirs = log_prob(reference, row)
            deltas[row.continuations[0].branch] = log_prob(objective.whole_model, row) - theirs
    width, beta = 1 + objective.own.num_negatives, objective.own.beta
    losses = []
    for example in range(batch.num_examples):
        taken, *others = (beta * deltas[example * width + place] for place in range(width))
        losses.append(-logsigmoid(-torch.stack([other - taken for other in others]).exp().sum().log()))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("num_negatives", [1, 3])
def test_packed_branches_equal_plain_rows(num_negatives: int) -> None:
    objective = build_objective(DpoSettings(num_negatives=num_negatives, beta=0.7), batch_size=6, micro_batch_tokens=60)
    objective.prepare_training()
    move(objective.model)
    batch = objective.draw_batch(0)
    assert any(len(row.continuations) > 2 for row in batch.rows), "a prompt's answers share its tokens"
    pieces = list(objective.iter_micro_losses(batch))
    assert len(pieces) > 1, "several micro-batches add up"
    loss = torch.stack(pieces).sum()
    loss.backward()
    ours = {name: value.grad.clone() for name, value in objective.model.named_parameters()}
    objective.model.zero_grad()
    expected = reference_loss(objective, batch)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for name, value in objective.model.named_parameters():
        torch.testing.assert_close(ours[name], value.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_at_the_start_the_loss_is_that_of_a_coin() -> None:
    objective = build_objective(DpoSettings(num_negatives=3), batch_size=8)
    objective.prepare_training()
    (loss,) = objective.iter_micro_losses(objective.draw_batch(3))
    assert float(loss.detach()) == pytest.approx(np.log(1 + 3), abs=1e-5)


def test_negatives_have_other_sids_and_their_own_branches() -> None:
    examples = World().examples("sids_to_sid")
    rows = examples.draw_batch(0, 0, 20)
    found = add_negatives(rows, examples, len(World().sids), DpoSettings(num_negatives=2), np.random.default_rng(0))
    answers = [answer for row in found for answer in row.continuations]
    assert [answer.branch for answer in answers] == list(range(60))
    for place in range(0, 60, 3):
        taken, *others = answers[place : place + 3]
        assert all(other.target != taken.target and other.prefix_length == taken.prefix_length for other in others)


def train(folder: Path, steps: int, breaks_at: int | None = None, **changes: Any) -> list[float]:
    """Train a phase; return the losses."""
    folder.mkdir(exist_ok=True)
    objective = build_objective(DpoSettings(max_steps=steps, learning_rate=1e-2, beta=1.0), batch_size=16)
    chosen = settings(max_steps=steps, validate_every=steps, learning_rate=1e-2, **changes)
    figures = {"NDCG@10": 0.0, "HR@10": 0.0}
    trainer = Trainer(chosen, objective, lambda _: figures, 0, name="dpo", validates_start=True)
    losses, take = list[float](), trainer.train_step

    def step(number: int, batch: Any) -> float:
        if number == breaks_at:
            raise KeyboardInterrupt
        losses.append(take(number, batch))
        return losses[-1]

    trainer.train_step = step  # type: ignore[method-assign]
    trainer.fit(folder)
    return losses


def test_it_learns_to_prefer(tmp_path: Path) -> None:
    losses = train(tmp_path / "run", 60, checkpoint_seconds=1000)
    assert losses[0] == pytest.approx(np.log(4), abs=1e-4)
    assert np.mean(losses[-10:]) < 0.85 * losses[0]


def test_broken_off_it_goes_on_as_unbroken(tmp_path: Path) -> None:
    losses = train(tmp_path / "whole", 8)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", 8, breaks_at=5)
    rest = train(tmp_path / "broken", 8)
    assert rest == losses[-len(rest) :]
    assert 0 < len(rest) < 8


def test_layers_that_keep_no_activations_go_through_again_without_dropout() -> None:
    objective = build_objective(DpoSettings(), batch_size=4, checkpointing=True)
    calls = list[bool]()
    layer = objective.target_losses.model.model.layers[0]
    layer.self_attn.register_forward_hook(lambda module, *_: calls.append(module.training))
    objective.prepare_training()
    sum(objective.iter_micro_losses(objective.draw_batch(0))).backward()
    assert calls.count(False) == len(calls) >= 2, "forward, and again on the way back; nothing drops"
    losses = [float(sum(objective.iter_micro_losses(objective.draw_batch(0))).detach()) for _ in range(2)]
    assert losses[0] == losses[1]


def test_a_phase_that_broke_off_behind_its_first_validation_goes_on(tmp_path: Path) -> None:
    losses = train(tmp_path / "whole", 4)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", 4, breaks_at=0)
    assert train(tmp_path / "broken", 4) == losses


def lora_backbone(folder: Path) -> Backbone:
    pretrained(folder, "qwen", tied=True, spare=3)
    return build_backbone(BackboneSettings(name_or_path=str(folder), lora=LoraSettings(rank=4)), SIDS, [], seed=0)


def test_adapters_need_no_copy_of_the_start(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    backbone = lora_backbone(tmp_path)
    ids = torch.tensor([[*backbone.sid_token_ids, 5, 6, 7]])
    start = backbone.model.eval()(ids).logits.detach()
    reference = ReferenceModel(backbone)
    before = sum(p.numel() for p in backbone.model.parameters())
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1
    moved = backbone.model(ids).logits.detach()
    assert not torch.allclose(moved, start, atol=1e-3)
    with reference.use_weights() as model:
        assert model is backbone.model
        torch.testing.assert_close(model(ids).logits, start, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(backbone.model(ids).logits, moved)
    assert sum(p.numel() for p in backbone.model.parameters()) == before


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ["dpo"],
            r"phase dpo starts from a model that sft has trained; begin with sft, such as phases = \['sft', 'dpo'\]",
        ),
        ([], r"phases = \[\]: there is none; begin with sft"),
        (["sft", "dpoo"], "There is no phase 'dpoo'.*Did you mean 'dpo'"),
        (["sft", "dpo", "dpo"], "names dpo twice"),
    ],
)
def test_phases_that_cannot_follow_each_other(names: list[str], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        find_phases(names)


def test_one_prompt_is_read_once_for_all_its_answers() -> None:
    objective = build_objective(DpoSettings(num_negatives=7), batch_size=1)
    (row,) = objective.draw_batch(0).rows
    (part,) = pack_micro_batches(objective.examples.prompt_header, [row], 1 << 20)
    added = sum(len(row.added_tokens(answer)) for answer in row.continuations)
    assert len(part.tokens_T) == len(objective.examples.prompt_header) + len(row.prefix_tokens) + added
    laid_out = DeviceMicroBatch.from_micro_batch(part, CPU)
    objective.prepare_training()
    losses_M = compute_target_losses(objective.model, laid_out)
    assert float(compute_preference_loss(0 * losses_M.detach(), laid_out, objective.own, 1)) == pytest.approx(np.log(8))
