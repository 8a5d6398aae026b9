"""What must hold of every quantizer, whatever its method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trialigngr.foundation.config import Settings
from trialigngr.sids.errors import SidError
from trialigngr.sids.fidelity import compute_fidelity, compute_fidelity_by_depth, cosine_similarity
from trialigngr.sids.quantizers.quantizer import Quantizer
from trialigngr.sids.quantizers.registry import METHODS, load_fit_function
from trialigngr.sids.settings import SidSettings

SIZES = (16, 8, 8)
QUICK = {
    "rqvae": {"hidden_sizes": (32,), "latent_size": 12, "epochs": 8, "warmup_epochs": 4},
    "rqkmeans_plus": {"hidden_sizes": (32,), "epochs": 5},
    "fsq": {"hidden_sizes": (32,), "epochs": 8, "warmup_epochs": 4},
    "letter": {"hidden_sizes": (32,), "latent_size": 12, "epochs": 5, "warmup_epochs": 4},
    "macrec": {
        "hidden_sizes": (32,),
        "latent_size": 12,
        "epochs": 5,
        "warmup_epochs": 4,
        "contrast_weight": 0.1,
        "linear_skip": True,
        "selection_metric": "reconstruction",
    },
}


def quick(method: str) -> Settings:
    defaults = getattr(SidSettings(), method)
    return type(defaults)(**defaults.model_dump() | QUICK.get(method, {}))


def clustered(n: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, width))
    return (centres[rng.integers(0, 20, n)] + 0.4 * rng.normal(size=(n, width))).astype(np.float32)


VECTORS = clustered(400, 24, 1)
BESIDE = clustered(400, 10, 2)
FITTED: dict[str, Quantizer] = {}


def fitted(method: str) -> Quantizer:
    if method not in FITTED:
        FITTED[method] = load_fit_function(method)(VECTORS, SIZES, quick(method), 7, BESIDE)
    return FITTED[method]


every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_codes_lie_within_their_codebooks(method: str) -> None:
    codes_NL = fitted(method).encode(VECTORS)
    assert codes_NL.dtype == np.int32
    assert codes_NL.shape == (400, 3)
    assert (codes_NL >= 0).all()
    assert (codes_NL < np.array(fitted(method).codebook_sizes)).all()
    assert all(size <= wanted for size, wanted in zip(fitted(method).codebook_sizes, SIZES, strict=True))


@every_method
def test_a_row_has_the_same_codes_whatever_stands_beside_it(method: str) -> None:
    quantizer, some = fitted(method), np.random.default_rng(3).permutation(400)[:57]
    assert np.array_equal(quantizer.encode(VECTORS)[some], quantizer.encode(VECTORS[some]))
    assert np.array_equal(quantizer.encode(VECTORS)[:1], quantizer.encode(VECTORS[:1]))


@every_method
def test_saving_and_loading_changes_nothing(method: str, tmp_path: Path) -> None:
    quantizer = fitted(method)
    quantizer.save(tmp_path / "quantizer.safetensors")
    again = Quantizer.load(tmp_path / "quantizer.safetensors")
    codes_NL = quantizer.encode(VECTORS)
    assert again.method == method
    assert again.settings == quantizer.settings
    assert np.array_equal(again.encode(VECTORS), codes_NL)
    assert np.array_equal(again.decode(codes_NL), quantizer.decode(codes_NL))


@every_method
def test_one_seed_gives_the_same_bytes_and_another_seed_other_codes(method: str, tmp_path: Path) -> None:
    files = []
    for turn in range(2):
        quantizer = load_fit_function(method)(VECTORS, SIZES, quick(method), 7, BESIDE)
        files.append(tmp_path / f"{turn}.safetensors")
        quantizer.save(files[-1])
        assert np.array_equal(quantizer.encode(VECTORS), fitted(method).encode(VECTORS))
    assert files[0].read_bytes() == files[1].read_bytes()
    other = load_fit_function(method)(VECTORS, SIZES, quick(method), 8, BESIDE)
    assert not np.array_equal(other.encode(VECTORS), fitted(method).encode(VECTORS))


@every_method
def test_decoded_vectors_are_near_and_each_level_brings_them_nearer(method: str) -> None:
    quantizer = fitted(method)
    codes_NL = quantizer.encode(VECTORS)
    assert quantizer.decode(codes_NL).shape == VECTORS.shape
    depths = compute_fidelity_by_depth(quantizer, VECTORS, codes_NL)
    assert depths == sorted(depths)
    assert depths[-1] > 0.5
    shuffled = np.random.default_rng(0).permutation(codes_NL)
    assert depths[-1] > compute_fidelity(quantizer, VECTORS, shuffled) + 0.3


@every_method
def test_another_width_is_refused(method: str) -> None:
    with pytest.raises(SidError, match="fitted on 24 dimensions; these vectors have 23"):
        fitted(method).encode(VECTORS[:, :23])


@every_method
@pytest.mark.parametrize("n", [1, 3])
def test_a_handful_of_items_can_be_fitted(method: str, n: int) -> None:
    quantizer = load_fit_function(method)(VECTORS[:n], (n, n), quick(method), 0, BESIDE[:n])
    assert quantizer.encode(VECTORS[:n]).shape == (n, 2)
    assert np.isfinite(quantizer.decode(quantizer.encode(VECTORS[:n]))).all()


@every_method
def test_constant_embeddings_can_be_fitted(method: str) -> None:
    constant_ND = np.full((50, 24), 0.25, dtype=np.float32)
    quantizer = load_fit_function(method)(constant_ND, (8, 4), quick(method), 0, BESIDE[:50])
    codes_NL = quantizer.encode(constant_ND)
    assert (codes_NL == codes_NL[0]).all()
    assert np.allclose(quantizer.decode(codes_NL), constant_ND, atol=1e-2)


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SidError, match="Did you mean 'rqkmeans'"):
        load_fit_function("rqkmean")


@pytest.mark.parametrize("method", ["letter", "macrec"])
def test_methods_that_need_a_second_table_say_so(method: str) -> None:
    with pytest.raises(SidError, match="needs"):
        load_fit_function(method)(VECTORS, SIZES, quick(method), 0)


def test_a_file_that_is_no_quantizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SidError, match="no quantizer at"):
        Quantizer.load(tmp_path / "missing.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(SidError, match="cannot be read as a quantizer"):
        Quantizer.load(tmp_path / "junk.safetensors")


def test_cosine_by_hand() -> None:
    left = np.array([[3, 4], [1, 0], [0, 0]], dtype=np.float32)
    right = np.array([[4, 3], [0, 2], [1, 1]], dtype=np.float32)
    assert cosine_similarity(left, right).tolist() == pytest.approx([0.96, 0, 0])  # 24 / 25; right angle; no direction
