"""Training of an encoder–decoder generator by the loop that trains the language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.device import autocast
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.ranks import Ranks, compute_target_metrics
from trialigngr.seq2seq.batches import NO_TARGET, PaddedExamples, Seq2SeqBatch, build_training_examples
from trialigngr.seq2seq.model import Seq2SeqGenerator
from trialigngr.seq2seq.settings import Seq2SeqSettings
from trialigngr.seq2seq.t5_pass import T5Pass
from trialigngr.seq2seq.vocabulary import PAD_TOKEN
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.train.checkpoint import remove_checkpoints
from trialigngr.train.loop import Trainer
from trialigngr.train.settings import LoopSettings

CPU_MICRO_TOKENS, MICRO_TOKENS = 2048, 32768
"""Tokens that the encoder reads at once: so many that what a layer makes stays in a CPU's cache; elsewhere fewer,
larger passes."""
VALIDATION = DecodeSettings(num_beams=20)
"""How the users are decoded that choose the epoch, whatever the run's own beams are."""


@dataclass(frozen=True)
class Seq2SeqData:
    """What a generator is trained on: the training parts, the items' SIDs, and ``valid`` targets that choose the
    epoch."""

    histories: Histories
    sids: SemanticIds
    valid: Targets


class SidObjective:
    """Cross-entropy of SIDs, token by token, in ``epochs`` passes over what `draw_batch` gives."""

    unit = "tokens"
    steps_per_epoch: int

    def __init__(self, generator: Seq2SeqGenerator[Any]) -> None:
        self.model: Any = generator.model
        self.whole_model: Any = generator.model
        self.training_pass = T5Pass(generator.model, generator.settings.one_pass)
        self.name, self.device, self.settings = generator.name, generator.device, generator.settings
        self.micro_tokens = CPU_MICRO_TOKENS if self.device.type == "cpu" else MICRO_TOKENS

    @property
    def num_steps(self) -> int:
        """Steps of all passes."""
        return self.steps_per_epoch * int(self.settings.epochs)

    def draw_batch(self, step: int) -> Seq2SeqBatch:
        """Return the examples of a step."""
        raise NotImplementedError

    def iter_micro_losses(self, batch: Seq2SeqBatch) -> Iterator[Tensor]:
        """Yield each part's share of the mean loss over the batch's target tokens."""
        for part in batch.micro_batches:
            with autocast(self.device):
                read_BTD, real_BT = self.read_histories(part)
                hidden_BLD = self.training_pass.decode(part.build_decoder_inputs(), read_BTD, real_BT)
                logits_BLV = self.training_pass.to_logits(hidden_BLD)
            scaled_XV = logits_BLV.flatten(0, 1).float() / self.settings.temperature
            total = cross_entropy(scaled_XV, part.labels_BL.flatten(), ignore_index=NO_TARGET, reduction="sum")
            yield total / batch.num_targets

    def read_histories(self, part: PaddedExamples) -> tuple[Tensor, Tensor]:
        """Return what the encoder makes of each example's history [B, T, D], and which tokens are of it [B, T]."""
        real_BT = part.sources_BT != PAD_TOKEN
        read_BTD = self.training_pass.encode(part.sources_BT, real_BT)
        if part.prefixes is None:
            return read_BTD, real_BT
        places_T = torch.arange(real_BT.shape[1], device=real_BT.device)
        seen_BT = places_T < part.prefixes.lengths_B[:, None]
        return read_BTD[part.prefixes.sources_B] * seen_BT[..., None], seen_BT

    def prepare_training(self) -> None:
        """Turn dropout on."""
        self.model.train()

    def prepare_validation(self) -> None:
        """Turn dropout off."""
        self.model.eval()


class Seq2SeqObjective(SidObjective):
    """The SID of the next item, after each beginning of a training part."""

    def __init__(self, generator: Seq2SeqGenerator[Any], histories: Histories, sids: SemanticIds, seed: int) -> None:
        super().__init__(generator)
        self.examples = build_training_examples(histories, generator.build_sequences(sids.codes_NL), self.micro_tokens)
        self.epochs_of_examples = self.examples.shuffle(self.settings.batch_size, seed, self.name)
        self.steps_per_epoch = self.epochs_of_examples.steps_per_epoch

    def draw_batch(self, step: int) -> Seq2SeqBatch:
        """Return the examples of a step."""
        return self.examples.build_batch(self.epochs_of_examples.choose_examples(step), step, self.name, self.device)


def train_generator(
    name: str, settings: Seq2SeqSettings, data: Seq2SeqData, seed: int, folder: Path, device: str = "auto"
) -> dict[str, Any]:
    """Train a generator, choose the epoch on the validation targets, write it to ``folder``; return facts."""
    torch.manual_seed(derive_seed(seed, name))
    generator = Seq2SeqGenerator(name, settings, data.sids.codebook_sizes, device)
    objective = Seq2SeqObjective(generator, data.histories, data.sids, seed)
    recommender = generator.build_recommender(data.sids.codes_NL, VALIDATION)
    prompts = objective.examples.sequences.encode_queries(data.histories.build_queries(data.valid))
    wanted = data.histories.target_items(data.valid)

    def rank_valid() -> Ranks:
        beams = recommender.decode_prompts(prompts, description=f"{name}, validate")
        return recommender.compute_ranks(beams, wanted)

    return fit_generator(generator, objective, rank_valid, seed, folder)


def fit_generator(
    generator: Seq2SeqGenerator[Any],
    objective: SidObjective,
    rank_valid: Callable[[], Ranks],
    seed: int,
    folder: Path,
    trainer: type[Trainer[Any]] = Trainer,
) -> dict[str, Any]:
    """Train a generator by an objective, validating after every pass by where ``rank_valid`` finds the targets; write
    it to ``folder`` and return facts."""
    settings = generator.settings
    loop = LoopSettings(
        learning_rate=settings.learning_rate, warmup_ratio=0.01, device=str(generator.device),
        validate_every=objective.steps_per_epoch, patience=settings.patience, ema_decay=settings.ema_decay,
    )  # fmt: skip

    def validate(_model: Any) -> dict[str, float]:
        values = compute_target_metrics(rank_valid(), (10,))
        return {metric: float(found.mean()) for metric, found in values.items()}

    state = trainer(loop, objective, validate, seed, name=generator.name).fit(folder)
    generator.save(folder)
    remove_checkpoints(folder)
    return {
        "epochs": state["step"] // objective.steps_per_epoch,
        "best_epoch": state["best_step"] // objective.steps_per_epoch,
        "steps": state["step"],
        "parameters": sum(parameter.numel() for parameter in generator.model.parameters()),
    }
