"""A pretrained backbone, from recipe to recommendation: LoRA, codebook rows, the narrowed softmax, a model card."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trialigngr
from tests.support.backbones import pretrained
from tests.support.commands import Done
from tests.support.runs import tiny, tiny_pretrained

CHANGES: dict[str, Any] = {
    "model__lora": {"rank": 2},
    "model__weight_dtype": "bf16",
    "model__sid_embedding_init": "codebook",
    "model__gradient_checkpointing": True,
    "train__loss_softmax": "level",
    "train__ema_decay": 0.5,
    "decode__score_softmax": "constrained",
    "train__max_steps": 4,
    "train__validate_users": 5,
    "tasks__curriculum": [{"until": 0.5, "weights": {"T1": 1, "T3": 1}}],
}


def test_lora_on_a_pretrained_model_runs_to_its_end(tmp_path: Path, copied_run: Path, cli: Callable[..., Done]):
    pytest.importorskip("peft")
    pretrained(tmp_path / "qwen", "qwen", tied=True, spare=0)
    out = copied_run
    done = cli("run", "trialigngr-demo", "--out", out, *tiny_pretrained(tmp_path / "qwen", **CHANGES))
    assert done.code == 0, done.err
    trained = json.loads((out / "model" / "manifest.json").read_text())["facts"]
    assert 0 < trained["trained"] < trained["parameters"] / 2
    assert f"{trained['trained']:,} trained" in done.err
    assert json.loads((out / "model" / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]
    run = trialigngr.load(out)
    assert len(run.recommend(run.catalog_snapshot.catalog.item_ids[:2], k=3)) == 3
    card = (out / "model" / "README.md").read_text()
    assert "LoRA of rank 2, merged" in card
    assert f"**{trained['valid_ndcg_10']:.4f}**" in card
    assert "rank = 2" in card


def test_an_extra_level_has_no_codebook_and_keeps_its_rows(copied_run: Path, cli: Callable[..., Done]):
    changed = ("--set", "sids.collision_policy=extra_level", "--set", "model.sid_embedding_init=codebook")
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(), *changed)
    assert done.code == 0, done.err


def test_bf16_weights_without_lora_are_a_sentence(copied_run: Path, cli: Callable[..., Done]):
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(model__weight_dtype="bf16"))
    assert done.code == 2
    assert "model.weight_dtype = bf16 is for frozen weights" in done.err


def test_the_plan_says_parameters_steps_and_hours(tiny_run: Path, cli: Callable[..., Done]):
    done = cli("plan", "trialigngr-demo", "--out", tiny_run, *tiny(), "--tokens-per-second", "1000")
    trained = json.loads((tiny_run / "model" / "manifest.json").read_text())["facts"]
    assert done.code == 0, done.err
    assert f"{trained['parameters'] / 1e6:,.1f}M parameters" in done.out
    assert f"at most {trained['planned_steps']} steps of 32" in done.out
    assert "hours at 1,000 tokens/s" in done.out
    before = cli("plan", "trialigngr", "--out", tiny_run.parent / "not-yet")
    assert "7,7" in before.out
    assert "known when the catalogue is done" in before.out
    assert cli("plan", "trialigngr-demo", "--tokens-per-second", "0").code == 2
    assert (
        "and so are the hours that --tokens-per-second asks for"
        in cli("plan", "trialigngr", "--tokens-per-second", "9").out
    )


def told(done: Done, pattern: str) -> list[str]:
    assert done.code == 0, done.err
    (found,) = re.findall(pattern, done.out)
    return [found] if isinstance(found, str) else list(found)


def test_the_plan_of_a_data_folder_is_that_of_its_finished_catalogue(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
):
    words = ["plan", "trialigngr-demo", *tiny(train__max_steps=99_999), "--tokens-per-second", "1000", "--out"]
    line = r"[\d,]+ examples or fewer, at most [\d,]+ steps of 32, about .* hours at 1,000 tokens/s"
    known = told(cli(*words, tiny_run), line)
    before = cli(*words, tmp_path / "new", "--data", tiny_run / "shop")
    assert told(before, line) == known
    assert before.out.count("to do") == 9
    assert not before.err
    assert not (tmp_path / "new").exists()
    # What stands there is of other settings.
    other = cli(*words, tiny_run, "--data", tiny_run / "shop", "--set", "catalog.leave_last_n=2")
    assert told(other, line) != known


def test_the_plan_divides_what_is_held_in_shares(tmp_path: Path, cli: Callable[..., Done]):
    words = ["plan", "trialigngr", "--out", tmp_path / "new"]
    held = r"about ([\d.]+) GB per device: weights ([\d.]+), gradients and optimizer ([\d.]+), .* at once ([\d.]+)\n"

    def gigabytes(*more: str) -> list[float]:
        return [float(one) for one in told(cli(*words, *more), held)]

    one, shared = gigabytes(), gigabytes("--set", "train.fsdp=true", "--devices", "8")
    assert shared[1:3] == pytest.approx([one[1] / 8, one[2] / 8], abs=0.1)
    assert shared[3] == one[3]
    assert shared[0] == pytest.approx(sum(shared[1:]), abs=0.2)
    assert gigabytes("--devices", "8") == one
    assert "each of 8 devices holds the whole model" in cli(*words, "--devices", "8").out
    alone = cli(*words, "--set", "train.fsdp=true")
    assert "where train.fsdp cannot train; --devices N tells" in alone.out
    assert cli(*words, "--devices", "0").code == 2
