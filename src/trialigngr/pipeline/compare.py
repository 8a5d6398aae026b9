"""Finished runs side by side, on the same targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trialigngr.evaluate.tables import METRICS, Comparison, Line, Versus
from trialigngr.evaluate.targets import ITEM, TargetRanks
from trialigngr.foundation.errors import ArtifactError
from trialigngr.metrics.intervals import holm, p_values, paired
from trialigngr.pipeline.loaded import load

KS = (5, 10)


def comparison(folders: Sequence[Path]) -> Comparison:
    """Return the runs, the first one's baselines, and the first against all of them.

    Raises `ArtifactError` when the runs were tested on different targets, and for a run given twice.
    """
    runs = [load(folder) for folder in folders]
    names = _names(folders)
    tests = [TargetRanks.load(run.folder / "evaluation" / "test.parquet") for run in runs]
    first, baselines = tests[0], [system for system in tests[0].ranks if system != "model"]
    lines = [
        Line(name, test.figures("model", ITEM, KS), run.metrics.get("over_seeds"))
        for name, run, test in zip(names, runs, tests, strict=True)
    ]
    lines += [Line(system, first.figures(system, ITEM, KS)) for system in baselines]
    others = {}
    for name, test in zip(names[1:], tests[1:], strict=True):
        first.refuse_others(test)
        others[name] = test.values("model", ITEM, KS)
    others |= {system: first.values(system, ITEM, KS) for system in baselines}
    ours = first.values("model", ITEM, KS)
    p = {name: p_values(ours, theirs, first.users_M) for name, theirs in others.items()}
    corrected = holm({(name, metric): p[name][metric] for name in others for metric in METRICS})
    versus = [
        Versus(name, paired(ours, theirs, first.users_M), {metric: corrected[name, metric] for metric in METRICS})
        for name, theirs in others.items()
    ]
    return Comparison(runs[0].metrics["protocol"], tuple(lines), tuple(versus))


def _names(folders: Sequence[Path]) -> list[str]:
    """Return what each run is called in a table: its folder's name, or the whole path where two have the same."""
    paths = [folder.resolve() for folder in folders]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ArtifactError(f"{min(twice)} is given twice; compare each run once.")
    names = [path.name for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
