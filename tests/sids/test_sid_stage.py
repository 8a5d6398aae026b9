"""The stage and the commands: what they write, say and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from trialigngr.cli.main import trialigngr
from trialigngr.foundation.config import parse_settings
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.sids.assign import assign_sids, fit_quantizers
from trialigngr.sids.embeddings import read_embeddings
from trialigngr.sids.errors import SidError
from trialigngr.sids.quantizers.codebooks import Codebook
from trialigngr.sids.quantizers.kmeans import fit_kmeans
from trialigngr.sids.quantizers.quantizer import Quantizer, check_vectors
from trialigngr.sids.quantizers.settings import KMeansSettings
from trialigngr.sids.semantic_ids import SemanticIds
from trialigngr.sids.settings import SidSettings

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(200, 12)).astype(np.float32)
IDS = [f"item {row}" for row in range(200)]
SMALL = SidSettings(quantizer="rqkmeans", codebook_sizes=(8, 8, 8))


def test_the_stage_writes_both_files_and_tells_what_came_out(tmp_path: Path) -> None:
    facts = assign_sids(SMALL, VECTORS, IDS, tmp_path)
    sids = SemanticIds.load(tmp_path)
    assert sids.item_ids == IDS
    assert sids.codebook_sizes == (8, 8, 8)
    assert len(sids.rows_by_codes) == 200
    raw_NL = Quantizer.load(tmp_path / "quantizer.safetensors").encode(VECTORS)
    assert facts["moved_items"] == (raw_NL != sids.codes_NL).any(1).sum() > 0
    assert facts["collisions_raw"]["items"] > 0 == facts["collisions"]["items"]
    assert facts["utilization"] == [1, 1, 1]
    assert facts["fidelity_raw"] >= facts["fidelity"] > facts["fidelity_held_out"] > 0
    assert facts["fidelity_by_depth"][-1] == facts["fidelity"]
    assert facts["fidelity_held_out_by_depth"][-1] == facts["fidelity_held_out"]
    assert 0.9 * facts["fidelity_held_out"] > max(facts["fidelity_held_out_by_chance"])
    json.dumps(facts)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for turn in ("a", "b"):
        (tmp_path / turn).mkdir()
        assign_sids(SMALL, VECTORS, IDS, tmp_path / turn)
    for name in ("sids.parquet", "quantizer.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_extra_level_is_part_of_the_sids(tmp_path: Path) -> None:
    facts = assign_sids(SMALL.model_copy(update={"collision_policy": "extra_level"}), VECTORS, IDS, tmp_path)
    assert SemanticIds.load(tmp_path).codebook_sizes == (8, 8, 8, facts["codebook_sizes"][-1])
    assert facts["moved_items"] == 0
    assert facts["collisions"]["items"] == 0


def test_macrec_writes_two_sets(tmp_path: Path) -> None:
    quick = SMALL.macrec.model_copy(
        update={"hidden_sizes": (16,), "latent_size": 8, "epochs": 2, "warmup_epochs": 2, "num_pseudo_labels": 9}
    )
    settings = SMALL.model_copy(update={"quantizer": "macrec", "macrec": quick, "held_out_ratio": 0.0})
    facts = assign_sids(settings, VECTORS, IDS, tmp_path, VECTORS[:, :5] ** 2)
    assert SemanticIds.load(tmp_path / "images").item_ids == IDS
    assert facts["images"]["items"] == 200
    assert facts["fidelity_held_out"] is None


def test_fewer_items_than_codes_works_and_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assign_sids(SidSettings(quantizer="rqkmeans", codebook_sizes=(4096, 4, 1024)), VECTORS[:30], IDS[:30], tmp_path)
    assert "level 1 from 4096 to 30 codes, level 3 from 1024 to 30 codes" in capsys.readouterr().err
    assert SemanticIds.load(tmp_path).codebook_sizes == (30, 4, 30)


def test_one_item_and_identical_items(tmp_path: Path) -> None:
    assign_sids(SidSettings(quantizer="rqkmeans"), VECTORS[:1], IDS[:1], tmp_path)
    assert SemanticIds.load(tmp_path).codes_NL.tolist() == [[0, 0, 0]]
    facts = assign_sids(SMALL, np.tile(VECTORS[:1], (200, 1)), IDS, tmp_path)
    assert facts["collisions_raw"]["items"] == 1
    assert facts["collisions"]["items"] == 0


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_embeddings_that_are_not_finite_are_refused_by_item(broken: float, tmp_path: Path) -> None:
    vectors_ND = VECTORS.copy()
    vectors_ND[[7, 9], 3] = broken
    with pytest.raises(SidError, match=r"2 embeddings hold NaN or infinity, the first is that of item 'item 7'"):
        assign_sids(SMALL, vectors_ND, IDS, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("huge", [1.1e12, -1e20, 3e38, np.float64(1e300)])
def test_embeddings_whose_squares_are_no_floats_are_refused_by_item(huge: float, tmp_path: Path) -> None:
    vectors_ND = VECTORS.astype(np.float64)
    vectors_ND[[7, 9], 3] = huge
    for kind in (np.float64, np.float32) if abs(huge) < 1e38 else (np.float64,):
        with pytest.raises(
            SidError, match=r"2 embeddings hold numbers beyond ±1e\+12, the first is that of item 'item 7'"
        ):
            assign_sids(SMALL, vectors_ND.astype(kind), IDS, tmp_path)
    beside = ["letter", "macrec"]
    for settings in [SMALL.model_copy(update={"quantizer": name}) for name in beside]:
        with pytest.raises(SidError, match="2 embeddings hold numbers beyond"):
            assign_sids(settings, VECTORS, IDS, tmp_path, vectors_ND)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tiny", [9e-10, 1e-30, 1e-45, 1e-100])
def test_embeddings_whose_squares_vanish_are_refused(tiny: float, tmp_path: Path) -> None:
    vectors_ND = VECTORS.astype(np.float64) / np.abs(VECTORS).max() * tiny
    with pytest.raises(
        SidError, match=r"The largest number of all embeddings is .*, below 1e-09; scale all of them up"
    ):
        assign_sids(SMALL, vectors_ND, IDS, tmp_path)


@pytest.mark.parametrize("kind", [np.complex64, np.bool_, np.object_, "m8[s]"])
def test_embeddings_are_real_numbers(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(SidError, match="Embeddings must be real numbers, not"):
        assign_sids(SMALL, VECTORS.astype(np.int64).astype(kind), IDS, tmp_path)


@pytest.mark.parametrize("largest", [1e12, 1e-9])
@pytest.mark.parametrize("method", ["rqkmeans", "rqkmeans_balanced", "opq"])
def test_within_the_bounds_the_scale_changes_nothing(method: str, largest: float) -> None:
    settings = SidSettings(quantizer=method, codebook_sizes=(8, 8), held_out_ratio=0)
    rounded = np.floor if largest > 1 else np.ceil
    power = 2.0 ** rounded(np.log2(largest / np.abs(VECTORS).max()))
    scaled_ND = check_vectors((VECTORS * power).astype(np.float32))
    (own,), (scaled,) = fit_quantizers(settings, VECTORS), fit_quantizers(settings, scaled_ND)
    assert (scaled.encode(scaled_ND) == own.encode(VECTORS)).mean() > 0.98


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e20])
def test_no_such_number_comes_as_far_as_faiss(broken: float) -> None:
    vectors_ND = VECTORS.copy()
    vectors_ND[3, 3] = broken
    for use in (
        lambda: fit_kmeans(vectors_ND, 8, KMeansSettings(), 0),
        lambda: Codebook(VECTORS[:8]).nearest_codes(vectors_ND),
    ):
        with pytest.raises(SidError, match="hold NaN or numbers beyond"):
            use()


def test_zero_vectors_are_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors_ND = VECTORS.copy()
    vectors_ND[:3] = 0
    assert assign_sids(SMALL, vectors_ND, IDS, tmp_path)["collisions"]["items"] == 0
    assert "3 of 200 embeddings are all zero" in capsys.readouterr().err


def test_ids_and_rows_must_fit(tmp_path: Path) -> None:
    with pytest.raises(SidError, match="199 item ids but 200 embeddings"):
        assign_sids(SMALL, VECTORS, IDS[:-1], tmp_path)
    with pytest.raises(SidError, match="N ≥ 1 rows"):
        assign_sids(SMALL, VECTORS[:0], [], tmp_path)


@pytest.mark.parametrize("size", [0, 10_000_000])
def test_senseless_codebook_sizes_are_refused(size: int) -> None:
    with pytest.raises(RecipeError, match=r"sizes\.1 = "):
        parse_settings(SidSettings, {"codebook_sizes": [256, size]}, "recipe")


def test_embeddings_are_read_from_all_three_formats(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", VECTORS)
    save_file({"embeddings": VECTORS, "has_image": np.ones(200, bool)}, tmp_path / "e.safetensors")
    listed = pl.DataFrame({"item_id": IDS, "vector": VECTORS.tolist()})
    listed.write_parquet(tmp_path / "e.parquet")
    pl.DataFrame(VECTORS, schema=[f"d{d}" for d in range(12)]).write_parquet(tmp_path / "wide.parquet")
    for name in ("e.npy", "e.safetensors", "e.parquet", "wide.parquet"):
        ids, vectors_ND = read_embeddings(tmp_path / name)
        assert np.allclose(vectors_ND, VECTORS), name
        assert ids == (IDS if name == "e.parquet" else [str(row) for row in range(200)])
    listed.select("item_id").write_parquet(tmp_path / "texts.parquet")
    assert read_embeddings(tmp_path / "e.safetensors")[0] == IDS


def test_embeddings_that_are_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.npy").write_text("junk")
    (tmp_path / "junk.parquet").write_text("junk")
    (tmp_path / "junk.safetensors").write_text("junk")
    np.save(tmp_path / "flat.npy", VECTORS[0])
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    pl.DataFrame({"item_id": ["a", "a"], "v": [[1.0], [2.0]]}).write_parquet(tmp_path / "twice.parquet")
    pl.DataFrame({"item_id": ["a", "b"], "v": [[1.0], [2.0, 3.0]]}).write_parquet(tmp_path / "ragged.parquet")
    names = "junk.npy junk.parquet junk.safetensors flat.npy words.npy twice.parquet ragged.parquet no.npy no.txt"
    for name in names.split():
        with pytest.raises(SidError):
            read_embeddings(tmp_path / name)


def test_the_commands_from_embeddings_to_other_systems(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        found = CliRunner().invoke(trialigngr, ["sids", *words], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    np.save(tmp_path / "old.npy", VECTORS)
    pl.DataFrame({"item_id": ["n1", "n2"], "v": (VECTORS[:2] + 0.1).tolist()}).write_parquet(tmp_path / "new.parquet")
    items = pl.DataFrame({"item_id": [str(row) for row in range(200)], "categories": [["x"], ["y"]] * 100})
    items.write_parquet(tmp_path / "items.parquet")
    old, folder = str(tmp_path / "old.npy"), str(tmp_path / "sids")
    run("fit", old, "--out", folder, "--quantizer", "rqkmeans", "--sizes", "8,8,8")
    beside = (
        "--embeddings",
        old,
        "--items",
        str(tmp_path / "items.parquet"),
        "--targets",
        str(tmp_path / "items.parquet"),
    )
    report = json.loads(run("report", folder, *beside, "--json"))[folder]
    assert report["num_distinct_sids"] == 200
    assert set(report["not_computed"]) == {"cooccurrence", "busiest_tenth"}
    assert report["by_chance"]["fidelity"] < report["fidelity"]
    assert "codes used, by level" in run("report", folder, folder, "--tsne", str(tmp_path / "t.png"), *beside)
    assert (tmp_path / "t.png").is_file()
    for name in ("lcrec", "grid", "flashrec", "parquet"):
        run("export", folder, name, str(tmp_path / name))
        run("import", name, str(tmp_path / name), "--out", str(tmp_path / f"{name}-again"))
        assert len(SemanticIds.load(tmp_path / f"{name}-again").rows_by_codes) == 200
    said = run(
        "append", folder, str(tmp_path / "new.parquet"), "--out", str(tmp_path / "grown"), "--old-embeddings", old
    )
    assert "2 items added" in said
    assert "5 % point" in said
    grown = SemanticIds.load(tmp_path / "grown")
    assert np.array_equal(grown.codes_NL[:200], SemanticIds.load(tmp_path / "sids").codes_NL)
    both = json.loads(run("report", folder, str(tmp_path / "grown"), "--json"))
    churn = both[str(tmp_path / "grown")]["churn"]
    assert (churn["from"], churn["num_common_items"], churn["num_new_items"]) == (folder, 200, 2)
    assert churn["kept"]["same_codes"] == [1, 1, 1]
    assert f"From {folder} to {tmp_path / 'grown'}" in run("report", folder, str(tmp_path / "grown"))
    assert "1 items removed, 201 stay; their SIDs are reserved" in run("remove", str(tmp_path / "grown"), "n1")
    assert "their SIDs are free" in run("remove", str(tmp_path / "grown"), "n2", "--free-sids")
    assert "held-out items" in run("depth", old, "--sizes", "8", "--levels", "2", "--png", str(tmp_path / "d.png"))


def test_commands_name_the_users_mistakes(tmp_path: Path) -> None:
    def refused(*words: str) -> str:
        found = CliRunner().invoke(trialigngr, ["sids", *words])
        assert isinstance(found.exception, TriAlignError), found.output
        return str(found.exception)

    np.save(tmp_path / "e.npy", VECTORS)
    where = str(tmp_path / "out")
    assert "rqkmean" in refused("fit", str(tmp_path / "e.npy"), "--out", where, "--quantizer", "rqkmean")
    assert "sizes.0" in refused("fit", str(tmp_path / "e.npy"), "--out", where, "--sizes", "0")
    assert "collaborative" in refused("fit", str(tmp_path / "e.npy"), "--out", where, "--quantizer", "letter")
    assert "There is no" in refused("report", str(tmp_path / "nothing"))
    assert not (tmp_path / "out").exists()
