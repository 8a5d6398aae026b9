"""The training loop: the loss goes down, the schedule is kept, so are the best weights, what is not finite stops it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.toy import STEPS, equal, fingerprint, lines, toy, weights
from trialigngr.foundation.config import parse_settings
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.tasks.packing import pack_micro_batches
from trialigngr.tasks.settings import TaskSettings
from trialigngr.train import loop
from trialigngr.train.checkpoint import trainable_parameters
from trialigngr.train.loss import DeviceMicroBatch
from trialigngr.train.metrics_logger import MetricsLogger
from trialigngr.train.settings import TrainSettings


def test_the_loss_goes_down_for_every_task(tmp_path: Path):
    facts = toy(max_steps=96, checkpoint_seconds=1000, patience=99).fit(tmp_path)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [12, 24, 36, 48, 50, 60, 72, 84, 96]
    assert facts["step"] == facts["planned_steps"] == 96
    first, last = found[0]["loss"], found[-1]["loss"]
    assert set(first) == set(last) == {"title_to_sid", "sids_to_sid"}
    # The end of a turn can always be told: ln 331 ≈ 5.8 at the start. What is random in the world stays.
    assert first["title_to_sid"] > 3
    assert last["title_to_sid"] < 0.6 * first["title_to_sid"]
    assert last["sids_to_sid"] < 0.6 * first["sids_to_sid"]
    assert all({"rate", "tokens", "seconds"} <= set(line) for line in found)
    assert [line["step"] for line in found if "valid" not in line] == [50]


def test_the_loss_of_a_task_beside_is_added_by_its_share_of_examples():
    beside = TaskSettings(auxiliary_batch_size=3)
    objective = toy(task_settings=beside, dropout=0.0).objective
    objective.prepare_training()
    both = objective.draw_batch(4)
    alone = [replace(both, auxiliary=None), replace(both.parts[1], loss_weight=1.0)]
    assert [batch.name for batch in alone] == ["sids_to_sid", "title_to_sid"]
    main, other = (float(sum(objective.iter_micro_losses(batch)).detach()) for batch in alone)
    share = 3 / objective.settings.batch_size
    assert share < 1 < other
    assert float(sum(objective.iter_micro_losses(both)).detach()) == pytest.approx(main + share * other, rel=1e-6)


def test_every_step_s_loss_is_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    trainer, losses, number = toy(max_steps=14, validate_every=8), dict[str, list[float]](), 0
    taken = trainer.train_step

    def noted(step: int, batch: Any) -> float:
        losses.setdefault(batch.name, []).append(taken(step, batch))
        return losses[batch.name][-1]

    trainer.train_step = noted  # type: ignore[method-assign]
    write = MetricsLogger.write_line

    def written(journal: MetricsLogger, step: int, **more: Any) -> dict[str, float]:
        nonlocal number
        wanted = {name: sum(values) / len(values) for name, values in losses.items()}
        losses.clear()
        number += 1
        assert write(journal, step, **more) == wanted
        return wanted

    monkeypatch.setattr(MetricsLogger, "write_line", written)
    trainer.fit(tmp_path)
    assert number == 4
    found = [(line["step"], "valid" in line) for line in lines(tmp_path)]
    assert found == [(4, False), (8, True), (12, False), (14, True)]


def test_what_must_not_be_written_grows_unlikely():
    found = {}
    for weight in (0.0, 10.0):
        trainer = toy(weights={"title_to_sid": 0.0}, dropout=0.0, max_steps=60, unlikelihood_weight=weight)
        for step in range(60):
            trainer.train_step(step, trainer.objective.draw_batch(step))
        task = trainer.objective.mixture.tasks["sids_to_sid"]
        (part,) = pack_micro_batches(task.prompt_header, task.draw_batch(0, 0, 40, with_negatives=True), 9999)
        passed = DeviceMicroBatch.from_micro_batch(part, trainer.device)
        with torch.no_grad():
            losses_M = trainer.objective.target_losses(passed)
        found[weight] = float(losses_M[passed.weight_M < 0].neg().exp().mean())
    assert found[10.0] < 0.6 * found[0.0]


def test_warm_up_and_cosine_by_hand():
    trainer = toy(max_steps=100, warmup_ratio=0.1, learning_rate=0.2)
    assert trainer.learning_rate_at(0) == pytest.approx(0.02)
    assert trainer.learning_rate_at(9) == pytest.approx(0.2)
    assert trainer.learning_rate_at(10) == pytest.approx(0.2)
    # Half of the 90 steps after the warm-up: 0.01 + 0.99 / 2.
    assert trainer.learning_rate_at(55) == pytest.approx(0.2 * 0.505)
    assert trainer.learning_rate_at(100) == pytest.approx(0.2 * 0.01)
    rates = [trainer.learning_rate_at(step) for step in range(10, 100)]
    assert rates == sorted(rates, reverse=True)


def test_the_rate_is_what_the_optimizer_takes():
    trainer = toy(learning_rate=0.01, warmup_ratio=0.5)
    for step in (0, 1):
        trainer.train_step(step, trainer.objective.draw_batch(step))
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {trainer.learning_rate_at(step)}


def test_every_parameter_is_trained_once_and_only_matrices_decay():
    trainer = toy(weight_decay=0.3)
    groups = trainer.optimizer.param_groups
    trained = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(trained) == sorted(id(parameter) for parameter in trainer.model.parameters())
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert all(parameter.dim() == 1 for parameter in groups[1]["params"])
    before = weights(trainer)
    for step in range(2):
        trainer.train_step(step, trainer.objective.draw_batch(step))
    assert not any(torch.equal(before[name], after) for name, after in weights(trainer).items())


def test_the_best_weights_are_kept_and_patience_ends(tmp_path: Path):
    scores, seen = iter([0.2, 0.5, 0.5, 0.1, 0.4, 0.3]), []

    def validate(model: Any) -> dict[str, float]:
        seen.append(fingerprint(model))
        return {"NDCG@10": next(scores), "HR@10": 0.0}

    trainer = toy(validate, validate_every=4, patience=3)
    facts = trainer.fit(tmp_path)
    # Best at step 8 (a tie is no better); three more validations without a better one end it at 20.
    assert (facts["best"], facts["best_step"], facts["step"], facts["planned_steps"]) == (0.5, 8, 20, STEPS)
    assert len(seen) == 5
    assert fingerprint(trainer.model) == seen[1]
    assert [line["valid"]["NDCG@10"] for line in lines(tmp_path)] == [0.2, 0.5, 0.5, 0.1, 0.4]


def test_a_short_run_is_validated_at_its_end(tmp_path: Path):
    facts = toy(max_steps=7).fit(tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [7]
    assert facts["best_step"] == 7


def test_steps_follow_epochs_of_the_tasks_that_are_drawn():
    both, total = toy(max_steps=None, epochs=3), 0
    for task in both.objective.mixture.tasks.values():
        total += len(task)
    assert both.steps == 3 * math.ceil(total / 16)
    one = toy(max_steps=None, epochs=3, weights={"title_to_sid": 0})
    assert list(one.objective.mixture.tasks) == ["sids_to_sid"]
    assert one.steps == 3 * math.ceil(len(one.objective.mixture.tasks["sids_to_sid"]) / 16)


def test_validation_and_training_find_the_model_in_their_own_modes(tmp_path: Path):
    modes = []

    def validate(model: Any) -> dict[str, float]:
        modes.append((model.training, model.config._attn_implementation))
        return {"NDCG@10": 0.1, "HR@10": 0.1}

    trainer = toy(validate, max_steps=3)
    trainer.fit(tmp_path)
    assert modes == [(False, "sdpa")]
    assert trainer.model.config._attn_implementation == "sdpa"
    trainer.train_step(0, trainer.objective.draw_batch(0))
    assert trainer.model.training


def test_a_loss_that_is_not_a_number_stops_with_a_sentence(tmp_path: Path):
    trainer = toy(max_steps=30)
    poisoned = trainer.objective.draw_batch

    def batch(step: int) -> Any:
        if step == 13:
            with torch.no_grad():
                next(iter(trainable_parameters(trainer.model).values()))[:] = math.nan
        return poisoned(step)

    trainer.objective.draw_batch = batch  # type: ignore[method-assign]
    sentence = rf"The loss of {re.escape(poisoned(13).description)} is not a number at step 13\."
    with pytest.raises(TriAlignError, match=sentence):
        trainer.fit(tmp_path)
    again = toy(max_steps=13)
    again.fit(tmp_path)
    assert all(torch.isfinite(value).all() for value in weights(again).values())


def test_gradients_are_clipped():
    trainer, norms = toy(max_grad_norm=0.01), list[float]()
    step = trainer.optimizer.step

    def seen() -> None:
        norms.append(float(torch.nn.utils.get_total_norm([one.grad for one in trainer.parameters.values()])))
        step()

    trainer.optimizer.step = seen  # type: ignore[method-assign]
    trainer.train_step(0, trainer.objective.draw_batch(0))
    assert norms == [pytest.approx(0.01, rel=1e-3)]


def test_a_gradient_that_is_not_finite_never_reaches_the_weights():
    trainer = toy()
    before = weights(trainer)
    parameter = list(trainable_parameters(trainer.model).values())[-1]
    hook = parameter.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(
        TriAlignError, match=r"The gradient of task \w+ \(batch 0 of that task\) is not a number at step 0"
    ):
        trainer.train_step(0, trainer.objective.draw_batch(0))
    assert equal(weights(trainer), before)
    hook.remove()
    assert math.isfinite(trainer.train_step(0, trainer.objective.draw_batch(0)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"epochs": 0},
        {"learning_rate": -1},
        {"warmup_ratio": 2},
        {"max_steps": 0},
        {"precision": "fp8"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, float]):
    with pytest.raises(RecipeError, match="does not fit"):
        parse_settings(TrainSettings, wrong, "train")
