"""Phases of a run: each a stage of its own that goes on from the one before, and the last one's model recommends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.commands import Done
from tests.support.runs import another_fingerprint, tiny
from trialigngr.foundation.errors import ArtifactError
from trialigngr.runs.run import load
from trialigngr.studies.tune import TuningSearch

Cli = Callable[..., Done]
TWO = tiny(phases=["sft", "dpo"], dpo__max_steps=6, dpo__learning_rate=1e-3, dpo__num_negatives=2)


def test_a_second_phase_keeps_the_first_and_is_what_recommends(copied_run: Path, cli: Cli) -> None:
    before = (copied_run / "model" / "model.safetensors").read_bytes()
    planned = cli("plan", "trialigngr-demo", "--out", copied_run, *TWO).out
    assert "dpo          to do    phase dpo, at most 6 steps of" in planned
    done = cli("run", "trialigngr-demo", "--out", copied_run, *TWO)
    assert (done.code, "model: unchanged, kept" in done.err, "dpo: done in" in done.err) == (0, True, True), done.err
    assert (copied_run / "model" / "model.safetensors").read_bytes() == before
    run = load(copied_run)
    facts = run.read_stage_manifest("dpo").facts
    assert (facts["step"], facts["planned_steps"]) == (6, 6)
    first = json.loads((copied_run / "dpo" / "metrics.jsonl").read_text("utf-8").splitlines()[0])
    sft = run.read_stage_manifest("model").facts
    assert first["step"] == 0
    assert first["valid"]["NDCG@10"] == pytest.approx(sft["valid_ndcg_10"], abs=1e-6), "it starts where sft ended"
    assert facts["valid_ndcg_10"] >= sft["valid_ndcg_10"], "what is kept is not behind its start"
    assert set(run.read_stage_manifest("evaluation").parents) >= {"dpo"}
    last = load_file(copied_run / "dpo" / "model.safetensors")
    for name, value in run.artifacts.backbone.model.state_dict().items():
        assert name not in last or value.equal(last[name]), name
    assert len(run.recommend(run.user_history(run.artifacts.histories.user_ids[0]), k=3)) == 3
    card = (copied_run / "dpo" / "README.md").read_text("utf-8")
    assert "trained through sft; this is phase dpo" in card
    assert facts["examples"] == {"sids_to_sid": sft["examples"]["sids_to_sid"]}
    assert "Phase dpo" in (copied_run / "report.html").read_text("utf-8")
    with (
        another_fingerprint(copied_run / "model"),
        pytest.raises(ArtifactError, match=r"phase dpo .* starts from another"),
    ):
        load(copied_run).check_model()


def test_what_a_phase_cannot_do_is_said_before_anything_is_made(tmp_path: Path, cli: Cli) -> None:
    done = cli("run", "trialigngr-demo", "--out", tmp_path / "run", *TWO, "--set", "train.fsdp=true")
    assert (done.code, "train.fsdp and phase dpo do not go together" in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()


def test_the_last_phase_is_tuned() -> None:
    search = TuningSearch("trialigngr-demo", ("dpo.beta=[0.1, 1.0]",), ('phases=["sft", "dpo"]',))
    assert search.tuned_stage == "dpo"
    assert TuningSearch("trialigngr-demo", ("train.epochs=[1]",)).tuned_stage == "model"


def test_a_phase_without_its_start_names_it(tmp_path: Path, cli: Cli) -> None:
    done = cli("run", "trialigngr-demo", "--out", tmp_path / "run", "--set", 'phases=["dpo"]')
    assert (done.code, "phase dpo starts from a model that sft has trained" in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()
