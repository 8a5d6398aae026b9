"""MACRec's tasks, its losses, its lists of two modalities, and items that have no picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.support.circle import CircleInputs, N, build_sids, choose_settings, fit_system, load_system
from tests.support.histories import histories
from trialigngr.catalog.queries import Queries
from trialigngr.decode.filters import Filter
from trialigngr.foundation.errors import ArtifactError
from trialigngr.metrics.ranks import NOT_LISTED
from trialigngr.seq2seq.batches import OnePassExamples, Seq2SeqBatch, TrainingExamples
from trialigngr.seq2seq.joined_lists import add_bonus, mix_probabilities
from trialigngr.seq2seq.macrec import MacRecGenerator, MacRecObjective, TwoSids, compute_implicit_loss
from trialigngr.sids.errors import SidError
from trialigngr.sids.published import write_published_sids
from trialigngr.sids.quantizers.settings import PublishedSettings
from trialigngr.sids.semantic_ids import SemanticIds

NO_PICTURE = [4, 5, 6]
TASKS = ["next_text", "next_image", "text_to_image", "image_to_text", "next_image_of_text", "next_text_of_image"]


def build_pair() -> TwoSids:
    """Return text SIDs of three levels of all items, and of two levels of those that have a picture."""
    text, rows = build_sids(), np.setdiff1d(np.arange(N), NO_PICTURE)
    images = SemanticIds([str(row) for row in rows], np.stack([rows % 6, rows // 6], 1, dtype=np.int32), (6, 4))
    return TwoSids.pair(text, images)


def build_objective(**changes: Any) -> MacRecObjective:
    torch.manual_seed(0)
    settings, pair = choose_settings("macrec", max_history=6, batch_size=4, **changes), build_pair()
    objective = MacRecObjective(MacRecGenerator("macrec", settings, pair.sizes, "cpu"), build_log(), pair, 0)
    objective.prepare_validation()
    return objective


def build_log() -> Any:
    return histories([0, 3, 4, 7, 8, 9], [5, 1, 2, 10, 11])


def draw(objective: MacRecObjective, task: str) -> Seq2SeqBatch:
    """Return the first batch of a task."""
    return next(b for b in map(objective.draw_batch, range(objective.steps_per_epoch)) if b.name == task)


class Inputs(CircleInputs):
    """The circle, where some items have no picture."""

    def load_sids(self, stage: str) -> SemanticIds:
        if stage == "macrec_sids":
            return self.sids
        kept = [row for row in range(N) if row not in NO_PICTURE]
        return SemanticIds([str(row) for row in kept], self.sids.codes_NL[kept], self.sids.codebook_sizes)


def test_both_rules_by_hand() -> None:
    scores_SP = np.array([[-6.0, -4.0], [-3.0, -np.inf], [-np.inf, -8.0]])
    assert add_bonus(scores_SP, np.array([3, 2])).tolist() == [(-2 - 2) / 2 + 1, -1, -4]
    half = np.log(0.5)
    expected = [half + np.log(np.exp(-6) + np.exp(-4)), half - 3, half - 8]
    assert mix_probabilities(scores_SP, np.array([3, 2])) == pytest.approx(expected)


def test_implicit_loss_by_hand() -> None:
    text, image = torch.tensor([[2.0, 0], [0, 3]]), torch.tensor([[1.0, 0], [1, 0]])
    # Cosines are 1, 1 / 0, 0: from text both choices are even; from pictures the first text wins both times.
    towards = [-np.log(1 / (1 + np.exp(-10))), -np.log(np.exp(-10) / (1 + np.exp(-10)))]
    assert float(compute_implicit_loss(text, image, 0.1)) == pytest.approx((np.log(2) + np.mean(towards)) / 2, rel=1e-5)


def test_six_tasks_of_items_that_have_both() -> None:
    objective = build_objective()
    assert list(objective.tasks) == TASKS
    sizes = {name: len(examples) for name, examples in objective.tasks.items()}
    # The training parts are 0 3 4 7 and 5 1 2: of five targets one, item 4, has no picture.
    assert sizes == dict(zip(TASKS, [5, 4, N - 3, N - 3, 4, 5], strict=True))
    generator = objective.model
    assert generator.config.vocab_size == 2 + (4 + 3 + 2) + (6 + 4) + 16


def test_what_is_read_and_written() -> None:
    objective, text, image = build_objective(), build_sids().codes_NL, build_pair().image_NM
    names = {"next_text": [], "next_text_of_image": [*range(33, 37)]}

    def tokens(row: int, is_text: bool) -> list[int]:
        starts = [2, 6, 9] if is_text else [11, 17]
        return [int(code + start) for code, start in zip((text if is_text else image)[row], starts, strict=True)]

    for name, prompt in names.items():
        examples = objective.tasks[name]
        chosen = np.array([np.flatnonzero(examples.rows == 7)[0]])  # after 0 3 4
        (part,) = examples.build_batch(chosen, 0, name, torch.device("cpu")).micro_batches
        read = [0, 3, 4] if name == "next_text" else [0, 3]
        shown = [token for row in read for token in tokens(row, name == "next_text")]
        assert part.sources_BT.tolist() == [[*prompt, *shown, 1]]
        assert part.labels_BL.tolist() == [tokens(7, True)]
    (batch,) = draw(objective, "image_to_text").micro_batches
    row = next(row for row in range(N) if tokens(row, True) == batch.labels_BL[0].tolist())
    assert batch.sources_BT[0].tolist() == [*range(25, 29), *tokens(row, False), 1]


@torch.no_grad()
def test_histories_that_are_read_once_lose_what_their_beginnings_lose() -> None:
    objective, cpu = build_objective(one_pass=True), torch.device("cpu")
    for task in ("next_text", "next_image", "next_image_of_text", "next_text_of_image"):
        made = objective.tasks[task]
        assert isinstance(made, OnePassExamples)
        apart = TrainingExamples(build_log(), made.sequences, made.micro_tokens, made.labels_NL)
        batches = (
            examples.build_batch(np.arange(count), 0, "", cpu) for examples, count in ((made, 2), (apart, len(apart)))
        )
        one_pass, alone = (float(sum(objective.iter_micro_losses(batch))) for batch in batches)
        assert one_pass == pytest.approx(alone, abs=1e-5)


@torch.no_grad()
def test_alignment_is_added_to_batches_of_items() -> None:
    both, explicit, implicit = (
        build_objective(**changes)
        for changes in ({}, {"implicit_weight": 0.0}, {"explicit_alignment": False, "implicit_weight": 0.5})
    )
    batch = draw(both, "text_to_image")
    assert batch.sid_pair is not None
    losses = [float(loss) for loss in both.iter_micro_losses(batch)]
    real = [sources != 0 for sources in batch.sid_pair]
    pooled = [
        both.model.encoder(input_ids=sources, attention_mask=kept.long()).last_hidden_state.mul(kept[..., None]).sum(1)
        for sources, kept in zip(batch.sid_pair, real, strict=True)
    ]
    assert losses[-1] == pytest.approx(0.01 * float(compute_implicit_loss(*pooled, 0.1)), rel=1e-4)
    assert [float(loss) for loss in explicit.iter_micro_losses(draw(explicit, "text_to_image"))] == losses[:-1]
    assert list(implicit.tasks) == TASKS[:4]
    (alone,) = implicit.iter_micro_losses(draw(implicit, "text_to_image"))
    assert float(alone) == pytest.approx(50 * losses[-1], rel=1e-4)
    assert list(build_objective(explicit_alignment=False, implicit_weight=0.0).tasks) == TASKS[:2]


def test_an_epoch_goes_through_all_examples_of_all_tasks() -> None:
    objective = build_objective()
    steps = [objective.draw_batch(step) for step in range(2 * objective.steps_per_epoch)]
    targets = sum(batch.num_targets for batch in steps)
    rows = [
        len(examples) * (examples.labels_NL[examples.rows] >= 0).sum(1).max() for examples in objective.tasks.values()
    ]
    assert targets == 2 * sum(rows)
    names = [batch.name for batch in steps]
    assert names[: len(names) // 2] != names[len(names) // 2 :]


def test_items_without_a_picture_are_found_by_their_text(tmp_path: Path) -> None:
    inputs = Inputs()
    facts = fit_system("macrec", tmp_path, inputs, epochs=1)
    assert facts["items_without_picture"] == len(NO_PICTURE)
    system: Any = load_system("macrec", tmp_path, inputs)
    asked = Queries([np.array([4, 5]), np.array([1, 2])])
    found = system.rank(asked, N)
    assert sorted(found.rows_BK[0]) == list(range(N))
    image = replace(system.searches[1])
    _, rows, _ = image.find_scores(asked, N, None, "")
    assert not set(rows) & set(NO_PICTURE)
    only = [Filter(np.array([4]), np.array([4, 5, 9])), np.array([0])]
    kept = system.rank(asked, N, only).rows_BK
    assert [row for row in found.rows_BK[0] if row in (5, 9)] == [row for row in kept[0] if row >= 0]
    ranks = system.rank_targets(asked, np.array([4, 9]), 3, only).ranks["item"]
    assert ranks.ahead_M[0] == NOT_LISTED
    assert ranks.ahead_M[1] == kept[1].tolist().index(9)


def test_a_picture_of_no_item_is_one_sentence() -> None:
    sids = build_sids()
    with pytest.raises(ArtifactError, match="1 items have a SID of a picture and none of text; first: \\['x'\\]"):
        TwoSids.pair(sids, SemanticIds(["x"], sids.codes_NL[:1], sids.codebook_sizes))


def test_published_sids_are_read_from_columns(tmp_path: Path) -> None:
    items = pl.DataFrame(
        {"item_id": ["x", "y", "z"], "sid": ["<a_1><b_0>", "<a_0><b_3>", "<a_1><b_0>"], "eye": ["<A_2>", None, "<A_0>"]}
    )
    facts = write_published_sids(PublishedSettings(columns=("sid", "eye")), items, tmp_path)
    assert (facts["codebook_sizes"], facts["images"]["items"]) == ([2, 4], 2)
    assert facts["collisions"]["items"] == pytest.approx(2 / 3)
    assert SemanticIds.load(tmp_path).codes_NL.tolist() == [[1, 0], [0, 3], [1, 0]]
    assert SemanticIds.load(tmp_path / "images").item_ids == ["x", "z"]
    with pytest.raises(SidError, match="1 of 3 items have no SID in 'eye'"):
        write_published_sids(PublishedSettings(columns=("eye",)), items, tmp_path)
    with pytest.raises(SidError, match=r"no column 'sidd'.*Did you mean 'sid'"):
        write_published_sids(PublishedSettings(columns=("sidd",)), items, tmp_path)
    with pytest.raises(SidError, match="'sid' of item 'x': 'hello' is not a Semantic ID"):
        write_published_sids(PublishedSettings(), items.with_columns(sid=pl.lit("hello")), tmp_path)
