"""A pretrained backbone, from recipe to recommendation: LoRA, codebook rows, the narrowed softmax, a model card."""

from __future__ import annotations

import json
import re
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
    assert "and so are the hours that --rate asks for" in cli("plan", "trialigngr", "--rate", "9").out


def told(done: Done, pattern: str) -> list[str]:
    assert done.code == 0, done.err
    (found,) = re.findall(pattern, done.out)
    return [found] if isinstance(found, str) else list(found)


def test_the_plan_of_a_data_folder_is_that_of_its_finished_catalogue(
    tiny_run: Path, tmp_path: Path, cli: Callable[..., Done]
):
    words = ["plan", "trialigngr-demo", *tiny(train__max_steps=99_999), "--rate", "1000", "--out"]
    line = r"[\d,]+ examples or fewer, at most [\d,]+ steps of 32, about .* hours at 1,000 tokens/s"
    known = told(cli(*words, tiny_run), line)
    before = cli(*words, tmp_path / "new", "--data", tiny_run / "shop")
    assert told(before, line) == known
    assert before.out.count("to do") == 7
    assert not before.err
    assert not (tmp_path / "new").exists()
    # What stands there is of other settings.
    other = cli(*words, tiny_run, "--data", tiny_run / "shop", "--set", "catalog.last=2")
    assert told(other, line) != known


def test_the_plan_divides_what_is_held_in_shares(tmp_path: Path, cli: Callable[..., Done]):
    words = ["plan", "trialigngr", "--out", tmp_path / "new"]
    held = r"about ([\d.]+) GB per device: weights ([\d.]+), gradients and optimizer ([\d.]+), .* at once ([\d.]+)\n"

    def gigabytes(*more: str) -> list[float]:
        return [float(one) for one in told(cli(*words, *more), held)]

    one, shared = gigabytes(), gigabytes("--set", "train.shard=true", "--devices", "8")
    assert shared[1:3] == pytest.approx([one[1] / 8, one[2] / 8], abs=0.1)
    assert shared[3] == one[3]
    assert shared[0] == pytest.approx(sum(shared[1:]), abs=0.2)
    assert gigabytes("--devices", "8") == one
    assert "each of 8 devices holds the whole model" in cli(*words, "--devices", "8").out
    alone = cli(*words, "--set", "train.shard=true")
    assert "where train.shard cannot train; --devices N tells" in alone.out
    assert cli(*words, "--devices", "0").code == 2
