"""A pretrained backbone, from recipe to recommendation: LoRA, codebook rows, the narrowed softmax, a model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trialigngr
from tests.conftest import Done, tiny
from tests.models.test_backbone import pretrained
from trialigngr.models.backbone import checkpoint_class

CHANGES: dict[str, Any] = {
    "model__lora": {"rank": 2},
    "model__weights": "bf16",
    "model__sid_rows": "codebook",
    "model__gradient_checkpointing": True,
    "train__softmax": "level",
    "train__ema": 0.5,
    "decode__normalisation": "catalogue",
    "train__max_steps": 4,
    "train__validate_users": 5,
    "tasks__stages": [{"until": 0.5, "weights": {"T1": 1, "T3": 1}}],
}


def words(folder: Path, **more: Any) -> list[str]:
    chosen = tiny(model__name=str(folder), **more)
    # TOML's inline tables, which JSON's are not.
    return [word.replace('": ', '" = ') if word.startswith(("model.lora", "tasks.stages")) else word for word in chosen]


def test_lora_on_a_pretrained_model_runs_to_its_end(tmp_path: Path, copied_run: Path, cli: Callable[..., Done]):
    pytest.importorskip("peft")
    pretrained(tmp_path / "qwen", "qwen", tied=True, spare=0)
    out = copied_run
    done = cli("run", "trialigngr-demo", "--out", out, *words(tmp_path / "qwen", **CHANGES))
    assert done.code == 0, done.err
    trained = json.loads((out / "model" / "manifest.json").read_text())["facts"]
    assert 0 < trained["trained"] < trained["parameters"] / 2
    assert f"{trained['trained']:,} trained" in done.err
    assert checkpoint_class(out / "model") == "Qwen2ForCausalLM"
    run = trialigngr.load(out)
    assert len(run.recommend(run.live.catalog.ids[:2], k=3)) == 3
    card = (out / "model" / "README.md").read_text()
    assert "LoRA of rank 2, merged" in card
    assert f"**{trained['best']:.4f}**" in card
    assert "rank = 2" in card


def test_an_extra_level_has_no_codebook_and_keeps_its_rows(copied_run: Path, cli: Callable[..., Done]):
    changed = ("--set", "sids.collisions=extra_level", "--set", "model.sid_rows=codebook")
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(), *changed)
    assert done.code == 0, done.err


def test_bf16_weights_without_lora_are_a_sentence(copied_run: Path, cli: Callable[..., Done]):
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(model__weights="bf16"))
    assert done.code == 2
    assert "model.weights = bf16 is for frozen weights" in done.err


def test_the_plan_says_parameters_steps_and_hours(tiny_run: Path, cli: Callable[..., Done]):
    done = cli("plan", "trialigngr-demo", "--out", tiny_run, *tiny(), "--rate", "1000")
    trained = json.loads((tiny_run / "model" / "manifest.json").read_text())["facts"]
    assert done.code == 0, done.err
    assert f"{trained['parameters'] / 1e6:,.1f}M parameters" in done.out
    assert f"at most {trained['planned_steps']} steps of 32" in done.out
    assert "hours at 1,000 tokens/s" in done.out
    before = cli("plan", "trialigngr", "--out", tiny_run.parent / "not-yet")
    assert "7,7" in before.out
    assert "known when the catalogue is done" in before.out
    assert cli("plan", "trialigngr-demo", "--rate", "0").code == 2
