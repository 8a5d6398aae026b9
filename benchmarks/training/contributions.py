"""What each part of our step gives, one laid on the other: bf16, target-only logits, packing, prefix sharing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from benchmarks.harness import side_by_side
from benchmarks.training.world import batches, plain, trainer
from trialigngr.foundation.device import autocast
from trialigngr.tasks.examples import unshare_rows
from trialigngr.tasks.mixture import TaskBatch
from trialigngr.tasks.packing import Continuation, SharedPrefixRow, pack_micro_batches
from trialigngr.train.attention import ATTENTION_NAME
from trialigngr.train.loop import Trainer
from trialigngr.train.loss import DeviceMicroBatch, compute_target_losses
from trialigngr.train.sft import SftObjective

Ours = Trainer[SftObjective]
Loss = Callable[[Ours, TaskBatch], Tensor]
CPU = torch.device("cpu")


def _padded(made: Ours, batch: TaskBatch, *, targets_only: bool) -> Tensor:
    """Return the loss of rows of their own, sorted by length and cut in two so that little is padded."""
    rows = sorted(plain(batch), key=lambda row: len(row[0]) + len(row[1]))
    made.objective.target_losses.model.set_attn_implementation("sdpa")
    losses = [_half(made, part, targets_only) for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
    return torch.cat(losses).mean()


def _half(made: Ours, rows: list[tuple[list[int], list[int]]], targets_only: bool) -> Tensor:
    tokens = [torch.tensor([*prompt, *target]) for prompt, target in rows]
    labels = [torch.tensor([*[-100] * len(prompt), *target]) for prompt, target in rows]
    tokens_BT, labels_BT = (
        pad_sequence(tokens, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=-100),
    )
    seen_BT = pad_sequence([torch.ones(len(row)) for row in tokens], batch_first=True).long()
    hidden_BTD = made.objective.target_losses.model.base_model(
        tokens_BT, attention_mask=seen_BT, use_cache=False
    ).last_hidden_state[:, :-1]
    wanted_BT = labels_BT[:, 1:]
    asked_BT = wanted_BT >= 0
    if targets_only:
        return cross_entropy(
            made.objective.target_losses.model.lm_head(hidden_BTD[asked_BT]).float(),
            wanted_BT[asked_BT],
            reduction="none",
        )
    logits_BTV = made.objective.target_losses.model.lm_head(hidden_BTD).float()
    return cross_entropy(logits_BTV.flatten(0, 1), wanted_BT.flatten(), reduction="none")[asked_BT.flatten()]


def _one_pass(made: Ours, header: list[int], sheets: list[SharedPrefixRow]) -> Tensor:
    made.objective.target_losses.model.set_attn_implementation(ATTENTION_NAME)
    (part,) = pack_micro_batches(header, sheets, 1 << 30)
    return compute_target_losses(made.model, DeviceMicroBatch.from_micro_batch(part, CPU)).mean()


def _packed(made: Ours, batch: TaskBatch) -> Tensor:
    """Return the loss of whole rows, header and all, side by side without padding: nothing is shared."""
    task, sheets = batch.task, batch.rows
    alone = unshare_rows(sheets)
    whole = [
        SharedPrefixRow(
            [*task.prompt_header, *sheet.prefix_tokens],
            [Continuation(len(task.prompt_header) + b.prefix_length, b.prompt_suffix, b.target, b.example_id)],
        )
        for sheet in alone
        for b in sheet.continuations
    ]
    return _one_pass(made, [], whole)


def _shared(made: Ours, batch: TaskBatch) -> Tensor:
    return _one_pass(made, batch.task.prompt_header, batch.rows)


LADDER: dict[str, tuple[str, Loss]] = {
    "fp32, rows, all logits": ("fp32", partial(_padded, targets_only=False)),
    "+ bf16": ("bf16", partial(_padded, targets_only=False)),
    "+ target-only logits": ("bf16", partial(_padded, targets_only=True)),
    "+ packing": ("bf16", _packed),
    "+ prefix sharing": ("bf16", _shared),
}


def measure(folder: Path, rounds: int) -> tuple[dict[str, float], float]:
    """Return examples/s of every rung, and the largest difference of the first batches' losses between two rungs."""
    made = trainer(folder, 6)
    made.model.train()
    six = batches(made, 6)
    losses: dict[str, list[float]] = {}

    def work(name: str) -> None:
        precision, loss_of = LADDER[name]
        losses[name] = []
        for batch in six:
            with autocast(CPU, precision):
                loss = loss_of(made, batch)
            loss.backward()
            losses[name].append(float(loss.detach()))
            made.optimizer.zero_grad()

    took = side_by_side({name: partial(work, name) for name in LADDER}, rounds)
    examples = sum(len(sheet.continuations) for batch in six for sheet in batch.rows)
    apart = max(max(found) - min(found) for found in zip(*losses.values(), strict=True))
    return {name: examples / seconds for name, seconds in took.items()}, apart
