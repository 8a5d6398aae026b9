"""Trackers get the figures of each validation; those that are not installed are a sentence."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.toy import lines, toy
from trialigngr.foundation.config import parse_settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.train import loop
from trialigngr.train.settings import TrainSettings
from trialigngr.train.trackers import TRACKERS, open_trackers


class Kept:
    def __init__(self) -> None:
        self.written: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, step: int, figures: Mapping[str, float]) -> None:
        self.written.append((step, dict(figures)))

    def close(self) -> None:
        self.written.append((-1, {}))


def test_a_tracker_gets_what_the_journal_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "LOG_EVERY", 8)
    kept = Kept()
    toy(more={"trackers": [kept]}).fit(tmp_path)
    assert [step for step, _ in kept.written] == [8, 12, 16, 24, 32, 36]
    for (step, figures), line in zip(kept.written, lines(tmp_path), strict=True):
        assert step == line["step"]
        assert figures.get("valid/NDCG@10") == line.get("valid", {}).get("NDCG@10")
        assert {name: figures[f"loss/{name}"] for name in line["loss"]} == line["loss"]
        assert figures["tokens_per_second"] > 0
    said = capsys.readouterr().err
    assert "tokens/s; loss T1" in said
    assert "T3" in said


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_runs_that_go_on_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any):
    calls: list[tuple[str, Any]] = []
    library = SimpleNamespace(
        init=lambda **given: calls.append(("init", given)),
        log=lambda figures, step: calls.append(("log", (step, figures))),
        finish=lambda: calls.append(("finish", None)),
    )
    monkeypatch.setitem(sys.modules, name, library)
    (tracker,) = open_trackers([name], tmp_path, "beauty", {"batch_size": 64})
    tracker.log_metrics(3, {"loss/sids_to_sid": 2.5})
    tracker.close()
    (_, given), logged, finished = calls
    assert (given["project"], given["name"], given["config"]) == ("trialigngr", "beauty", {"batch_size": 64})
    assert given["resume"] == "allow"
    assert logged == ("log", (3, {"loss/sids_to_sid": 2.5}))
    assert finished == ("finish", None)


def test_mlflow_goes_on_by_the_id_that_it_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []

    def start_run(**given: str) -> SimpleNamespace:
        calls.append(given)
        return SimpleNamespace(info=SimpleNamespace(run_id="0123abcd"))

    library = SimpleNamespace(
        set_experiment=calls.append,
        start_run=start_run,
        log_params=calls.append,
        log_metrics=lambda figures, step: calls.append((step, figures)),
        end_run=lambda: calls.append("end"),
    )
    monkeypatch.setitem(sys.modules, "mlflow", library)
    for step in (3, 6):
        (tracker,) = open_trackers(["mlflow"], tmp_path, "beauty", {"batch_size": 64})
        tracker.log_metrics(step, {"valid/NDCG@10": 0.5})
        tracker.close()
    first = ["trialigngr", {"run_name": "beauty"}, {"batch_size": 64}, (3, {"valid/NDCG_at_10": 0.5}), "end"]
    assert calls == [*first, "trialigngr", {"run_id": "0123abcd"}, (6, {"valid/NDCG_at_10": 0.5}), "end"]


def test_tensorboard_writes_event_files(tmp_path: Path):
    pytest.importorskip("tensorboard")
    (tracker,) = open_trackers(["tensorboard"], tmp_path, "beauty", {"batch_size": 64})
    tracker.log_metrics(3, {"loss/sids_to_sid": 2.5})
    tracker.close()
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_tracker_that_is_not_installed_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match=rf"names {name}, which is not installed; .*'trialigngr\[{name}\]'"):
        open_trackers([name], tmp_path, "beauty", {})


def test_a_tracker_nobody_knows():
    with pytest.raises(RecipeError, match=r"trackers\.0 = 'neptune' does not fit"):
        parse_settings(TrainSettings, {"trackers": ["neptune"]}, "train")
