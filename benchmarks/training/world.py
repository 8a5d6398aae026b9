"""What both sides train on: T1 to T6 of Beauty (or the drawn shop), and the 4 × 256 backbone, made once and saved."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.tokenizers.data import SHARED, beauty, shop
from trialigngr.catalog.dataset import Dataset, load_dataset
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.datasets.synthetic.draw import draw_shop
from trialigngr.datasets.synthetic.settings import ShopSettings
from trialigngr.foundation.seeds import derive_seed
from trialigngr.models.backbone import load_backbone
from trialigngr.models.build import build_backbone
from trialigngr.models.settings import BackboneSettings
from trialigngr.sids.quantizers.registry import load_fit_function
from trialigngr.sids.semantic_ids import SemanticIds, list_sid_tokens
from trialigngr.sids.settings import SidSettings
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.item_views import collapse_whitespace, encode_views
from trialigngr.tasks.mixture import TaskBatch
from trialigngr.tasks.settings import PromptSettings, TaskSettings
from trialigngr.tasks.task import TASKS, View
from trialigngr.train.loop import Trainer
from trialigngr.train.settings import TrainSettings
from trialigngr.train.sft import SftObjective

BATCH = int(os.environ.get("TRIALIGNGR_BENCH_BATCH", "64"))
SIZES = (256, 256, 256)
USED = tuple(task for task in TASKS.values() if task.number <= "T6")


def make(folder: Path) -> str:
    """Write catalogue, SIDs and backbone into ``folder``; return the name of the data."""
    source, name = SHARED / "amazon_beauty", "Beauty"
    vectors_ND = beauty()
    if vectors_ND is None:
        source, name = folder / "shop", "the drawn shop"
        source.mkdir()
        draw_shop(source, ShopSettings())
        vectors_ND = shop()[0]
    (folder / "catalog").mkdir()
    prepare_catalog(CatalogSettings(), source, folder / "catalog")
    dataset = load_dataset(folder / "catalog")
    codes_NL = load_fit_function("rqkmeans")(vectors_ND, SIZES, SidSettings().rqkmeans, 0).encode(vectors_ND)
    (folder / "sids").mkdir()
    SemanticIds(dataset.catalog.item_ids, codes_NL, SIZES).save(folder / "sids")
    words = [task.system for task in USED] * 200 + [task.instruction for task in USED] * 200
    titles = [collapse_whitespace(item.title) for item in dataset.catalog if item.title]
    build_backbone(BackboneSettings(), list_sid_tokens(SIZES), titles + words, seed=0).save(folder / "model")
    return name


def trainer(folder: Path, steps: int, precision: str = "bf16") -> Trainer[SftObjective]:
    """Return our trainer over all six tasks, uniformly drawn, the model as it was made."""
    dataset: Dataset = load_dataset(folder / "catalog")
    backbone = load_backbone(folder / "model", list_sid_tokens(SIZES))
    chat = ChatTemplate(backbone.tokenizer)
    sids = SemanticIds.load(folder / "sids")
    limits = {View.TITLE: 20, View.VISUAL: 20}
    views = encode_views(dataset.catalog, sids, [None] * len(sids), chat, limits)
    prompt = PromptSettings(max_title_tokens=20)
    tasks = {task.name: TaskExamples(task, views, dataset.histories, chat, prompt) for task in USED}
    settings = TrainSettings.model_validate(
        {"batch_size": BATCH, "max_steps": steps, "learning_rate": 1e-3, "precision": precision, "device": "cpu"}
    )
    return Trainer(settings, SftObjective(settings, backbone, tasks, TaskSettings(), 0), lambda _model: {}, 0)


def batches(made: Trainer[SftObjective], steps: int) -> list[TaskBatch]:
    """Return ``steps`` batches, as many of each task as of the next, in drawn order."""
    tasks = list(made.objective.mixture.tasks.values())
    drawn = [(task, number) for number in range(-(-steps // len(tasks))) for task in tasks][:steps]
    order = np.random.default_rng(derive_seed(0, "benchmark")).permutation(len(drawn))
    return [TaskBatch(task, task.draw_batch(0, n, BATCH), n) for task, n in (drawn[place] for place in order)]


def plain(batch: TaskBatch) -> list[tuple[list[int], list[int]]]:
    """Return prompt and target of every example of a batch."""
    return [
        (
            [*batch.task.prompt_header, *sheet.prefix_tokens[: branch.prefix_length], *branch.prompt_suffix],
            branch.target,
        )
        for sheet in batch.rows
        for branch in sheet.continuations
    ]
