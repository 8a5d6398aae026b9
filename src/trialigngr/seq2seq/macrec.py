"""MACRec's generator: six tasks over the SIDs of text and of pictures, and two aligned encodings (arXiv 2511.15122)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from trialigngr.catalog.histories import Histories, Targets
from trialigngr.catalog.queries import Rows
from trialigngr.decode.settings import DecodeSettings
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.foundation.device import autocast, to_device
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.ranks import Ranks
from trialigngr.seq2seq.batches import (
    Examples,
    ItemExamples,
    Seq2SeqBatch,
    SidSequences,
    build_training_examples,
    pad_sources,
)
from trialigngr.seq2seq.joined_lists import JoinedSystem, JoinScores, PartialSearch, add_bonus, mix_probabilities
from trialigngr.seq2seq.model import Seq2SeqGenerator
from trialigngr.seq2seq.settings import JoinRule, MacRecGeneratorSettings
from trialigngr.seq2seq.training import VALIDATION, SidObjective, fit_generator
from trialigngr.seq2seq.vocabulary import PAD_TOKEN
from trialigngr.sids.semantic_ids import END_CODE, Codes, SemanticIds

IMPLICIT_TEMPERATURE = 0.1
JOINS: dict[JoinRule, JoinScores] = {"bonus": add_bonus, "mixture": mix_probabilities}
MacRecGenerator = Seq2SeqGenerator[MacRecGeneratorSettings]


@dataclass(frozen=True)
class TwoSids:
    """Items' codes by text [N, L] and by picture [N, M]; of an item without a picture the latter have ended."""

    text_NL: Codes
    image_NM: Codes
    text_sizes: tuple[int, ...]
    image_sizes: tuple[int, ...]

    @classmethod
    def pair(cls, text: SemanticIds, images: SemanticIds) -> TwoSids:
        """Return the SIDs of both modalities; raise `ArtifactError` for pictures of items that have no text SID."""
        rows = {item_id: row for row, item_id in enumerate(text.item_ids)}
        if unknown := [item_id for item_id in images.item_ids if item_id not in rows]:
            raise ArtifactError(f"{len(unknown)} items have a SID of a picture and none of text; first: {unknown[:3]}.")
        image_NM = np.full((len(text), images.num_levels), END_CODE, dtype=np.int32)
        image_NM[[rows[item_id] for item_id in images.item_ids]] = images.codes_NL
        return cls(text.codes_NL, image_NM, text.codebook_sizes, images.codebook_sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The codebooks of both, one after the other."""
        return (*self.text_sizes, *self.image_sizes)

    @property
    def pictured_rows(self) -> Rows:
        """The rows of items with a picture."""
        return np.flatnonzero(self.image_NM[:, 0] != END_CODE)


@dataclass(frozen=True)
class MacRecData:
    """What MACRec is trained on: the training parts, both SIDs, and ``valid`` targets that choose the epoch."""

    histories: Histories
    sids: TwoSids
    valid: Targets


class MacRecObjective(SidObjective):
    """A task a batch, each in its own passes, all mixed evenly over an epoch.

    Next SID of text, and of picture, after a history of the same; and, *explicit alignment*, after a history of the
    other, and the SID of the same item in the other. Those four are named by a prompt of learned tokens. *Implicit
    alignment*: on batches of items their two SIDs are to have encodings that are alike.
    """

    def __init__(self, generator: MacRecGenerator, histories: Histories, sids: TwoSids, seed: int) -> None:
        super().__init__(generator)
        self.seed = seed
        self.text, self.image = (
            generator.build_sequences(codes_NL, first)
            for codes_NL, first in ((sids.text_NL, 0), (sids.image_NM, len(sids.text_sizes)))
        )
        tasks = self._build_tasks(generator, histories, sids)
        self.tasks = {name: examples for name, examples in tasks.items() if name == "next_text" or len(examples)}
        self.epochs_of_tasks = {
            name: examples.shuffle(self.settings.batch_size, seed, f"{self.name}: {name}")
            for name, examples in self.tasks.items()
        }
        self._task_of_step = np.repeat(
            np.arange(len(self.tasks)), [own.steps_per_epoch for own in self.epochs_of_tasks.values()]
        )
        self.steps_per_epoch = len(self._task_of_step)
        self._epoch, self._order = -1, self._task_of_step

    def _build_tasks(self, generator: MacRecGenerator, histories: Histories, sids: TwoSids) -> dict[str, Examples]:
        """Return the examples of each task, by name."""
        text, image, settings = self.text, self.image, generator.settings
        prompts = np.array(generator.vocabulary.prompt_tokens).reshape(4, -1).tolist()
        pictured = sids.pictured_rows

        def show(codes_NL: Codes, first_level: int, number: int) -> SidSequences:
            return generator.build_sequences(codes_NL, first_level, prompts[number])

        levels, micro = len(sids.text_sizes), self.micro_tokens
        tasks: dict[str, Examples] = {
            "next_text": build_training_examples(histories, text, micro),
            "next_image": build_training_examples(histories, image, micro),
        }
        if settings.explicit_alignment or settings.implicit_weight:
            tasks["text_to_image"] = ItemExamples(pictured, show(sids.text_NL, 0, 0), micro, image.labels_NL)
            tasks["image_to_text"] = ItemExamples(pictured, show(sids.image_NM, levels, 1), micro, text.labels_NL)
        if settings.explicit_alignment:
            tasks["next_image_of_text"] = build_training_examples(
                histories, show(sids.text_NL, 0, 2), micro, image.labels_NL
            )
            tasks["next_text_of_image"] = build_training_examples(
                histories, show(sids.image_NM, levels, 3), micro, text.labels_NL
            )
        return tasks

    def draw_batch(self, step: int) -> Seq2SeqBatch:
        """Return the examples of a step."""
        name, examples, chosen = self._choose_examples(step)
        batch = replace(examples.build_batch(chosen, step, f"{self.name}, {name}", self.device), name=name)
        if not isinstance(examples, ItemExamples) or not self.settings.implicit_weight:
            return batch
        rows, kept = examples.rows[chosen], batch.micro_batches if self.settings.explicit_alignment else []
        pair = self._encode_items(self.text, rows), self._encode_items(self.image, rows)
        return replace(batch, micro_batches=kept, sid_pair=pair)

    def _choose_examples(self, step: int) -> tuple[str, Examples, Rows]:
        """Return a step's task, its examples, and the numbers of those that are learned from."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            random = np.random.default_rng(derive_seed(self.seed, self.name, "tasks", epoch))
            self._epoch, self._order = epoch, random.permutation(self._task_of_step)
        number = self._order[place]
        name, examples = list(self.tasks.items())[number]
        own = self.epochs_of_tasks[name]
        done = int((self._order[:place] == number).sum())
        return name, examples, own.choose_examples(epoch * own.steps_per_epoch + done)

    def _encode_items(self, sequences: SidSequences, rows: Rows) -> Tensor:
        """Return SIDs of items as the encoder reads them [B, T]."""
        tokens, lengths_B = sequences.encode_histories(rows, np.ones_like(rows), np.full_like(rows, -1))
        return to_device(pad_sources(np.split(tokens, np.cumsum(lengths_B)[:-1])), self.device)

    def iter_micro_losses(self, batch: Seq2SeqBatch) -> Iterator[Tensor]:
        """Yield each part's share of the mean loss over the target tokens, and the implicit alignment's."""
        yield from super().iter_micro_losses(batch)
        if batch.sid_pair is not None:
            with autocast(self.device):
                text_BD, image_BD = map(self._pool, batch.sid_pair)
            loss = compute_implicit_loss(text_BD.float(), image_BD.float(), IMPLICIT_TEMPERATURE)
            yield self.settings.implicit_weight * loss

    def _pool(self, sources_BT: Tensor) -> Tensor:
        """Return the mean of what the encoder makes of the tokens that are there [B, D]."""
        real_BT = sources_BT != PAD_TOKEN
        return self.training_pass.encode(sources_BT, real_BT).sum(1) / real_BT.sum(1, keepdim=True)


def compute_implicit_loss(text_BD: Tensor, image_BD: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE between the encodings of items' two SIDs, by their cosines, the mean of both directions."""
    cosines_BB = normalize(text_BD, dim=1) @ normalize(image_BD, dim=1).T / temperature
    own_B = torch.arange(len(text_BD), device=text_BD.device)
    return (cross_entropy(cosines_BB, own_B) + cross_entropy(cosines_BB.T, own_B)) / 2


def build_searches(generator: MacRecGenerator, sids: TwoSids, decode: DecodeSettings) -> dict[str, PartialSearch]:
    """Return beam search over the SIDs of text, which all items have, and of pictures."""
    everything, pictured, levels = np.arange(len(sids.text_NL)), sids.pictured_rows, len(sids.text_sizes)
    return {
        "text": PartialSearch(
            generator.build_recommender(sids.text_NL, decode), generator.build_sequences(sids.text_NL), everything
        ),
        "image": PartialSearch(
            generator.build_recommender(sids.image_NM[pictured], decode, levels),
            generator.build_sequences(sids.image_NM, levels),
            pictured,
        ),
    }


def join_searches(name: str, searches: list[PartialSearch], join: JoinRule, generator: MacRecGenerator) -> JoinedSystem:
    """Return the system that joins the lists of both modalities, or ranks by one of them."""
    num_items = len(searches[0].sequences.tokens_NL)
    return JoinedSystem(name, searches, JOINS[join], num_items, generator.settings.max_history)


def train_macrec(
    name: str, settings: MacRecGeneratorSettings, data: MacRecData, seed: int, folder: Path, device: str = "auto"
) -> dict[str, Any]:
    """Train the generator, choose the epoch by its joined lists, write it to ``folder``; return facts."""
    torch.manual_seed(derive_seed(seed, name))
    generator = MacRecGenerator(name, settings, data.sids.sizes, device)
    objective = MacRecObjective(generator, data.histories, data.sids, seed)
    searches = build_searches(generator, data.sids, VALIDATION)
    system = join_searches(name, [*searches.values()], settings.join, generator)
    queries, wanted = data.histories.build_queries(data.valid), data.histories.target_items(data.valid)

    def rank_valid() -> Ranks:
        return system.rank_targets(queries, wanted, 0, description=f"{name}, validate").ranks[ITEM]

    facts = fit_generator(generator, objective, rank_valid, seed, folder)
    return facts | {
        "examples": {task: len(examples) for task, examples in objective.tasks.items()},
        "items_without_picture": len(data.sids.text_NL) - len(data.sids.pictured_rows),
    }
