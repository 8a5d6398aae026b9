"""Loss terms by hand, and what they do."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from trialigngr.sids.quantizers.bottleneck import (
    LevelBatch,
    ResidualBottleneck,
    nearest_codes,
    rotation_trick,
    straight_through,
)
from trialigngr.sids.quantizers.codebooks import Codebook, Codebooks
from trialigngr.sids.quantizers.fsq import choose_grid_steps, make_grid_codebooks
from trialigngr.sids.quantizers.kmeans import compute_cluster_means, fit_residual_kmeans
from trialigngr.sids.quantizers.letter_losses import (
    CollaborationLoss,
    DiversityLoss,
    collaboration_loss,
    diversity_loss,
)
from trialigngr.sids.quantizers.macrec_losses import ContrastLoss, alignment_loss, contrast_loss, draw_positives
from trialigngr.sids.quantizers.parameters import CodebookUpdateRule
from trialigngr.sids.quantizers.rqkmeans_balanced import fit_balanced_kmeans
from trialigngr.sids.quantizers.settings import BalancedSettings, KMeansSettings

PLAIN = CodebookUpdateRule(
    commitment_weight=0.25, ema_decay=None, restart_dead_codes=True, rotation_trick=False, sinkhorn_epsilons=()
)


def one_level(how: CodebookUpdateRule, *codes: list[float]) -> ResidualBottleneck:
    return ResidualBottleneck(Codebooks([Codebook(np.float32(codes))]), how)


def test_codebook_and_commitment_loss_by_hand() -> None:
    books = one_level(PLAIN, [0.0, 0.0], [4.0, 0.0])
    latents_BZ = torch.tensor([[1.0, 1.0], [3.0, 0.0]], requires_grad=True)
    quantised_BZ, loss = books(latents_BZ, torch.arange(2))
    assert quantised_BZ.tolist() == [[0, 0], [4, 0]]
    # mean square (1 + 1 + 1 + 0) / 4 = 0.75: once for the codes, a quarter for the commitment
    assert loss.item() == pytest.approx(0.75 * 1.25)
    loss.backward()
    assert torch.allclose(latents_BZ.grad, 0.25 * 2 * torch.tensor([[1.0, 1.0], [-1.0, 0.0]]) / 4)
    assert torch.allclose(books.codebook_vectors[0].grad, 2 * torch.tensor([[-1.0, -1.0], [1.0, 0.0]]) / 4)


def test_straight_through_hands_the_gradient_on() -> None:
    latents_BZ = torch.tensor([[1.0, 2.0]], requires_grad=True)
    through = straight_through(latents_BZ, torch.tensor([[5.0, 5.0]]))
    assert through.tolist() == [[5, 5]]
    (through * torch.tensor([[2.0, 3.0]])).sum().backward()
    assert latents_BZ.grad.tolist() == [[2, 3]]


def test_the_rotation_trick_turns_and_stretches_the_gradient() -> None:
    latents_BZ = torch.tensor([[1.0, 0.0]], requires_grad=True)
    through = rotation_trick(latents_BZ, torch.tensor([[0.0, 2.0]]))
    assert torch.allclose(through, torch.tensor([[0.0, 2.0]]), atol=1e-6)
    through[0, 1].backward()  # a quarter turn and a stretch by 2: along the code is along the latent
    assert torch.allclose(latents_BZ.grad, torch.tensor([[2.0, 0.0]]), atol=1e-6)


def test_codes_follow_the_running_mean() -> None:
    how = CodebookUpdateRule(0.25, 0.5, restart_dead_codes=True, rotation_trick=False, sinkhorn_epsilons=())
    books = one_level(how, [0.0], [10.0])
    books(torch.tensor([[2.0], [4.0]]), torch.arange(2))
    # count 1 → .5 · 1 + .5 · 2, sum 0 → .5 · 0 + .5 · 6; the code nobody chose stays
    assert books.codebook_vectors[0].flatten().tolist() == pytest.approx([3 / 1.5, 10])


def test_dead_codes_move_onto_residuals() -> None:
    books = one_level(PLAIN, [0.0], [50.0], [-70.0])
    rows_NZ = torch.tensor([[1.0], [2.0], [3.0]])
    books(rows_NZ, torch.arange(3))
    books.end_epoch(rows_NZ, torch.Generator().manual_seed(0))
    assert books.codebook_vectors[0][0].item() == 0
    assert {value.item() for value in books.codebook_vectors[0][1:].flatten()} <= {1.0, 2.0, 3.0}


def test_sinkhorn_levels_use_codes_evenly_while_training_only() -> None:
    how = CodebookUpdateRule(0.25, None, restart_dead_codes=False, rotation_trick=False, sinkhorn_epsilons=(0.05,))
    books = one_level(how, [0.0], [10.0])
    rows_BZ = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    books(rows_BZ, torch.arange(4))
    assert books.codes_in_use[0].all()
    books.eval()
    quantised_BZ, _ = books(rows_BZ, torch.arange(4))
    assert quantised_BZ.unique().tolist() == [0]
    assert nearest_codes(rows_BZ, books.codebook_vectors[0].detach()).tolist() == [0, 0, 0, 0]


def test_letters_collaboration_by_hand() -> None:
    z_BC, h_BC = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    # products [[2, 0], [0, 1]]
    expected = (log(1 + exp(-2)) + log(1 + exp(-1))) / 2
    assert collaboration_loss(z_BC, h_BC).item() == pytest.approx(expected)
    term = CollaborationLoss(0.5, 2, np.float32([[9, 9], [2, 0], [0, 1]]), seed=0)
    assert term([z_BC], torch.tensor([1, 2])).item() == pytest.approx(0.5 * expected)
    assert not list(term.parameters())
    assert len(list(CollaborationLoss(0.5, 3, np.float32([[2, 0]]), seed=0).parameters())) == 1


def test_letters_diversity_by_hand() -> None:
    codes_KZ = torch.tensor([[1.0], [2.0], [0.0]])
    # code 0: products with the others 2 and 0, its positive is code 1
    assert diversity_loss(codes_KZ, torch.tensor([0]), torch.tensor([1])).item() == pytest.approx(log(1 + exp(-2)))


def test_letters_positives_are_other_codes_of_the_cluster() -> None:
    codes_KZ = torch.tensor([[0.0], [0.1], [9.0], [9.1]])
    term = DiversityLoss(1.0, num_clusters=2, seed=0)
    at = LevelBatch(0, torch.zeros(40, 1), torch.arange(4).repeat(10), codes_KZ, torch.arange(40))
    assert term(at).item() > 0
    assert term._draw_positives(at).tolist() == [1, 0, 3, 2] * 10
    assert term(LevelBatch(1, torch.zeros(2, 1), torch.zeros(2).long(), codes_KZ[:1], torch.arange(2))).item() == 0


def test_macrecs_contrast_by_hand() -> None:
    residual_BZ = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]])  # directions x, x, y
    # row 0, positive row 1: −log(e^1 / (e^1 + e^1 + e^0)); row 2, itself: −log(e^1 / (e^0 + e^0 + e^1))
    expected = (log(2 + exp(-1)) * 2 + log(1 + 2 * exp(-1))) / 3
    assert contrast_loss(residual_BZ, torch.tensor([1, 0, 2]), 1.0).item() == pytest.approx(expected)


def test_macrecs_alignment_by_hand() -> None:
    text_BZ, picture_BZ = torch.tensor([[1.0, 0.0], [0.0, 5.0]]), torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    # cosines [[1, 1], [0, 0]]: rows log 2 and log 2; columns log(1 + 1/e) and log(1 + e)
    expected = (log(2) + (log(1 + exp(-1)) + log(1 + exp(1))) / 2) / 2
    assert alignment_loss(text_BZ, picture_BZ, 1.0).item() == pytest.approx(expected)


def test_macrecs_positives_share_the_label_and_are_others_where_there_are_others() -> None:
    labels_B = torch.tensor([7, 3, 7, 3, 7, 5])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        positives_B = draw_positives(labels_B, generator)
        assert (labels_B[positives_B] == labels_B).all()
        assert (positives_B[:5] != torch.arange(5)).all()
        assert positives_B[5] == 5


def test_macrecs_contrast_begins_at_its_level() -> None:
    term = ContrastLoss(np.int32([0, 0]), weight=0.5, from_level=1, temperature=1.0, seed=0)
    residual_BZ = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    rows = (residual_BZ, torch.zeros(2).long(), torch.zeros(1, 2), torch.arange(2))
    assert term(LevelBatch(0, *rows)).item() == 0
    assert term(LevelBatch(1, *rows)).item() == pytest.approx(0.5 * log(1 + exp(1)))


@pytest.mark.parametrize(
    ("size", "expected"), [(4096, 4096), (2048, 2048), (1024, 1024), (256, 256), (7, 7), (1, 1), (2, 2)]
)
def test_grids_of_the_usual_sizes_are_exact(size: int, expected: int) -> None:
    assert np.prod(choose_grid_steps(size)) == expected


def test_a_grid_is_all_combinations_in_its_own_coordinates() -> None:
    levels = make_grid_codebooks([[3, 2], [2]])
    assert levels[0].vectors_KD.tolist() == [[x, y, 0] for x in (-1, 0, 1) for y in (-1, 1)]
    assert levels[1].vectors_KD.tolist() == [[0, 0, -1], [0, 0, 1]]


def test_balanced_kmeans_keeps_to_its_capacity() -> None:
    rng = np.random.default_rng(0)
    rows_ND = np.concatenate([rng.normal(size=(900, 4)), 8 + rng.normal(size=(100, 4))]).astype(np.float32)
    settings = BalancedSettings(capacity_factor=1.1)
    counts = np.bincount(fit_balanced_kmeans(rows_ND, 10, settings, 0).nearest_codes(rows_ND), minlength=10)
    assert counts.max() <= 125  # capacity 110, and what the last means still shift
    assert counts.min() > 30


def test_prices_are_part_of_the_distance() -> None:
    level = Codebook(np.float32([[0], [1]]), np.float32([5, 3]))
    # |x|² + 5 against |x − 1|² + 3: equal at x = −0.5
    assert level.nearest_codes(np.float32([[-0.6], [-0.4], [2]])).tolist() == [0, 1, 1]
    assert level.code_distances(np.float32([[2]])).tolist() == [[9, 4]]


def test_a_beam_finds_the_better_whole_code() -> None:
    levels = [Codebook(np.float32([[0], [3]])), Codebook(np.float32([[-1], [0]]))]
    # 1.9: 3 is nearer than 0, and 3 − 1 is best. 1.4: 0 is nearer and leaves 1.4, but 3 − 1 is only 0.6 away.
    rows_ND = np.float32([[1.9], [1.4]])
    assert Codebooks(levels).encode(rows_ND).tolist() == [[1, 0], [0, 1]]
    assert Codebooks(levels, num_beams=2).encode(rows_ND).tolist() == [[1, 0], [1, 0]]


def test_refinement_moves_all_codebooks_to_less_error() -> None:
    rows_ND = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    plain = fit_residual_kmeans(rows_ND, (8, 8), KMeansSettings(num_beams=3), 0)
    better = fit_residual_kmeans(rows_ND, (8, 8), KMeansSettings(num_beams=3, refinement_rounds=4), 0)
    errors = [float(np.square(rows_ND - levels.sum_codes(levels.encode(rows_ND))).mean()) for levels in (plain, better)]
    assert errors[1] < 0.98 * errors[0]


def test_means_by_hand() -> None:
    found = compute_cluster_means(np.float32([[1], [5], [3]]), np.int32([2, 0, 2]), np.float32([[9], [8], [7]]))
    assert found.tolist() == [[5], [8], [2]]
