"""SID rows that begin where the codebooks put their codes."""

from __future__ import annotations

import numpy as np
import torch

from tests.support.backbones import SIDS, SMALL
from tests.support.world import TEXTS
from trialigngr.models.build import build_backbone
from trialigngr.models.settings import BackboneSettings
from trialigngr.models.sid_embeddings import init_from_codebooks


def test_rows_lie_as_the_codes_do():
    numbers = np.random.default_rng(0)
    books = [numbers.normal(size=(size, 12)).astype(np.float32) for size in (6, 5)]
    wide = SMALL | {"hidden_size": 512, "num_heads": 2, "num_layers": 1}
    plain, made = (
        build_backbone(BackboneSettings(**wide, sid_embedding_init=rows), SIDS, TEXTS, 0, books)
        for rows in ("mean", "codebook")
    )
    before, after = (backbone.model.get_input_embeddings().weight.detach() for backbone in (plain, made))
    others = [token for token in range(len(before)) if token not in made.sid_token_ids[:11]]
    assert torch.equal(before[others], after[others])  # words, and the level that has no codebook
    rows = after[made.sid_token_ids[:6]].numpy()
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)[np.triu_indices(6, 1)]
    wanted = np.linalg.norm(books[0][:, None] - books[0], axis=2)[np.triu_indices(6, 1)]
    assert np.corrcoef(apart, wanted)[0, 1] > 0.95
    assert abs(rows.std() / float(before.std()) - 1) < 0.2


def test_codes_that_are_all_alike_do_no_harm():
    made = build_backbone(BackboneSettings(**SMALL), SIDS, TEXTS, 0)
    init_from_codebooks(made.model, made.sid_token_ids, [np.ones((6, 3), np.float32)], 0)
    assert torch.isfinite(made.model.get_input_embeddings().weight).all()
