"""Finished runs side by side: figures with intervals, paired differences, and what the figures mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trialigngr.evaluate.targets import ITEM, TargetRanks
from trialigngr.metrics.intervals import Estimate
from trialigngr.pipeline.loaded import Run, load

KS = (5, 10)


def table_lines(folders: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of the table; raise `ArtifactError` when the runs were tested on different targets."""
    runs = [load(folder) for folder in folders]
    tests = [TargetRanks.load(run.folder / "evaluation" / "test.parquet") for run in runs]
    width = max(12, *(len(run.folder.name) for run in runs)) + 2
    yield from _protocol(runs[0])
    yield ""
    yield " " * width + "".join(f"{name:>28s}" for name in ("HR@5", "NDCG@5", "HR@10", "NDCG@10"))
    for run, test in zip(runs, tests, strict=True):
        yield f"{run.folder.name:{width}s}" + _row(test.figures("model", ITEM, KS))
    for system in tests[0].ranks:
        if system != "model":
            yield f"{system:{width}s}" + _row(tests[0].figures(system, ITEM, KS))
    yield ""
    yield f"{runs[0].folder.name} minus, paired over users:"
    for run, test in zip(runs[1:], tests[1:], strict=True):
        yield f"{run.folder.name:{width}s}" + _row(tests[0].difference_from(test, ITEM, KS), sign="+")
    for system in tests[0].ranks:
        if system != "model":
            yield f"{system:{width}s}" + _row(tests[0].difference("model", system, ITEM, KS), sign="+")


def _row(figures: dict[str, Estimate], sign: str = "") -> str:
    ordered = [figures[name] for name in ("HR@5", "NDCG@5", "HR@10", "NDCG@10")]
    return "".join(f"{f'{f.value:{sign}.4f} [{f.low:{sign}.4f}, {f.high:{sign}.4f}]':>28s}" for f in ordered)


def _protocol(run: Run) -> Iterator[str]:
    said = run.metrics["protocol"]
    yield (
        f"{said['test_targets']:,} test targets of {said['test_users']:,} users; {said['split']}, "
        f"{said['k_core']}-core, history ≤ {said['history_cap']}, whole catalogue, "
        f"seen items {said['seen_items'].split(' (')[0]}"
    )
    yield (
        f"item level; {said['beams']} beams, normalised over the {said['normalisation']}; "
        f"selection by {said['selection']}"
    )
    yield f"[…]: {said['interval']}"
