"""The benchmark for a GPU runs without one, at tiny sizes, with no more than torch, transformers and numpy."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from benchmarks import decode_gpu, enrich_gpu
from benchmarks.decode_gpu import TINY, Card, Shape
from benchmarks.decoding import data, large


@pytest.mark.long
def test_it_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(decode_gpu, "USERS", 2)
    monkeypatch.setattr(decode_gpu, "ITEMS", 300)
    (check,) = decode_gpu.table("cpu", [TINY], (24,), (3,), Card.measured("cpu", 64, 1))
    assert check.what == "tiny, 24 tokens, 3 beams: vocabulary, times a masked step"
    assert check.value > 0
    told = capsys.readouterr().out
    assert "of the\n    roofline" in told
    monkeypatch.setattr(decode_gpu, "EXPANDED_BYTES", 1)
    assert decode_gpu.table("cpu", [TINY], (24,), (3,), Card(1e12, 1e12)) == []
    assert "masked step nan" in capsys.readouterr().out, "what does not fit into memory has no speed"


@pytest.mark.long
def test_the_others_and_the_trie_are_measured_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    small = data.model(1, 64)
    monkeypatch.setattr(decode_gpu, "model", lambda: small)
    monkeypatch.setattr(decode_gpu, "ROUNDS", 1)
    names = [check.what.rsplit("than ", 1)[1] for check in decode_gpu.against_others("cpu")]
    assert names[:2] == ["callback", "vectorised mask"]
    monkeypatch.setattr(large, "CATALOGUES", (300, 600))
    assert all(check.value > 0 for check in large.growth(small))


def test_the_roofline_by_hand() -> None:
    shape = Shape("one", layers=1, width=2, feed_forward=3, heads=1, key_heads=1, head_width=2, vocabulary=5)
    assert shape.block_parameters == 2 * 2 * 2 * 2 + 3 * 2 * 3  # 34
    assert shape.cache_bytes == 8
    # 4 tokens: 2 × 34 × 4; 7 pairs: 4 × 2 × 7; 3 logits: 2 × 5 × 2 × 3.
    assert shape.operations(4, 7, 3) == 272 + 56 + 60
    # Nothing but operations counts: the prompt 2 × 34 × 4 + 8 × 10 + 20, two steps of 3 beams.
    assert Card(1, 1e9).least_seconds(shape, 1, 4, 3) == 272 + 80 + 20 + 2 * (204 + 8 * 12 + 60)
    # Nothing but bytes counts: weights and head, then the cache of 4 tokens beside them.
    assert Card(1e9, 1).least_seconds(shape, 1, 4, 3) == 88 + 2 * (88 + 32)


def test_parameters_are_the_models_own() -> None:
    model = TINY.build("cpu")
    matrices = [p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    assert sum(matrices) == TINY.block_parameters


def loaded_by(module: str, root: Path, seen: set[str]) -> set[str]:
    """Return the packages from elsewhere that importing one of our modules loads, by its lines and those of ours."""
    if module in seen:
        return set()
    seen.add(module)
    place = root / ("src" if module.startswith("trialigngr") else "") / module.replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    named: set[str] = set()
    for line in ast.parse(path.read_text("utf-8")).body:
        if isinstance(line, ast.Import):
            named |= {alias.name for alias in line.names}
        elif isinstance(line, ast.ImportFrom):
            named.add(str(line.module))
    # Importing a.b.c runs a and a.b first.
    named |= {".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 1)}
    ours = {name for name in named if name.split(".")[0] in ("trialigngr", "benchmarks")}
    return {name.split(".")[0] for name in named - ours}.union(*(loaded_by(name, root, seen) for name in ours))


def test_no_more_is_imported_than_a_gpu_machine_has(root: Path) -> None:
    seen: set[str] = set()
    elsewhere = loaded_by("benchmarks.decode_gpu", root, seen) - set(sys.stdlib_module_names)
    assert {"trialigngr.decode.beam", "trialigngr.sids.trie", "benchmarks.harness"} <= seen
    assert elsewhere == {"torch", "transformers", "numpy"}


def test_the_generators_are_timed_by_the_code_that_loads_real_ones() -> None:
    checks = enrich_gpu.table(dict(zip(enrich_gpu.STAGES, enrich_gpu.TINIES, strict=True)), (2,), 3, 56)
    assert [check.ok for check in checks] == [True] * 3
