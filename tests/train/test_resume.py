"""Killed anywhere and run again, training ends with the weights of the unbroken run, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.forkserver import start_forkserver
from tests.support.toy import LINE_EVERY, STEPS, equal, lines, toy, train_and_wait, weights
from trialigngr.foundation.errors import ArtifactError
from trialigngr.train import checkpoint as checkpoints
from trialigngr.train import loop
from trialigngr.train.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint


class Unbroken:
    """What a run that nothing disturbed ends with."""

    def __init__(self, folder: Path) -> None:
        trainer = toy()
        self.facts, self.lines, self.weights = trainer.fit(folder), lines(folder), weights(trainer)

    def equals(self, trainer: Any, facts: dict[str, Any], folder: Path) -> None:
        assert equal(weights(trainer), self.weights)
        assert without_time(facts) == without_time(self.facts)
        assert [without_time(line) for line in lines(folder)] == [without_time(line) for line in self.lines]


def without_time(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != "seconds"}


@pytest.fixture(scope="module", autouse=True)
def _many_lines() -> Iterator[None]:
    """Let lines stand between validations, which are twelve steps apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", LINE_EVERY)
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return Unbroken(tmp_path_factory.mktemp("unbroken"))


def reached(folder: Path) -> int:
    return max((int(path.name.rsplit("-", 1)[1]) for path in folder.glob("checkpoint-*")), default=0)


def test_killed_at_a_random_moment(unbroken: Unbroken, tmp_path: Path):
    moment = random.SystemRandom().randint(1, STEPS - 1)
    start_forkserver()
    process = multiprocessing.get_context("forkserver").Process(target=train_and_wait, args=(tmp_path,))
    process.start()
    try:
        deadline = time.monotonic() + 600
        while reached(tmp_path) < moment and time.monotonic() < deadline:
            assert process.is_alive()
            time.sleep(0.002)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert moment <= reached(tmp_path)
    trainer = toy()
    unbroken.equals(trainer, trainer.fit(tmp_path), tmp_path)


class Killed(BaseException):
    """Stands for a kill at a chosen line."""


def kill_at_call(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool) -> None:
    """Let a function do its work ``call - 1`` times; the next time, die before it or right after it."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Killed
        result = original(*args, **kwargs)
        if calls == call:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        # save_file writes each checkpoint and each best: half a checkpoint, and half a best.
        (checkpoints, "save_file", 10, True),
        pytest.param(checkpoints, "save_file", 21, True, marks=pytest.mark.long),
        (checkpoints, "write_json", 30, False),
        # The new checkpoint stands, the old one not yet removed, or removed.
        (checkpoints.shutil, "rmtree", 33, False),
        pytest.param(checkpoints.shutil, "rmtree", 33, True, marks=pytest.mark.long),
        pytest.param(checkpoints.shutil, "rmtree", 34, False, marks=pytest.mark.long),
        (checkpoints, "save_file", 1, False),
    ],
)
def test_killed_in_the_middle_of_a_checkpoint(
    unbroken: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool
):
    with monkeypatch.context() as patch:
        kill_at_call(patch, owner, name, call, after=after)
        with pytest.raises(Killed):
            toy().fit(tmp_path)
    trainer = toy()
    unbroken.equals(trainer, trainer.fit(tmp_path), tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == [f"checkpoint-{STEPS:09d}"]


def test_killed_three_times_and_while_validating(unbroken: Unbroken, tmp_path: Path):
    def killed(_model: Any) -> dict[str, float]:
        raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            toy(killed).fit(tmp_path)
    assert reached(tmp_path) == 11
    trainer = toy()
    unbroken.equals(trainer, trainer.fit(tmp_path), tmp_path)


def test_lines_after_the_resumed_step_and_torn_ones_are_dropped(unbroken: Unbroken, tmp_path: Path):
    stopping = toy(max_steps=17)
    stopping.steps = STEPS  # the schedule of the whole run
    with pytest.raises(IndexError):
        stopping.fit(tmp_path)
    assert reached(tmp_path) == 17
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "loss": {}}\n{"step": 60, "loss": {"sids_to_sid": 1.0}\n[]\n{"st')
    trainer = toy()
    unbroken.equals(trainer, trainer.fit(tmp_path), tmp_path)


@pytest.mark.parametrize("damage", ["state.json", "state.safetensors", "cut"])
def test_a_checkpoint_that_is_not_whole_is_left_aside(tmp_path: Path, damage: str):
    trainer = toy()
    save_checkpoint(tmp_path, trainer.model, trainer.optimizer, {"step": 3, "best": 0.5})
    newer = tmp_path / "checkpoint-000000009"
    kept = tmp_path / "checkpoint-000000003"
    newer.mkdir()
    for name in ("state.json", "state.safetensors"):
        content = (kept / name).read_bytes()
        if damage == "cut" and name == "state.safetensors":
            content = content[: len(content) // 2]
        if damage != name:
            (newer / name).write_bytes(content.replace(b'"step": 3', b'"step": 9'))
    assert load_checkpoint(tmp_path, trainer.model, trainer.optimizer) == {"step": 3, "best": 0.5}
    save_checkpoint(tmp_path, trainer.model, trainer.optimizer, {"step": 9})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000009"]
    assert load_checkpoint(tmp_path, trainer.model, trainer.optimizer) == {"step": 9}


def test_a_checkpoint_holds_weights_and_the_whole_optimizer(tmp_path: Path):
    trainer, other = toy(), toy()
    for step in range(3):
        trainer.train_step(step, trainer.objective.draw_batch(step))
    save_checkpoint(tmp_path, trainer.model, trainer.optimizer, {"step": 3})
    assert load_checkpoint(tmp_path, other.model, other.optimizer) == {"step": 3}
    assert equal(weights(trainer), weights(other))
    for one, two in zip(trainer.model.parameters(), other.model.parameters(), strict=True):
        ours, theirs = trainer.optimizer.state[one], other.optimizer.state[two]
        assert set(ours) == set(theirs) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert float(ours["step"]) == 3
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or path.suffix in (".safetensors", ".json")
    assert len(load_file(tmp_path / "checkpoint-000000003" / "state.safetensors")) == 4 * len(weights(trainer))


def test_a_checkpoint_is_on_the_disk_before_the_one_before_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer, happened, names = toy(), list[str](), dict[int, str]()
    save_checkpoint(tmp_path, trainer.model, trainer.optimizer, {"step": 3})
    synced, removed, replaced = os.fsync, shutil.rmtree, Path.replace

    def fsync(opened: int) -> None:
        happened.append(f"fsync {os.fstat(opened).st_ino}")
        synced(opened)

    def rmtree(path: Path, **more: Any) -> None:
        happened.append(f"remove {path.name}")
        removed(path, **more)

    def replace(path: Path, target: Path) -> Path:
        if target.name == "checkpoint-000000009":
            happened.append("replace")
        return replaced(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    monkeypatch.setattr(Path, "replace", replace)
    save_checkpoint(tmp_path, trainer.model, trainer.optimizer, {"step": 9})
    checkpoint = tmp_path / "checkpoint-000000009"
    for path in (tmp_path, checkpoint, checkpoint / "state.json", checkpoint / "state.safetensors"):
        names[path.stat().st_ino] = path.name
    told = [names.get(int(one.split()[1]), one) if one.startswith("fsync") else one for one in happened]
    assert told == [
        "remove checkpoint.partial",
        "state.safetensors",
        "state.json",
        "checkpoint-000000009",
        "remove checkpoint-000000009",
        "replace",
        tmp_path.name,
        "remove checkpoint-000000003",
    ]


def test_nothing_to_go_on_with(tmp_path: Path):
    trainer = toy()
    assert load_checkpoint(tmp_path, trainer.model, trainer.optimizer) is None


def test_what_is_left_over_is_cleared_best_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed while clearing, a run goes on to the same weights: never from a checkpoint without its best."""
    scores = iter([0.9, 0.1, 0.1])
    trainer = toy(lambda _model: {"NDCG@10": next(scores), "HR@10": 0.0})
    facts = trainer.fit(tmp_path)
    assert facts["best_step"] == 12
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda _path: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            remove_checkpoints(tmp_path)
    assert (tmp_path / "best.safetensors").exists()
    assert reached(tmp_path) == 0
    remove_checkpoints(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl"}


def test_the_journal_is_json_lines(tmp_path: Path, unbroken: Unbroken):
    del tmp_path
    assert [line["step"] for line in unbroken.lines] == [5, 10, 12, 15, 20, 24, 25, 30, 35, 36]
    for line in unbroken.lines:
        assert json.loads(json.dumps(line)) == line
        valid = ["valid"] if line["step"] % 12 == 0 else []
        assert list(line) == ["step", "loss", *valid, "rate", "tokens", "seconds"]


def test_a_checkpoint_of_another_model_is_a_sentence(tmp_path: Path) -> None:
    trainer = toy(max_steps=2)
    trainer.fit(tmp_path)
    trainer.model.resize_token_embeddings(trainer.model.config.vocab_size + 3, mean_resizing=False)
    before = weights(trainer)
    for value in trainer.model.parameters():
        torch.nn.init.zeros_(value)
    with pytest.raises(ArtifactError, match=r"checkpoint-0+2 is of another model: .*embed.* is .* there and .* here"):
        load_checkpoint(tmp_path, trainer.model, trainer.optimizer)
    assert equal(weights(trainer), {name: torch.zeros_like(value) for name, value in before.items()})
