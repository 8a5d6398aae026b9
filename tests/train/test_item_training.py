"""Vectors of items beside their tokens, in training: what is shown, what is scored, and what must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.toy import equal, killed_at, toy, weights
from tests.support.world import World
from trialigngr.models.item_layer import ItemLayer
from trialigngr.models.settings import ItemSettings
from trialigngr.tasks.packing import pack_micro_batches
from trialigngr.train.item_loss import ItemLoss
from trialigngr.train.loop import Trainer
from trialigngr.train.loss import DeviceMicroBatch
from trialigngr.train.sampled_softmax import NegativeDraw
from trialigngr.train.sft import SftObjective

ON = ItemSettings(hidden_size=8, num_negatives=6)


def take_steps(trainer: Trainer[SftObjective], count: int = 6) -> dict[str, torch.Tensor]:
    """Return the weights after some steps."""
    for step in range(count):
        trainer.train_step(step, trainer.objective.draw_batch(step))
    return weights(trainer)


def lay_out(trainer: Trainer[SftObjective], name: str, size: int = 40) -> DeviceMicroBatch:
    """Return examples of a task."""
    task = trainer.objective.mixture.tasks[name]
    (part,) = pack_micro_batches(task.prompt_header, task.draw_batch(0, 0, size), 9999)
    return DeviceMicroBatch.from_micro_batch(part, trainer.device)


def test_neither_shown_nor_scored_they_change_nothing() -> None:
    plain, off = take_steps(toy()), take_steps(toy(items=ON.model_copy(update={"is_shown": False, "loss_weight": 0.0})))
    assert equal(plain, {name: off[f"model.{name}"] for name in plain})
    assert {name for name in off if not name.startswith("model.")} == {
        f"item_layer.{name}"
        for name in (
            "rows.weight", "projection.weight", "shown.weight",
            *(f"query.{place}.{kind}" for place in (0, 2) for kind in ("weight", "bias")),
        )
    }  # fmt: skip


def test_a_model_that_is_shown_them_begins_as_it_is_without() -> None:
    plain, shown = toy(), toy(items=ON.model_copy(update={"loss_weight": 0.0}))
    for trainer in (plain, shown):
        trainer.objective.prepare_training()
        trainer.model.eval()
    batch = lay_out(shown, "sids_to_sid")
    assert (batch.tokens_1T < 0).any()
    assert torch.equal(
        shown.objective.target_losses(batch), plain.objective.target_losses(lay_out(plain, "sids_to_sid"))
    )
    before = shown.objective.target_losses(batch)
    items = shown.objective.backbone.items
    assert items is not None
    torch.nn.init.normal_(items.shown.weight)
    assert not torch.equal(before, shown.objective.target_losses(batch))


def test_each_shown_item_and_no_target_is_named() -> None:
    world = World()
    for name in ("sids_to_sid", "sids_to_title"):
        named, plain = world.examples(name, names_items=True), world.examples(name)
        last = {row: own[-1] for row, own in enumerate(plain._source)}
        for ours, theirs in zip(named.draw_batch(0, 0, 60), plain.draw_batch(0, 0, 60), strict=True):
            assert [last[~token] if token < 0 else token for token in ours.prefix_tokens] == theirs.prefix_tokens
            assert ours.continuations == theirs.continuations
            for one in ours.continuations:
                owner, position = one.example_id
                rows = world.histories.user_sequence(owner)[:position].tolist()
                shown = [~token for token in ours.prefix_tokens[: one.prefix_length] if token < 0]
                assert shown
                assert shown == rows[len(rows) - len(shown) :]
                item = int(world.histories.user_sequence(owner)[position])
                assert one.item == (item if name == "sids_to_sid" else -1)
    for name in ("title_to_sid", "sid_to_title", "titles_to_sid"):
        named, plain = world.examples(name, names_items=True), world.examples(name)
        assert named.draw_batch(0, 0, 30) == plain.draw_batch(0, 0, 30)


def test_what_the_scores_cost_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    items = ItemLayer(
        ItemSettings(hidden_size=2, row_dropout=0.5, loss_weight=0.5), 3, 3, torch.randn(4, 2), torch.zeros(4).long()
    )
    items.eval()
    draw = NegativeDraw.from_counts(4, torch.tensor([9, 4, 1, 0]).numpy(), torch.device("cpu"))
    monkeypatch.setattr(NegativeDraw, "draw_shared", lambda self: torch.tensor([0, 1, 1, 3]))
    hidden_MD, item_M = torch.randn(5, 3), torch.tensor([-1, 1, -1, -1, 3])
    losses_M = ItemLoss(items, draw).add_to(torch.zeros(5), hidden_MD, item_M)
    v_NH = items.features_NF @ items.projection.weight.T
    v_NH[:3] += items.rows.weight
    log_share_N = (torch.tensor([3.0, 2.0, 1.0, 1.0]) / 7).log()
    q_MH = items.query(hidden_MD)
    costs = []
    for place, (item, others) in {1: (1, [0, 3]), 4: (3, [0, 1, 1])}.items():
        scores = q_MH[place] @ v_NH.T - log_share_N
        costs.append(scores[[item, *others]].logsumexp(0) - scores[item])
    mean = 0.25 * float(torch.stack(costs).detach().sum())
    assert losses_M.tolist() == pytest.approx([0, mean, 0, 0, mean], rel=1e-5)
    nothing = torch.full((5,), -1)
    assert torch.equal(ItemLoss(items, draw).add_to(losses_M, hidden_MD, nothing), losses_M)


def test_how_far_states_point_away_by_hand() -> None:
    settings = ItemSettings(hidden_size=2, loss_weight=0, alignment_weight=0.5)
    items = ItemLayer(settings, 3, 3, torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]), torch.zeros(3).long())
    items.load_state_dict({"align.weight": torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])}, strict=False)
    items.align.bias.data.zero_()
    draw = NegativeDraw.from_counts(2, torch.ones(3).long().numpy(), torch.device("cpu"))
    hidden_MD, item_M = torch.tensor([[3.0, 4.0, 9.0], [5.0, 5.0, 5.0], [1.0, 0.0, 7.0]]), torch.tensor([2, -1, 1])
    losses_M = ItemLoss(items, draw).add_to(torch.ones(3), hidden_MD, item_M)
    # The first points where its item does, the last at a right angle to it: (0 + 1) / 2, by the weight.
    assert losses_M.tolist() == pytest.approx([1.25, 1, 1.25])


def test_without_rows_only_embeddings_count() -> None:
    none = ON.model_copy(update={"row_dropout": 1.0})
    found = []
    for fill in (0.0, 7.0):
        trainer = toy(items=none)
        items = trainer.objective.backbone.items
        assert items is not None
        torch.nn.init.constant_(items.rows.weight, fill)
        trained = take_steps(trainer)
        found.append({name: value for name, value in trained.items() if name != "item_layer.rows.weight"})
        assert torch.allclose(items.eval().find_vectors(None), items.projection(items.features_NF))
    assert equal(*found)


def test_they_are_trained_and_a_run_that_was_killed_goes_on_as_it_was(tmp_path: Path) -> None:
    usual: dict[str, Any] = {"max_steps": 10, "validate_every": 5, "ema_decay": 0.5, "items": ON}
    whole, begun = toy(**usual), toy(**usual)
    start = weights(whole)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole.fit(tmp_path / "whole")
    assert all(not torch.equal(start[name], value) for name, value in weights(whole).items())
    killed_at(begun, 6, tmp_path / "killed")
    again = toy(**usual)
    again.fit(tmp_path / "killed")
    assert equal(weights(whole), weights(again))


def test_items_that_came_later_have_no_row() -> None:
    items = ItemLayer(ON, 6, 3, torch.randn(3, 5), torch.arange(3)).eval()
    features_NF = torch.cat([items.features_NF, torch.randn(2, 5)])
    grown = items.with_catalog(features_NF, torch.arange(5))
    assert torch.equal(grown.find_vectors(torch.arange(3)), items.find_vectors(None))
    assert torch.allclose(grown.find_vectors(None)[3:], items.projection(features_NF[3:]))
    assert grown.rows.weight.data_ptr() == items.rows.weight.data_ptr()
    shares_BN = grown.build_head()(torch.randn(2, 6))
    assert shares_BN.shape == (2, 5)
    assert torch.allclose(shares_BN.sum(1), torch.ones(2))
