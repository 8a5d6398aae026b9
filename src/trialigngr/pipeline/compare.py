"""Finished runs side by side, on the same targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.evaluate.paper import paper_rows
from trialigngr.evaluate.tables import METRICS, Comparison, Line, SliceLines, Versus
from trialigngr.evaluate.targets import ITEM, TargetRanks
from trialigngr.foundation.errors import ArtifactError
from trialigngr.metrics.intervals import Estimate, Floats, holm, p_values, paired
from trialigngr.pipeline.loaded import Run, load

Values = dict[str, Floats]

KS = (5, 10)


def comparison(folders: Sequence[Path], *, sliced: bool = False) -> Comparison:
    """Return the runs, the first one's baselines, and the first against all of them; ``sliced`` adds the slices.

    Raises `ArtifactError` when the runs were tested on different targets, and for a run given twice.
    """
    runs = [load(folder) for folder in folders]
    names = _names(folders)
    tests = [TargetRanks.load(run.folder / "evaluation" / "test.parquet") for run in runs]
    first, baselines = tests[0], [system for system in tests[0].ranks if system != "model"]
    lines = [
        Line(name, test.figures("model", ITEM, KS), run.metrics.get("over_seeds"), run.metrics["lists"]["model"])
        for name, run, test in zip(names, runs, tests, strict=True)
    ]
    lines += [
        Line(system, first.figures(system, ITEM, KS), lists=runs[0].metrics["lists"][system]) for system in baselines
    ]
    others = {}
    for name, test in zip(names[1:], tests[1:], strict=True):
        first.refuse_others(test)
        others[name] = test.values("model", ITEM, KS)
    others |= {system: first.values(system, ITEM, KS) for system in baselines}
    said = runs[0].metrics["protocol"]
    return Comparison(
        said,
        tuple(lines),
        _versus(first.values("model", ITEM, KS), others, first.users_M),
        {name: own for name, run in zip(names[1:], runs[1:], strict=True) if (own := _differs(said, run))},
        paper_rows(said["data"]),
        _slices(names, runs) if sliced else (),
    )


def _versus(ours: Values, others: dict[str, Values], users_M: npt.NDArray[np.int64]) -> tuple[Versus, ...]:
    """Return the first line against every other; all are tested on the same resampled users, which is also quicker."""
    pairs = [(name, metric) for name in others for metric in METRICS]
    mine, theirs = {(name, m): ours[m] for name, m in pairs}, {(name, m): others[name][m] for name, m in pairs}
    differences, p = paired(mine, theirs, users_M), holm(p_values(mine, theirs, users_M))
    return tuple(
        Versus(name, {m: differences[name, m] for m in METRICS}, {m: p[name, m] for m in METRICS}) for name in others
    )


def _differs(said: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return the entries of a run's protocol that are not the first run's."""
    own = run.metrics["protocol"]
    return {name: own.get(name) for name in said if own.get(name) != said[name]}


def _slices(names: Sequence[str], runs: Sequence[Run]) -> tuple[SliceLines, ...]:
    """Return the slices of the first run; the targets are the same, so the others have the same ones."""
    found = []
    for place, part in enumerate(runs[0].metrics["slices"]):
        own = {name: run.metrics["slices"][place]["figures"]["model"] for name, run in zip(names, runs, strict=True)}
        own |= {system: figures for system, figures in part["figures"].items() if system != "model"}
        told = {
            system: {metric: Estimate(**figure) for metric, figure in figures.items()}
            for system, figures in own.items()
        }
        found.append(SliceLines(part["name"], part["rule"], part["targets"], told))
    return tuple(found)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return what each run is called in a table: its folder's name, or the whole path where two have the same."""
    paths = [folder.resolve() for folder in folders]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ArtifactError(f"{min(twice)} is given twice; compare each run once.")
    names = [path.name for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
