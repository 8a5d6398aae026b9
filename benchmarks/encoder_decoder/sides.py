"""One side of the benchmark in a process of its own: ``python -m benchmarks.encoder_decoder.sides SIDE FOLDER STEPS``.

``ours`` is our training step; ``theirs`` is Hugging Face's `Trainer` on the same examples, as its length grouping
arranges them. Each writes ``SIDE.json``: CPU seconds and loss of each step.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer as TheirTrainer
from transformers import TrainerCallback, TrainingArguments

from benchmarks.tokenizers.data import SHARED
from trialigngr.catalog.dataset import load_dataset
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.datasets.synthetic.draw import draw_shop
from trialigngr.datasets.synthetic.settings import ShopSettings
from trialigngr.seq2seq.model import Seq2SeqGenerator
from trialigngr.seq2seq.settings import TigerSettings
from trialigngr.seq2seq.training import Seq2SeqObjective
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.train.loop import Trainer
from trialigngr.train.settings import LoopSettings

BATCH = TigerSettings().batch_size
SIZES = (256, 256, 256, 4)
"""The last level as wide as collisions make it."""
Record = dict[str, list[float]]


def write_world(folder: Path) -> str:
    """Write catalogue and SIDs into ``folder``; return the name of the data."""
    source, name = SHARED / "amazon_beauty", "Beauty"
    if not source.is_dir():
        source, name = folder / "shop", "the drawn shop"
        source.mkdir()
        draw_shop(source, ShopSettings())
    (folder / "catalog").mkdir()
    prepare_catalog(CatalogSettings(), source, folder / "catalog")
    ids, random = load_dataset(folder / "catalog").catalog.item_ids, np.random.default_rng(0)
    codes_NL = np.column_stack([random.integers(0, size, len(ids)) for size in SIZES]).astype(np.int32)
    (folder / "sids").mkdir()
    SemanticIds(ids, codes_NL, SIZES).save(folder / "sids")
    return name


def build_trainer(folder: Path, steps: int) -> Trainer[Seq2SeqObjective]:
    """Return our trainer, the model as it begins."""
    torch.manual_seed(0)
    settings = TigerSettings()
    generator = Seq2SeqGenerator("tiger", settings, SIZES, "cpu")
    objective = Seq2SeqObjective(
        generator, load_dataset(folder / "catalog").histories, SemanticIds.load(folder / "sids"), 0
    )
    loop = LoopSettings(learning_rate=settings.learning_rate, warmup_ratio=0.0, device="cpu")
    return Trainer(loop, objective, lambda _model: {}, 0, lr_scheduler="constant")


def train_ours(folder: Path, steps: int) -> Record:
    """Return what our step takes and loses."""
    trainer = build_trainer(folder, steps)
    record: Record = {"seconds": [], "loss": []}
    for step in range(steps):
        start = time.process_time()
        record["loss"].append(trainer.train_step(step, trainer.objective.draw_batch(step)))
        record["seconds"].append(time.process_time() - start)
    return record


class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
    """Notes when each step ended, and each logged loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_train_begin(self, *_args: Any, **_more: Any) -> None:
        """Note when."""
        self.ends.append(time.process_time())

    def on_step_end(self, *_args: Any, **_more: Any) -> None:
        """Note when: from end to end, so that the batch's making counts as it does for ours."""
        self.ends.append(time.process_time())

    def on_log(self, *_args: Any, logs: dict[str, float], **_more: Any) -> None:
        """Note the loss."""
        if "loss" in logs:
            self.losses.append(logs["loss"])


def train_theirs(folder: Path, steps: int) -> Record:
    """Return what Hugging Face's `Trainer` takes and loses: dynamic padding, the same optimizer."""
    trainer = build_trainer(folder, steps)
    rows = [
        {"input_ids": source[source > 0].tolist(), "labels": label.tolist()}
        for step in range(steps)
        for part in trainer.objective.draw_batch(step).micro_batches
        for source, label in zip(part.sources_BT, part.labels_BL, strict=True)
    ]
    schedule = torch.optim.lr_scheduler.ConstantLR(trainer.optimizer, factor=1.0)
    watch = _Watch()
    settings = TrainingArguments(
        output_dir=str(folder / "theirs"), per_device_train_batch_size=BATCH, max_steps=steps, bf16=False,
        use_cpu=True, train_sampling_strategy="group_by_length", logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True,
    )  # fmt: skip
    both = (trainer.optimizer, schedule)
    theirs: Any = TheirTrainer(trainer.model, settings, _collate, rows, callbacks=[watch], optimizers=both)
    theirs.train()
    return {"seconds": np.diff(watch.ends).tolist(), "loss": watch.losses}


def _collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)
    sources_BT = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
    labels_BL = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": sources_BT, "attention_mask": (sources_BT > 0).long(), "labels": labels_BL}


SIDES: dict[str, Callable[[Path, int], Record]] = {"ours": train_ours, "theirs": train_theirs}

if __name__ == "__main__":
    side, where, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    (where / f"{side}.json").write_text(json.dumps(SIDES[side](where, count)), encoding="utf-8")
