"""Quantizers that look at more than one table get it from the run: LETTER from SASRec, MACRec from the pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import Done
from tests.support.runs import tiny
from trialigngr.embed.embeddings import load_modalities
from trialigngr.runs.run import load
from trialigngr.runs.sid_quality import load_quality_inputs
from trialigngr.sids.quality import measure_quality
from trialigngr.sids.semantic_ids import SemanticIds

Cli = Callable[..., Done]
QUICK = ["--set", "sasrec.epochs=2", "--set", "sasrec.hidden_size=16"]


@pytest.mark.parametrize("method", ["letter", "macrec"])
def test_a_recipe_names_it_and_gets_it(cli: Cli, copied_run: Path, method: str) -> None:
    own = ["--set", f"sids.quantizer={method}", "--set", f"sids.{method}.epochs=5", "--set", "sids.held_out_ratio=0"]
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(), *own, *QUICK, "--until", "sids")
    assert done.code == 0, done.err
    run = load(copied_run)
    assert run.read_stage_manifest("sids").facts["quantizer"] == method
    assert (copied_run / "sasrec").is_dir() == (method == "letter")
    assert ("sasrec" in run.read_stage_manifest("sids").parents) == (method == "letter")
    assert measure_quality(run.artifacts.sids, load_quality_inputs(run.artifacts)).fidelity is not None, (
        "the report can be written"
    )
    if method == "macrec":
        assert len(SemanticIds.load(copied_run / "sids" / "images")) == len(run.artifacts.sids)


def test_sasrec_stands_in_the_table(cli: Cli, copied_run: Path) -> None:
    own = ["--set", 'evaluate.systems=["popularity", "sasrec"]']
    done = cli("run", "trialigngr-demo", "--out", copied_run, *tiny(), *own, *QUICK)
    assert done.code == 0, done.err
    assert set(json.loads((copied_run / "metrics.json").read_text())["baselines"]) == {"popularity", "sasrec"}
    assert "model: unchanged, kept" in done.err


def test_text_and_pictures_apart(tiny_run: Path) -> None:
    text, pictures = load_modalities(tiny_run / "embeddings")
    assert text.shape == (len(load(tiny_run).artifacts.catalog), 384)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(pictures, axis=1), 1, atol=1e-5)
