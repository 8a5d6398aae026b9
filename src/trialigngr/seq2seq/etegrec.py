"""ETEGRec: codes that are learned with the generator that writes them, in turns (Liu et al., SIGIR 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, mse_loss, normalize

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.foundation.device import autocast
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.ranks import Ranks
from trialigngr.seq2seq.batches import (
    NO_TARGET,
    PaddedExamples,
    Seq2SeqBatch,
    TrainingExamples,
    build_training_examples,
)
from trialigngr.seq2seq.model import Seq2SeqGenerator
from trialigngr.seq2seq.settings import EtegRecSettings
from trialigngr.seq2seq.training import MICRO_TOKENS, VALIDATION, SidObjective, fit_generator
from trialigngr.sids.collisions import compute_collision_rates, number_sid_groups
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.autoencoder import build_autoencoder, make_mlp
from trialigngr.sids.quantizers.bottleneck import straight_through
from trialigngr.sids.quantizers.latent_spaces import LearnedSpace
from trialigngr.sids.quantizers.quantizer import Quantizer, clip_codebook_sizes
from trialigngr.sids.quantizers.rqvae import fit as fit_rqvae
from trialigngr.sids.quantizers.settings import RqVaeSettings
from trialigngr.sids.semantic_ids import Codes, SemanticIds
from trialigngr.train.loop import Trainer

CYCLE_EPOCHS = 2
"""Epochs of a cycle: in the first the tokenizer learns, in the others the recommender."""
COMMITMENT_WEIGHT, PREFERENCE_TEMPERATURE, LATENT_SIZE = 0.25, 0.07, 128
COLLISION_CODES = 256
"""Codes of the level that tells items apart that share all others."""
EtegRecGenerator = Seq2SeqGenerator[EtegRecSettings]


class Turn(StrEnum):
    """Who learns in an epoch."""

    TOKENIZER = "tokenizer"
    RECOMMENDER = "recommender"
    FINISH = "finish"
    """The recommender alone, by the cross-entropy alone, on codes that stay."""


@dataclass(frozen=True)
class QuantizedVectors:
    """What the tokenizer makes of vectors: the log-probability of each code [B, K], level by level, the nearest codes
    [B, L], the vectors decoded from them [B, C], and the loss of quantizing."""

    log_probs: Sequence[Tensor]
    codes_BL: Tensor
    decoded_BC: Tensor
    loss: Tensor


class ItemTokenizer(nn.Module):
    """A fitted RQ-VAE over item vectors, to be trained on."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        space = quantizer.space
        if not isinstance(space, LearnedSpace):
            raise TypeError("an RQ-VAE has a learned space")
        self.network = build_autoencoder(space.weights)
        self.codebook_vectors = nn.ParameterList(
            nn.Parameter(torch.from_numpy(level.vectors_KD.copy())) for level in quantizer.codebooks
        )

    def forward(self, vectors_BC: Tensor) -> QuantizedVectors:
        """Quantize vectors; a code's probability is the softmax of its negative squared distance."""
        latents_BZ = residual_BZ = self.network.encode(vectors_BC)
        log_probs, codes, loss = list[Tensor](), list[Tensor](), latents_BZ.new_zeros(())
        for codes_KZ in self.codebook_vectors:
            distances_BK = (
                residual_BZ.square().sum(1, keepdim=True) - 2 * residual_BZ @ codes_KZ.T + codes_KZ.square().sum(1)
            )
            log_probs.append((-distances_BK).log_softmax(1))
            codes.append(distances_BK.argmin(1))
            chosen_BZ = codes_KZ[codes[-1]]
            loss = loss + mse_loss(chosen_BZ, residual_BZ.detach())
            loss = loss + COMMITMENT_WEIGHT * mse_loss(residual_BZ, chosen_BZ.detach())
            residual_BZ = residual_BZ - chosen_BZ.detach()
        decoded_BC = self.network.decode(straight_through(latents_BZ, latents_BZ - residual_BZ))
        loss = loss + self.network.reconstruction_error(decoded_BC, vectors_BC)
        return QuantizedVectors(log_probs, torch.stack(codes, 1), decoded_BC, loss)

    @torch.no_grad()
    def encode_items(self, vectors_NC: Tensor) -> Codes:
        """Return the nearest codes of all items [N, L]."""
        blocks = [self(block_BC).codes_BL.cpu().numpy() for block_BC in vectors_NC.split(8192)]
        return np.concatenate(blocks).astype(np.int32)


class EtegRecModel(nn.Module):
    """Recommender, tokenizer, and what takes the recommender's states into the space of the item vectors."""

    vectors_NC: Tensor

    def __init__(
        self, generator: EtegRecGenerator, tokenizer: ItemTokenizer, vectors_NC: npt.NDArray[np.float32]
    ) -> None:
        super().__init__()
        width, size = generator.settings.hidden_size, vectors_NC.shape[1]
        self.recommender, self.tokenizer = generator.model, tokenizer
        self.state_projection, self.preference_projection = (make_mlp([width, width, size]) for _ in range(2))
        self.register_buffer("vectors_NC", torch.from_numpy(vectors_NC.copy()))
        # No gradient reaches it; as a parameter it is kept with the weights that it belongs to.
        self.codes_NL = nn.Parameter(torch.from_numpy(self._number_items(torch.from_numpy(vectors_NC))).float())
        self.to(generator.device)

    def _number_items(self, vectors_NC: Tensor) -> Codes:
        return append_collision_codes(self.tokenizer.encode_items(vectors_NC), COLLISION_CODES)

    def renew_codes(self) -> None:
        """Give every item the codes that are its nearest now."""
        self.codes_NL.data.copy_(torch.from_numpy(self._number_items(self.vectors_NC)))

    def copy_codes(self) -> Codes:
        """Return the codes of all items as they are."""
        return self.codes_NL.detach().cpu().numpy().astype(np.int32)


def append_collision_codes(codes_NL: Codes, size: int) -> Codes:
    """Return codes with one more level [N, L + 1] that numbers the items that share the others; raise `SidError` where
    more share them than ``size``."""
    group_N = number_sid_groups(codes_NL)
    order_N = np.argsort(group_N, kind="stable")
    starts_G = np.searchsorted(group_N[order_N], np.arange(group_N.max(initial=-1) + 1))
    rank_N = np.empty(len(codes_NL), dtype=np.int32)
    rank_N[order_N] = np.arange(len(order_N)) - starts_G[group_N[order_N]]
    if (most := int(rank_N.max(initial=0)) + 1) > size:
        raise SidError(
            f"{most} items share all their codes, and the level that tells them apart has {size}; take larger ones by "
            "etegrec.codebook_sizes."
        )
    return np.column_stack([codes_NL, rank_N])


def compute_sequence_item_loss(item_log_probs: Sequence[Tensor], state_log_probs: Sequence[Tensor]) -> Tensor:
    """Return KL both ways between the codes' distributions of items and of the histories before them [B, K], summed
    over levels, the mean over the batch (L_SIA)."""
    pairs = zip(item_log_probs, state_log_probs, strict=True)
    return torch.stack([((p.exp() - q.exp()) * (p - q)).sum(1).mean() for p, q in pairs]).sum()


def compute_preference_loss(preference_BC: Tensor, vectors_BC: Tensor, rows_B: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE between preferences and the vectors of what was taken, by their cosines, the mean of both
    directions (L_PSA). Other places of the same item are no negatives."""
    cosines_BB = normalize(preference_BC, dim=1) @ normalize(vectors_BC, dim=1).T / temperature
    own_B = torch.arange(len(rows_B), device=rows_B.device)
    is_other_BB = (rows_B[:, None] == rows_B) & (own_B[:, None] != own_B)
    held_BB = cosines_BB.masked_fill(is_other_BB, float("-inf"))
    return (cross_entropy(held_BB, own_B) + cross_entropy(held_BB.T, own_B)) / 2


class EtegRecObjective(SidObjective):
    """Cycles of epochs: in the first the tokenizer learns, and all items get new codes; in the others the recommender.

    Both are drawn together by two losses, through the other, which stands still. At last the codes stay, and the
    recommender learns alone.
    """

    def __init__(
        self, generator: EtegRecGenerator, histories: Histories, vectors_NC: npt.NDArray[np.float32], seed: int
    ) -> None:
        super().__init__(generator)
        settings = generator.settings
        self.generator, self.histories = generator, histories
        tokenizer = ItemTokenizer(pretrain_tokenizer(vectors_NC, settings, seed))
        self.etegrec = EtegRecModel(generator, tokenizer, vectors_NC)
        self.model = self.whole_model = self.etegrec
        # Negatives are those of a part of the batch, which is nearly always all of it.
        self.micro_tokens = MICRO_TOKENS
        self._codes_NL = self.etegrec.copy_codes()
        self.examples = self._build_examples()
        self.epochs_of_examples = self.examples.shuffle(settings.batch_size, seed, self.name)
        self.steps_per_epoch = self.epochs_of_examples.steps_per_epoch
        self.first_finish = max(0, settings.epochs - settings.finish_epochs)

    def _build_examples(self) -> TrainingExamples:
        sequences = self.generator.build_sequences(self._codes_NL)
        return build_training_examples(self.histories, sequences, self.micro_tokens)

    def get_turn(self, epoch: int) -> Turn:
        """Return who learns in an epoch."""
        if epoch >= self.first_finish:
            return Turn.FINISH
        return Turn.RECOMMENDER if epoch % CYCLE_EPOCHS else Turn.TOKENIZER

    def learning_rate_at(self, step: int) -> float:
        """Return the rate of a step: each side's own, by a cosine over the cycles; in the finish by another."""
        settings, turn = self.settings, self.get_turn(step // self.steps_per_epoch)
        first, last = (0, self.first_finish) if turn is not Turn.FINISH else (self.first_finish, settings.epochs)
        peak = {Turn.TOKENIZER: settings.tokenizer_learning_rate, Turn.RECOMMENDER: settings.learning_rate}
        done = (step / self.steps_per_epoch - first) / (last - first)
        factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))
        return factor * min(1.0, done / 0.01 + 0.01) * peak.get(turn, settings.finish_learning_rate)

    def draw_batch(self, step: int) -> Seq2SeqBatch:
        """Return the examples of a step, in the codes of now; the first step after the tokenizer's turn renews them."""
        epoch, place = divmod(step, self.steps_per_epoch)
        turn = self.get_turn(epoch)
        if epoch and not place and self.get_turn(epoch - 1) is Turn.TOKENIZER:
            self.etegrec.renew_codes()
        codes_NL = self.etegrec.copy_codes()
        if not np.array_equal(codes_NL, self._codes_NL):
            self._codes_NL = codes_NL
            self.examples = self._build_examples()
        chosen, label = self.epochs_of_examples.choose_examples(step), f"{self.name}, {turn}"
        return replace(self.examples.build_batch(chosen, step, label, self.device), name=str(turn))

    def iter_micro_losses(self, batch: Seq2SeqBatch) -> Iterator[Tensor]:
        """Yield each part's share of the loss of whoever learns."""
        num_examples = sum(len(part.rows_B) for part in batch.micro_batches)
        for part in batch.micro_batches:
            share = len(part.rows_B) / num_examples
            if batch.name == Turn.TOKENIZER:
                yield share * self._compute_tokenizer_loss(part)
            else:
                aligned = batch.name == Turn.RECOMMENDER
                yield self._compute_recommender_loss(part, batch.num_targets, share, aligned)

    def _compute_tokenizer_loss(self, part: PaddedExamples) -> Tensor:
        """Return the loss of the tokenizer, while the recommender stands still."""
        items = self.etegrec.tokenizer(self.etegrec.vectors_NC[part.rows_B])
        with torch.no_grad():
            state_BC, preference_BC, _ = self._read_part(part, part.build_decoder_inputs()[:, :1])
        return items.loss + self._align(items, self.etegrec.tokenizer(state_BC), preference_BC, part.rows_B)

    def _compute_recommender_loss(self, part: PaddedExamples, targets: int, share: float, aligned: bool) -> Tensor:
        """Return the loss of the recommender, while the tokenizer stands still."""
        state_BC, preference_BC, hidden_BLD = self._read_part(part, part.build_decoder_inputs())
        with autocast(self.device):
            logits_BLV = self.training_pass.to_logits(hidden_BLD)
        scaled_XV = logits_BLV.flatten(0, 1).float() / self.settings.temperature
        total = cross_entropy(scaled_XV, part.labels_BL.flatten(), ignore_index=NO_TARGET, reduction="sum") / targets
        if not aligned:
            return total
        frozen = {name: weight.detach() for name, weight in self.etegrec.tokenizer.named_parameters()}
        vectors = self.etegrec.vectors_NC[part.rows_B]
        items, states = (functional_call(self.etegrec.tokenizer, frozen, (given,)) for given in (vectors, state_BC))
        return total + share * self._align(items, states, preference_BC, part.rows_B)

    def _read_part(self, part: PaddedExamples, written_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return histories and preferences among the item vectors [B, C], and the decoder's states [B, L, D]. Codes are
        chosen in fp32: only the recommender computes in less."""
        with autocast(self.device):
            read_BTD, real_BT = self.read_histories(part)
            hidden_BLD = self.training_pass.decode(written_BL, read_BTD, real_BT).float()
        pooled_BD = read_BTD.float().sum(1) / real_BT.sum(1, keepdim=True)
        state_BC = self.etegrec.state_projection(pooled_BD)
        return state_BC, self.etegrec.preference_projection(hidden_BLD[:, 0]), hidden_BLD

    def _align(
        self, items: QuantizedVectors, states: QuantizedVectors, preference_BC: Tensor, rows_B: Tensor
    ) -> Tensor:
        """Return both losses that draw tokenizer and recommender together."""
        settings = self.settings
        sequence_item = compute_sequence_item_loss(items.log_probs, states.log_probs)
        preference = compute_preference_loss(preference_BC, items.decoded_BC, rows_B, PREFERENCE_TEMPERATURE)
        return settings.sequence_item_weight * sequence_item + settings.preference_weight * preference


class AlternatingTrainer(Trainer[EtegRecObjective]):
    """The loop with the rates of whoever learns; patience counts in the finish alone."""

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.objective.learning_rate_at(step)

    def _patience_is_over(self, state: dict[str, Any]) -> bool:
        start = self.objective.first_finish * self.objective.steps_per_epoch
        waited = state["step"] - max(state["best_step"], start)
        return bool(waited >= self.settings.patience * self.settings.validate_every)


def pretrain_tokenizer(vectors_NC: npt.NDArray[np.float32], settings: EtegRecSettings, seed: int) -> Quantizer:
    """Return an RQ-VAE fitted on the item vectors alone."""
    own = RqVaeSettings(latent_size=LATENT_SIZE, epochs=settings.pretrain_epochs)
    sizes = clip_codebook_sizes(settings.codebook_sizes, len(vectors_NC))
    return fit_rqvae(vectors_NC, sizes, own, derive_seed(seed, "etegrec", "tokenizer"))


@dataclass(frozen=True)
class EtegRecData:
    """What ETEGRec is trained on: the training parts, a vector an item that follows from them, and ``valid`` targets
    that choose the epoch."""

    histories: Histories
    item_ids: Sequence[str]
    vectors_NC: npt.NDArray[np.float32]
    valid: Targets


def train_etegrec(
    name: str, settings: EtegRecSettings, data: EtegRecData, seed: int, folder: Path, device: str = "auto"
) -> dict[str, Any]:
    """Train both sides, choose the epoch on the validation targets, write the generator and the SIDs that belong to it
    to ``folder``; return facts."""
    torch.manual_seed(derive_seed(seed, name))
    sizes = (*clip_codebook_sizes(settings.codebook_sizes, len(data.item_ids)), COLLISION_CODES)
    generator = EtegRecGenerator(name, settings, sizes, device)
    objective = EtegRecObjective(generator, data.histories, data.vectors_NC, seed)
    queries, wanted = data.histories.build_queries(data.valid), data.histories.target_items(data.valid)

    def rank_valid() -> Ranks:
        codes_NL = objective.etegrec.copy_codes()
        prompts = generator.build_sequences(codes_NL).encode_queries(queries)
        recommender = generator.build_recommender(codes_NL, VALIDATION)
        beams = recommender.decode_prompts(prompts, description=f"{name}, validate")
        return recommender.compute_ranks(beams, wanted)

    facts = fit_generator(generator, objective, rank_valid, seed, folder, AlternatingTrainer)
    codes_NL = objective.etegrec.copy_codes()
    SemanticIds(list(data.item_ids), codes_NL, sizes).save(folder)
    return facts | {
        "codebook_sizes": list(sizes),
        "collisions_raw": compute_collision_rates(codes_NL[:, :-1]),
        "collisions": compute_collision_rates(codes_NL),
    }
