"""One side of the benchmark in a process of its own: ``python -m benchmarks.training.sides SIDE FOLDER STEPS``.

``ours`` is our training step; ``same`` is Hugging Face's `Trainer` on the same batches, ``grouped`` on the same
examples as its length grouping arranges them. Each writes ``SIDE.json``: seconds and loss of each step.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import DataCollatorForSeq2Seq, TrainerCallback, TrainingArguments
from transformers import Trainer as TheirTrainer

from benchmarks.training.world import BATCH, batches, plain, trainer

Record = dict[str, list[float]]


def ours(folder: Path, steps: int) -> Record:
    """Return what our step takes and loses, batch after batch."""
    made = trainer(folder, steps)
    record: Record = {"seconds": [], "loss": []}
    for step, batch in enumerate(batches(made, steps)):
        start = time.perf_counter()
        record["loss"].append(made.train_step(step, batch))
        record["seconds"].append(time.perf_counter() - start)
    return record


class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
    """Notes the time of each step, and each logged loss."""

    def __init__(self) -> None:
        self.record: Record = {"seconds": [], "loss": []}
        self.start = 0.0

    def on_step_begin(self, *_args: Any, **_more: Any) -> None:
        """Note when."""
        self.start = time.perf_counter()

    def on_step_end(self, *_args: Any, **_more: Any) -> None:
        """Note how long."""
        self.record["seconds"].append(time.perf_counter() - self.start)

    def on_log(self, *_args: Any, logs: dict[str, float], **_more: Any) -> None:
        """Note the loss."""
        if "loss" in logs:
            self.record["loss"].append(logs["loss"])


def theirs(folder: Path, steps: int, sampling: str) -> Record:
    """Return what Hugging Face's `Trainer` takes and loses: rows of their own, dynamic padding, the same optimizer."""
    made = trainer(folder, steps)
    rows = [
        {"input_ids": [*prompt, *target], "labels": [*[-100] * len(prompt), *target]}
        for batch in batches(made, steps)
        for prompt, target in plain(batch)
    ]
    model, tokenizer = made.objective.backbone.model, made.objective.backbone.tokenizer
    model.train()
    schedule = torch.optim.lr_scheduler.LambdaLR(
        made.optimizer, lambda step: made.learning_rate_at(step) / made.settings.learning_rate
    )
    watch = _Watch()
    settings = TrainingArguments(
        output_dir=str(folder / "theirs"),
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        max_grad_norm=made.settings.max_grad_norm,
        bf16=True,
        use_cpu=True,
        train_sampling_strategy=sampling,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    collate: Any = DataCollatorForSeq2Seq(tokenizer, padding=True)
    both = (made.optimizer, schedule)
    trains: Any = TheirTrainer(model, settings, collate, rows, callbacks=[watch], optimizers=both)
    trains.train()
    return watch.record


SIDES: dict[str, Callable[[Path, int], Record]] = {
    "ours": ours,
    "same": lambda folder, steps: theirs(folder, steps, "sequential"),
    "grouped": lambda folder, steps: theirs(folder, steps, "group_by_length"),
}

if __name__ == "__main__":
    side, where, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    (where / f"{side}.json").write_text(json.dumps(SIDES[side](where, count)), encoding="utf-8")
