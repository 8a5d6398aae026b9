from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialigngr.embed.fusion import BlockTransform, EncoderBlock, Fusion, l2_normalize, pca_directions
from trialigngr.foundation.errors import ArtifactError


def block(
    rows: list[list[float]], present: list[bool] | None = None, weight: float = 1.0, **rest: object
) -> EncoderBlock:
    vectors = np.array(rows, np.float32)
    return EncoderBlock(vectors, np.array(present or [True] * len(rows)), weight, **rest)  # type: ignore[arg-type]


def settle(block: EncoderBlock) -> np.ndarray:
    return BlockTransform.fit(block)(block.vectors_ND, block.present_N)


def fuse(blocks: list[EncoderBlock]) -> np.ndarray:
    named = {str(place): block for place, block in enumerate(blocks)}
    return Fusion.fit(named)(named)


def test_a_block_is_centred_and_of_unit_length() -> None:
    # mean (2, 0): rows become (1, 0), (-1, 0)
    np.testing.assert_allclose(settle(block([[3, 0], [1, 0]])), [[1, 0], [-1, 0]])


def test_absent_rows_are_the_mean_and_pull_nothing() -> None:
    settled = settle(block([[3, 0], [100, 100], [1, 0]], [True, False, True]))
    np.testing.assert_allclose(settled, [[1, 0], [0, 0], [-1, 0]])


def test_weights_decide_the_share_of_each_block() -> None:
    text, picture = block([[0, 1], [0, -1]]), block([[5, 0], [-5, 0]], weight=0.5)
    fused = fuse([text, picture])
    length = np.sqrt(1 + 0.25)
    np.testing.assert_allclose(fused, [[0, 1 / length, 0.5 / length, 0], [0, -1 / length, -0.5 / length, 0]], atol=1e-6)


def test_an_item_without_a_picture_is_its_text() -> None:
    fused = fuse([block([[0, 1], [0, -1], [1, 0]]), block([[5, 0], [-5, 0], [0, 0]], [True, True, False])])
    np.testing.assert_array_equal(fused[2, 2:], [0, 0])
    assert np.linalg.norm(fused[2]) == pytest.approx(1)


def test_an_encoder_that_sees_everything_is_left_as_it_is() -> None:
    np.testing.assert_allclose(fuse([block([[3, 4], [0, 2]], center=False)]), [[0.6, 0.8], [0, 1]])


def test_principal_directions_by_hand() -> None:
    rows = np.array([[2.0, 1.0], [-2.0, -1.0], [0.5, -1.0], [-0.5, 1.0]])
    directions = pca_directions(rows, 1)
    np.testing.assert_allclose(np.abs(directions[:, 0]), [2 / np.sqrt(5), 1 / np.sqrt(5)], atol=1e-6)
    assert directions[0, 0] > 0  # the largest entry is positive, whatever the solver says
    assert pca_directions(rows, 9).shape == (2, 2)


def test_pictures_are_too_few_to_reduce() -> None:
    assert settle(block([[1, 2], [3, 4]], [True, False], max_dimensions=2)).shape == (2, 0)
    assert settle(block([[1, 2], [3, 4]], [False, False], max_dimensions=2)).shape == (2, 0)


@given(n=st.integers(1, 12), present=st.integers(0, 12), seed=st.integers(0, 99))
def test_fused_vectors_are_finite_and_at_most_of_unit_length(n: int, present: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    there = np.arange(n) < present
    text = EncoderBlock(rng.normal(size=(n, 5)).astype(np.float32), np.ones(n, bool), 1.0)
    fused = fuse([text, EncoderBlock(rng.normal(size=(n, 7)).astype(np.float32), there, 0.5, 3)])
    assert np.isfinite(fused).all()
    assert (np.linalg.norm(fused, axis=1) < 1 + 1e-5).all()
    np.testing.assert_array_equal(fused[~there, 5:], 0)


def test_zeros_have_no_direction() -> None:
    np.testing.assert_array_equal(l2_normalize(np.zeros((1, 3))), np.zeros((1, 3), np.float32))


def test_new_items_land_in_the_space_of_the_old_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    there = rng.random(40) < 0.7
    text, picture = (rng.normal(size=(40, width)).astype(np.float32) for width in (5, 9))
    blocks = {"text": EncoderBlock(text, np.ones(40, bool), 1.0), "picture": EncoderBlock(picture, there, 0.5, 4)}
    fusion = Fusion.fit(blocks)
    fusion.save(tmp_path / "fusion.safetensors")
    some = slice(3, 11)
    again = {
        "text": EncoderBlock(text[some], np.ones(8, bool), 1.0),
        "picture": EncoderBlock(picture[some], there[some], 0.5, 4),
    }
    np.testing.assert_allclose(Fusion.load(tmp_path / "fusion.safetensors")(again), fusion(blocks)[some], atol=1e-6)


def test_other_encoders_than_the_fitted_are_refused(tmp_path: Path) -> None:
    fusion = Fusion.fit({"0": block([[3, 0], [1, 0]])})
    with pytest.raises(ArtifactError, match="embed all items anew"):
        fusion({"1": block([[3, 0], [1, 0]])})
    (tmp_path / "fusion.safetensors").write_bytes(b"no fusion")
    with pytest.raises(ArtifactError, match="holds no fusion"):
        Fusion.load(tmp_path / "fusion.safetensors")


def test_the_whole_is_reduced_to_its_principal_directions() -> None:
    # Rows on an ellipse, three times as long one way: what is left of two dimensions is the longer one.
    rows = l2_normalize(np.array([[3.0, 1, 5], [-3, 1, 5], [3, -1, 5], [-3, -1, 5]]))
    blocks = {"one": EncoderBlock(rows, np.ones(4, np.bool_), 1.0, center=False)}
    reduced = Fusion.fit(blocks, "pca", 1)(blocks)
    np.testing.assert_allclose(np.abs(reduced), 1, atol=1e-5)
    assert (np.sign(reduced[[0, 2], 0]) != np.sign(reduced[[1, 3], 0])).all()


def test_whitening_makes_all_directions_equally_long() -> None:
    draw = np.random.default_rng(0).normal(size=(400, 3)) * [9, 1, 0.1]
    blocks = {"one": EncoderBlock(l2_normalize(draw), np.ones(400, np.bool_), 1.0, center=False)}
    fusion = Fusion.fit(blocks, "whiten", 3)
    assert fusion.pca is not None
    turned = (l2_normalize(draw) - fusion.pca.mean_D) @ fusion.pca.directions_Dd
    np.testing.assert_allclose(turned.std(0), 1, atol=1e-3)


def test_a_reduction_comes_back_from_its_file_and_serves_new_items(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).normal(size=(50, 6))
    blocks = {"one": EncoderBlock(l2_normalize(draw), np.ones(50, np.bool_), 1.0)}
    fusion = Fusion.fit(blocks, "pca", 4)
    fusion.save(tmp_path / "fusion.safetensors")
    new = {"one": EncoderBlock(l2_normalize(draw[:3]), np.ones(3, np.bool_), 1.0)}
    vectors = Fusion.load(tmp_path / "fusion.safetensors")(new)
    assert vectors.shape == (3, 4)
    np.testing.assert_allclose(vectors, fusion(blocks)[:3], atol=1e-6)
    with pytest.raises(ArtifactError, match="nothing to reduce"):
        Fusion.fit(
            {"one": EncoderBlock(np.ones((3, 2), np.float32), np.ones(3, np.bool_), 1.0, center=False)}, "pca", 1
        )
