"""What the plan says of training is what training then has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.test_backbone import SIDS, pretrained
from tests.tasks.conftest import TEXTS, World
from trialigngr.models.backbone import BackboneSettings, build_backbone, parameter_counts
from trialigngr.models.lora import LoraSettings
from trialigngr.tasks.examples import PromptSettings
from trialigngr.tasks.task import TASKS, TaskSettings
from trialigngr.train.settings import TrainSettings
from trialigngr.train.size import examples_of, size_of, steps_of, tokens_of

TRAIN = TrainSettings(batch_size=10, epochs=2)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [0, 1])
def test_parameters_from_scratch(tied: bool, kv_heads: int):
    sizes = {"layers": 2, "width": 32, "heads": 2, "kv_heads": kv_heads, "feed_forward": 48, "tied": tied}
    made = build_backbone(BackboneSettings(**sizes, vocabulary=300), SIDS, TEXTS, 0)
    words = len(made.tokenizer) - len(SIDS)
    counted = size_of(BackboneSettings(**sizes, vocabulary=words), TRAIN, len(SIDS))
    assert {"parameters": counted.parameters, "trained": counted.trained} == parameter_counts(made.model)
    # fp32: the weights, and three times as much for gradient and moments.
    assert (counted.weights, counted.states) == (4 * counted.parameters, 12 * counted.parameters)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_of_a_folder_with_lora(tmp_path: Path, tied: bool):
    pytest.importorskip("peft")
    pretrained(tmp_path, "qwen", tied=tied, spare=0)
    settings = BackboneSettings(name=str(tmp_path), lora=LoraSettings(rank=4), weights="bf16")
    made, counted = build_backbone(settings, SIDS, [], 0), size_of(settings, TRAIN, len(SIDS))
    assert counted.trained == parameter_counts(made.model)["trained"]
    assert counted.states == 12 * counted.trained


def test_the_paper_s_backbone_by_its_card():
    sizes = {"layers": 28, "width": 3584, "heads": 28, "kv_heads": 4, "feed_forward": 18944}
    qwen = BackboneSettings(name="Qwen/Qwen2.5-7B-Instruct", **sizes, vocabulary=152064, tied=False)
    # 7,615,616,512 parameters of Qwen2.5-7B, and a row in and out for each of 7,168 codes.
    assert size_of(qwen, TRAIN, 7168).parameters == 7_615_616_512 + 2 * 7168 * 3584


def test_checkpointing_and_fewer_tokens_at_once_take_less_memory():
    model = BackboneSettings(layers=8)
    usual = size_of(model, TRAIN, 768).activations
    assert size_of(model.model_copy(update={"gradient_checkpointing": True}), TRAIN, 768).activations < usual
    fewer = TRAIN.model_copy(update={"pass_tokens": 1024})
    assert size_of(model, fewer, 768).activations < usual / 4


def test_steps_and_tokens_by_hand():
    world = World()
    settings = TaskSettings(use=("T1", "T3"))
    found = examples_of(settings.tasks(), world.histories, 12)
    # Eight shoppers with 3, 4, 7, 9, 12, 20, 31, 3 items; two each are held out, the first is never asked for.
    assert found == {"title_to_sid": 12, "sids_to_sid": 89 - 8 * 3}
    assert found["sids_to_sid"] == len(world.examples("sids_to_sid"))
    assert steps_of(found, settings, TRAIN) == 2 * 8
    assert steps_of(found, TaskSettings(use=("T1", "T3"), weights={"T3": 0}), TRAIN) == 2 * 2
    # 16 steps of 10; half T1 (20 + 6 + 3 tokens), half T3 (3 + 6 + 3).
    tokens = tokens_of(found, settings, TRAIN, PromptSettings(title_tokens=20), 3)
    assert tokens == 16 * 10 * (29 + 12) / 2
    # The item before and all of the next but its last token.
    fewer = tokens_of(found, settings, TRAIN, PromptSettings(title_tokens=20, continued=True), 3)
    assert fewer == 16 * 10 * (29 + 5) / 2
    # What must not be written again takes a target's tokens once more, but for the last.
    unlike = TRAIN.model_copy(update={"unlikelihood": 1.0})
    assert tokens_of(found, settings, unlike, PromptSettings(title_tokens=20), 3) == 16 * 10 * (29 + 12 + 6 + 2) / 2
    more = tokens_of(found, settings, unlike, PromptSettings(title_tokens=20, continued=True), 3)
    assert more == 16 * 10 * (29 + 5 + 2) / 2
    assert set(TASKS) >= set(found)
