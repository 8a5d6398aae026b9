"""The losses against their formulas, and the negatives against their shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trialigngr.sequential.losses import LOSSES
from trialigngr.train.sampled_softmax import NegativeDraw

COUNTS = np.array([0, 1, 4, 9, 100, 25])
CPU = torch.device("cpu")


def made(targets: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    dice = torch.Generator().manual_seed(0)
    states, table = torch.randn(targets, 4, generator=dice), torch.randn(len(COUNTS), 4, generator=dice)
    return states, table, torch.randint(0, len(COUNTS), (targets,), generator=dice)


def test_shared_negatives_come_by_the_root_of_their_counts() -> None:
    draw = NegativeDraw.from_counts(200_000, COUNTS, CPU)
    torch.manual_seed(0)
    found = torch.bincount(draw.draw_shared(), minlength=len(COUNTS)) / draw.num_negatives
    wanted = torch.tensor([1.0, 1, 2, 3, 10, 5]) / 22
    torch.testing.assert_close(found, wanted, atol=0.005, rtol=0)
    torch.testing.assert_close(draw.log_shares_N.exp(), wanted, atol=1e-6, rtol=1e-4)


def test_negatives_of_a_target_are_any_other() -> None:
    draw = NegativeDraw.from_counts(6_000, COUNTS, CPU)
    own_MK = draw.draw_own(torch.tensor([0, 3]))
    assert torch.bincount(own_MK[1], minlength=6)[3] == 0
    assert torch.bincount(own_MK[0], minlength=6).tolist()[0] == 0
    assert torch.bincount(own_MK[0], minlength=6)[1:].min() > 1_000


def test_many_shared_negatives_are_the_softmax_over_all_items() -> None:
    states, table, targets = made()
    draw = NegativeDraw.from_counts(400_000, COUNTS, CPU)
    torch.manual_seed(0)
    found = LOSSES["sampled_softmax"](states, targets, lambda rows: table if rows is None else table[rows], draw)
    # A negative that is the target is left out, so the target counts as one draw among K of the others.
    scores, logq = states @ table.T, draw.log_shares_N
    others = (scores.exp().sum(1) - scores.gather(1, targets[:, None]).exp()[:, 0]) * draw.num_negatives
    own = scores.gather(1, targets[:, None])[:, 0] - logq[targets]
    wanted = (torch.log(own.exp() + others) - own).mean()
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0.01)
    full = LOSSES["full_softmax"](states, targets, lambda rows: table if rows is None else table[rows], draw)
    torch.testing.assert_close(full, cross_entropy(states @ table.T, targets))


@pytest.mark.parametrize("name", ["bce", "bpr"])
def test_pairs(name: str) -> None:
    """With two items there is one negative."""
    states, table, _ = made(2)
    targets = torch.tensor([0, 1])
    draw = NegativeDraw.from_counts(3, np.array([1, 1]), CPU)
    found = LOSSES[name](states, targets, lambda rows: table[rows], draw)  # type: ignore[index]
    own, other = ([float(states[line] @ table[row]) for line, row in enumerate(rows)] for rows in ((0, 1), (1, 0)))
    each = [
        math.log1p(math.exp(-a)) + math.log1p(math.exp(b)) if name == "bce" else math.log1p(math.exp(b - a))
        for a, b in zip(own, other, strict=True)
    ]
    assert float(found) == pytest.approx(sum(each) / 2, rel=1e-5)
