"""`SftObjective`: supervised fine-tuning of a language model on a mixture of tasks, in packed rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from trialigngr.foundation.device import autocast, pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.models.backbone import Backbone
from trialigngr.models.compatibility import check_attention_is_causal, check_context_length
from trialigngr.models.layers import choose_decoding_attention, compile_layers
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.mixture import Mixture, TaskBatch
from trialigngr.tasks.packing import MicroBatch, SharedPrefixRow, pack_micro_batches
from trialigngr.tasks.settings import TaskSettings
from trialigngr.tasks.soft_targets import SoftTargets
from trialigngr.train.attention import ATTENTION_NAME as SHARED_PREFIX
from trialigngr.train.item_loss import ItemLoss
from trialigngr.train.loss import DeviceMicroBatch, TargetLosses, compute_trial_logits, weigh_losses
from trialigngr.train.phases import PhaseInputs
from trialigngr.train.process_group import SINGLE_PROCESS, ProcessGroup
from trialigngr.train.sampled_softmax import NegativeDraw
from trialigngr.train.settings import TrainSettings
from trialigngr.train.sharding import shard_losses
from trialigngr.train.trie_softmax import TrieSoftmax


class PackedRows:
    """A language model that reads packed rows: placed, checked, compiled or in shares as the settings say.

    What objectives over packed rows have in common.
    """

    unit = "tokens"

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        max_length: int,
        process_group: ProcessGroup,
        **losses: Any,
    ) -> None:
        """``losses`` is what `TargetLosses` takes besides."""
        self.settings, self.backbone, self.process_group = settings, backbone, process_group
        self.device = pick_device(settings.device)
        if settings.attn_implementation == "flex_attention" and self.device.type != "cuda":
            raise RecipeError("train.attn_implementation = flex_attention trains on CUDA alone; use sdpa here.")
        compiled = settings.torch_compile and self.device.type == "cuda"
        prepared = TargetLosses(backbone.model, compiled, backbone.items, **losses)
        self.target_losses = self._prepare_losses(prepared, max_length)
        # Shares are of the losses' own copy; items are not trained in shares.
        self.model = backbone.trained_module if backbone.items else self.target_losses.model
        self.whole_model = backbone.trained_module if backbone.items else backbone.model

    def _prepare_losses(self, losses: TargetLosses, max_length: int) -> TargetLosses:
        check_context_length(losses.model, max_length)
        placed = losses if self.settings.fsdp else losses.to(self.device)
        with autocast(placed.model.device, self.settings.precision):
            check_attention_is_causal(placed.model, compute_trial_logits)
        if self.settings.torch_compile:
            compile_layers(placed.model, whole_layers=self.settings.attn_implementation == "flex_attention")
        return shard_losses(losses, self.device, self.process_group) if self.settings.fsdp else placed

    def prepare_training(self) -> None:
        """Let the model attend to packed rows, with dropout."""
        self.model.train()
        self.target_losses.model.set_attn_implementation(SHARED_PREFIX)

    def prepare_validation(self) -> None:
        """Let the whole model decode, without dropout."""
        self.whole_model.eval()
        model = self.backbone.model
        model.set_attn_implementation(choose_decoding_attention(model))

    def pack_local_rows(
        self, header: list[int], rows: list[SharedPrefixRow]
    ) -> tuple[list[MicroBatch], list[MicroBatch]]:
        """Return this process' micro-batches, and what it goes through for nothing: all must take part where weights
        lie in shares, as often as whoever has the most to do."""
        mine, most = self.process_group.select_local_rows(rows), self.settings.micro_batch_tokens
        parts = list(pack_micro_batches(header, mine, most)) if mine else []
        if not self.settings.fsdp:
            return parts, []
        idle = self.process_group.all_reduce_max(len(parts)) - len(parts)
        return parts, [*pack_micro_batches(header, [min(rows, key=len)], most)] * idle

    def move_to_device(self, micro_batch: MicroBatch) -> DeviceMicroBatch:
        """Return a micro-batch on the device, laid out for the attention that trains."""
        return DeviceMicroBatch.from_micro_batch(micro_batch, self.device, self.settings.attn_implementation)


class SftObjective(PackedRows):
    """Cross-entropy of the tasks' targets, one or two tasks a batch; ``level_V`` narrows the softmax of SID tokens to
    their level."""

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        tasks: Mapping[str, TaskExamples],
        task_settings: TaskSettings,
        seed: int,
        *,
        process_group: ProcessGroup = SINGLE_PROCESS,
        level_V: Tensor | None = None,
        token_weights_V: Tensor | None = None,
        trie_softmax: TrieSoftmax | None = None,
        soft_targets: SoftTargets | None = None,
    ) -> None:
        drawn = {name: task for name, task in tasks.items() if task_settings.is_ever_drawn(name)}
        examples = {name: len(task) for name, task in drawn.items()}
        steps = math.ceil(task_settings.count_epoch_steps(examples, settings.batch_size) * settings.epochs)
        self.num_steps = min(steps, settings.max_steps or steps)
        self.mixture = Mixture(
            drawn,
            task_settings,
            settings.batch_size,
            self.num_steps,
            seed,
            with_negatives=settings.unlikelihood_weight > 0,
            deletion=settings.item_deletion,
            soft_targets=soft_targets,
        )
        longest = max(one.settings.max_length for one in drawn.values())
        super().__init__(
            settings,
            backbone,
            longest,
            process_group,
            item_loss=_build_item_loss(settings, backbone, drawn),
            token_weights_V=token_weights_V,
            trie_softmax=trie_softmax,
            temperature=settings.temperature,
        )
        self.level_V = None if level_V is None else level_V.to(self.device)

    def draw_batch(self, step: int) -> TaskBatch:
        """Return the task of a step and its examples."""
        return self.mixture.draw_batch(step)

    def iter_micro_losses(self, batch: TaskBatch) -> Iterator[Tensor]:
        """Yield each micro-batch's share of the mean over all targets of the batch, which nobody waits for here: a GPU
        computes while the next one is laid out."""
        for part in batch.parts:
            yield from (part.loss_weight * loss for loss in self._iter_task_losses(part))

    def _iter_task_losses(self, batch: TaskBatch) -> Iterator[Tensor]:
        targets = sum(row.num_targets for row in batch.rows)
        parts, idle = self.pack_local_rows(batch.task.prompt_header, batch.rows)
        for part, num_targets in (*((part, targets) for part in parts), *((part, math.inf) for part in idle)):
            with autocast(self.device, self.settings.precision):
                laid_out = self.move_to_device(part)
                losses_M: Any = weigh_losses(
                    self.target_losses(laid_out, self.level_V), laid_out, self.settings.unlikelihood_weight
                )
                loss: Tensor = losses_M.sum() / num_targets
            yield loss


def _build_item_loss(settings: TrainSettings, backbone: Backbone, tasks: Mapping[str, TaskExamples]) -> ItemLoss | None:
    """Return the loss of items; None where none is wanted."""
    items = backbone.items
    if items is None or not (items.settings.loss_weight or items.settings.alignment_weight):
        return None
    counts_N = next(iter(tasks.values())).histories.count_train_items(len(items.features_NF))
    draw = NegativeDraw.from_counts(items.settings.num_negatives, counts_N, pick_device(settings.device))
    return ItemLoss(items, draw)


def build_sft_objective(inputs: PhaseInputs) -> SftObjective:
    """Return the objective of phase ``sft``."""
    return SftObjective(
        inputs.train,
        inputs.backbone,
        inputs.tasks,
        inputs.task_settings,
        inputs.seed,
        process_group=inputs.process_group,
        level_V=inputs.level_V,
        token_weights_V=inputs.token_weights_V,
        trie_softmax=inputs.trie_softmax,
        soft_targets=inputs.soft_targets,
    )
