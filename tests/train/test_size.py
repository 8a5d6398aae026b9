"""What the plan says of training is what training then has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backbones import SIDS, pretrained
from tests.support.world import TEXTS, World
from trialigngr.models.backbone import count_parameters
from trialigngr.models.build import build_backbone
from trialigngr.models.settings import BackboneSettings, LoraSettings
from trialigngr.tasks.settings import PromptSettings, TaskSettings
from trialigngr.tasks.task import TASKS
from trialigngr.train.estimate import count_max_examples, count_max_steps, estimate_memory, estimate_tokens
from trialigngr.train.settings import TrainSettings

TRAIN = TrainSettings(batch_size=10, epochs=2)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [0, 1])
def test_parameters_from_scratch(tied: bool, kv_heads: int):
    sizes = {
        "num_layers": 2, "hidden_size": 32, "num_heads": 2, "num_kv_heads": kv_heads, "ffn_size": 48,
        "tie_embeddings": tied,
    }  # fmt: skip
    made = build_backbone(BackboneSettings(**sizes, vocab_size=300), SIDS, TEXTS, 0)
    words = len(made.tokenizer) - len(SIDS)
    counted = estimate_memory(BackboneSettings(**sizes, vocab_size=words), TRAIN, len(SIDS))
    assert {"parameters": counted.parameters, "trained": counted.trainable_parameters} == count_parameters(made.model)
    # fp32: the weights, and three times as much for gradient and moments.
    assert (counted.weight_bytes, counted.optimizer_bytes) == (4 * counted.parameters, 12 * counted.parameters)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_of_a_folder_with_lora(tmp_path: Path, tied: bool):
    pytest.importorskip("peft")
    pretrained(tmp_path, "qwen", tied=tied, spare=0)
    settings = BackboneSettings(name_or_path=str(tmp_path), lora=LoraSettings(rank=4), weight_dtype="bf16")
    made, counted = build_backbone(settings, SIDS, [], 0), estimate_memory(settings, TRAIN, len(SIDS))
    assert counted.trainable_parameters == count_parameters(made.model)["trained"]
    assert counted.optimizer_bytes == 12 * counted.trainable_parameters


def test_the_paper_s_backbone_by_its_card():
    sizes = {"num_layers": 28, "hidden_size": 3584, "num_heads": 28, "num_kv_heads": 4, "ffn_size": 18944}
    qwen = BackboneSettings(name_or_path="Qwen/Qwen2.5-7B-Instruct", **sizes, vocab_size=152064, tie_embeddings=False)
    # 7,615,616,512 parameters of Qwen2.5-7B, and a row in and out for each of 7,168 codes.
    assert estimate_memory(qwen, TRAIN, 7168).parameters == 7_615_616_512 + 2 * 7168 * 3584


def test_checkpointing_and_fewer_tokens_at_once_take_less_memory():
    model = BackboneSettings(num_layers=8)
    usual = estimate_memory(model, TRAIN, 768).activation_bytes
    assert (
        estimate_memory(model.model_copy(update={"gradient_checkpointing": True}), TRAIN, 768).activation_bytes < usual
    )
    fewer = TRAIN.model_copy(update={"micro_batch_tokens": 1024})
    assert estimate_memory(model, fewer, 768).activation_bytes < usual / 4


def test_steps_and_tokens_by_hand():
    world = World()
    settings = TaskSettings(use=("T1", "T3"))
    found = count_max_examples(settings.list_tasks(), world.histories, 12)
    # Eight shoppers with 3, 4, 7, 9, 12, 20, 31, 3 items; two each are held out, the first is never asked for.
    assert found == {"title_to_sid": 12, "sids_to_sid": 89 - 8 * 3}
    assert found["sids_to_sid"] == len(world.examples("sids_to_sid"))
    assert count_max_steps(found, settings, TRAIN) == 2 * 8
    assert count_max_steps(found, TaskSettings(use=("T1", "T3"), weights={"T3": 0}), TRAIN) == 2 * 2
    # 16 steps of 10; half T1 (20 + 6 + 3 tokens), half T3 (3 + 6 + 3).
    tokens = estimate_tokens(found, settings, TRAIN, PromptSettings(max_title_tokens=20), 3)
    assert tokens == 16 * 10 * (29 + 12) / 2
    # The item before and all of the next but its last token.
    fewer = estimate_tokens(found, settings, TRAIN, PromptSettings(max_title_tokens=20, history_in_completion=True), 3)
    assert fewer == 16 * 10 * (29 + 5) / 2
    # What must not be written again takes a target's tokens once more, but for the last.
    unlike = TRAIN.model_copy(update={"unlikelihood_weight": 1.0})
    assert (
        estimate_tokens(found, settings, unlike, PromptSettings(max_title_tokens=20), 3)
        == 16 * 10 * (29 + 12 + 6 + 2) / 2
    )
    more = estimate_tokens(found, settings, unlike, PromptSettings(max_title_tokens=20, history_in_completion=True), 3)
    assert more == 16 * 10 * (29 + 5 + 2) / 2
    assert set(TASKS) >= set(found)
