"""What training will take, before anything is loaded: parameters, memory per device, steps, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from trialigngr.catalog.histories import Histories
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.hub import read_config, reason_of
from trialigngr.models.settings import BackboneSettings
from trialigngr.tasks.settings import PromptSettings, TaskSettings
from trialigngr.tasks.task import Scope, Task, View
from trialigngr.train.limits import MAX_CPU_LOGITS
from trialigngr.train.phases import PhaseSpec
from trialigngr.train.settings import TrainSettings

TURN_TOKENS = 6
"""Tokens of an assistant's header and the end of its turn, about."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Parameters (all, and those trained), and about how many bytes training holds on each device."""

    parameters: int
    trainable_parameters: int
    weight_bytes: int
    optimizer_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a language model. ``linear_sizes`` are the (inputs, outputs) of the layers that LoRA adapts,
    ``num_tables`` how many embedding tables it has: one where words read and words written share it."""

    parameters: int
    hidden_size: int
    ffn_size: int
    num_layers: int
    vocab_size: int
    linear_sizes: tuple[tuple[int, int], ...]
    num_tables: int


def measure_model(settings: BackboneSettings, sid_tokens: int) -> ModelShape:
    """Return the shape of the model to be trained: of a local folder, or of the sizes in the settings.

    Nothing is fetched, so a hub's model is what ``num_layers``, ``hidden_size`` and the like say.
    """
    if settings.name_or_path != "scratch" and (Path(settings.name_or_path) / "config.json").is_file():
        return _measure_folder(settings.name_or_path, sid_tokens)
    return _measure_scratch(settings, settings.vocab_size + sid_tokens)


def _measure_scratch(settings: BackboneSettings, vocab_size: int) -> ModelShape:
    """Return the shape of a Qwen2 of these sizes."""
    hidden, ffn = settings.hidden_size, settings.ffn_size
    keys = hidden // settings.num_heads * (settings.num_kv_heads or settings.num_heads)
    attention = ((hidden, hidden), (hidden, keys), (hidden, keys), (hidden, hidden))
    linear = (*attention, (hidden, ffn), (hidden, ffn), (ffn, hidden))
    biases, norms = hidden + 2 * keys, 2 * hidden
    layer = sum(inputs * outputs for inputs, outputs in linear) + biases + norms
    tables = 1 if settings.tie_embeddings else 2
    return ModelShape(
        parameters=settings.num_layers * layer + tables * vocab_size * hidden + hidden,
        hidden_size=hidden,
        ffn_size=ffn,
        num_layers=settings.num_layers,
        vocab_size=vocab_size,
        linear_sizes=linear * settings.num_layers,
        num_tables=tables,
    )


def _measure_folder(name: str, sid_tokens: int) -> ModelShape:
    """Return the shape of a local model, counted on one without memory, as architectures differ."""
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM

    config = _read_config(name)
    config.vocab_size += sid_tokens
    with torch.device("meta"):
        empty: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head, table = empty.get_output_embeddings(), empty.get_input_embeddings()
    layers = [layer for layer in empty.modules() if isinstance(layer, nn.Linear) and layer is not head]
    return ModelShape(
        parameters=sum(parameter.numel() for parameter in empty.parameters()),
        hidden_size=config.hidden_size,
        ffn_size=config.intermediate_size,
        num_layers=config.num_hidden_layers,
        vocab_size=config.vocab_size,
        linear_sizes=tuple((layer.in_features, layer.out_features) for layer in layers),
        num_tables=1 if head.weight is table.weight else 2,
    )


def _read_config(name: str) -> Any:
    try:
        return read_config(name)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.name_or_path = {name!r} cannot be loaded ({reason_of(error)}).") from None


def estimate_memory(
    model: BackboneSettings, train: TrainSettings, sid_tokens: int, phases: Sequence[PhaseSpec] = ()
) -> MemoryEstimate:
    """Return what training a model takes on each device.

    States are gradient, two moments of AdamW and the average of the weights, in fp32. Activations follow Korthikanti
    et al. 2022 (Eq. 2) without the attention's square, which rows keep small. One of ``phases`` may keep a second copy
    of the weights.
    """
    shape = measure_model(model, sid_tokens)
    added, rows = _count_lora_parameters(shape, model.lora.rank, sid_tokens) if model.lora.rank else (0, 0)
    trained = added + rows or shape.parameters
    each = 2 if model.weight_dtype == "bf16" else 4
    copies = 2 if any(phase.holds_reference for phase in phases) and not model.lora.rank else 1
    return MemoryEstimate(
        parameters=shape.parameters + added,
        trainable_parameters=trained,
        weight_bytes=copies * shape.parameters * each
        + (added + rows) * 4,  # peft keeps the trained rows beside the table
        optimizer_bytes=trained * (4 + 8 + 4 * bool(train.ema_decay)),
        activation_bytes=_estimate_activations(shape, model, train),
    )


def _count_lora_parameters(shape: ModelShape, rank: int, sid_tokens: int) -> tuple[int, int]:
    """Return the parameters that LoRA of a rank trains: its matrices', and those of the SID rows of each table."""
    matrices = sum(rank * (inputs + outputs) for inputs, outputs in shape.linear_sizes)
    return matrices, shape.num_tables * sid_tokens * shape.hidden_size


def _estimate_activations(shape: ModelShape, model: BackboneSettings, train: TrainSettings) -> int:
    each = 24 * shape.hidden_size + 8 * shape.ffn_size
    if model.gradient_checkpointing:
        each += 2 * shape.hidden_size * shape.num_layers
    else:
        each *= shape.num_layers
    logits = 3 * 4 * min(MAX_CPU_LOGITS, train.micro_batch_tokens * shape.vocab_size)
    return int(train.micro_batch_tokens * each + logits)


def count_max_examples(tasks: Sequence[Task], histories: Histories, items: int) -> dict[str, int]:
    """Return task name → examples at most (items without a title or a caption are not known yet)."""
    prefixes = sum(max(len(sequence) - 1, 0) for sequence in histories.train_sequences())
    return {task.name: items if task.scope is Scope.ITEM else prefixes for task in tasks}


def count_max_steps(examples: dict[str, int], tasks: TaskSettings, train: TrainSettings) -> int:
    """Return the steps at most; validation may end it sooner."""
    steps = ceil(tasks.count_epoch_steps(examples, train.batch_size) * train.epochs)
    return min(steps, train.max_steps or steps)


def estimate_tokens(
    examples: dict[str, int], tasks: TaskSettings, train: TrainSettings, prompt: PromptSettings, num_levels: int
) -> int:
    """Return about how many tokens at most go through the model: with prefixes shared, an example adds one item."""
    steps = count_max_steps(examples, tasks, train)
    longest = {View.SID: num_levels, View.TITLE: prompt.max_title_tokens, View.VISUAL: prompt.max_visual_tokens}
    each = {task.name: longest[task.source] + TURN_TOKENS + longest[task.target] for task in tasks.list_tasks()}
    continued = {task.name for task in tasks.list_tasks() if prompt.history_in_completion and task.continues_history}
    # What a history of one target takes, the dearest.
    each |= dict.fromkeys(continued, 2 * num_levels - 1)
    if train.unlikelihood_weight:
        again = [task.name for task in tasks.list_tasks() if task.scope is not Scope.ITEM and task.target is View.SID]
        each |= {name: each[name] + (0 if name in continued else TURN_TOKENS) + num_levels - 1 for name in again}
    main, size = tasks.main_task, tasks.auxiliary_batch_size or train.batch_size
    total, begun = (0.0 if main is None else float(steps * train.batch_size * each[main])), 0
    for last, chances in tasks.build_curriculum(tasks.select_drawn_tasks(examples), steps):
        mean = sum(each[name] * chance for name, chance in chances.items()) / sum(chances.values())
        total += (last - begun) * size * mean
        begun = last
    return round(total)
