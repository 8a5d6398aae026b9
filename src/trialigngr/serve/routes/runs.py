"""The runs that are served, and two side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from trialigngr.serve.errors import ServiceError
from trialigngr.serve.info_models import MetricFigure, RunComparison, RunFigures, RunList, ServedRunInfo
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.served_run import ServedRun
from trialigngr.serve.service import Service

RunName = Annotated[str, Query(min_length=1, max_length=LIMITS.id_length)]
TWO_RUNS = {
    "operationRef": "#/paths/~1v1~1compare/get",
    "parameters": {"a": "$response.body#/runs/0/version/name", "b": "$response.body#/runs/1/version/name"},
}
"""What the description says of a list of runs: the first two can be compared."""


def build_run_router(service: Service) -> APIRouter:
    """Return the paths that show runs."""
    router = APIRouter(tags=["runs"])

    @router.get("/v1/runs", responses={200: {"links": {"compare": TWO_RUNS}}})
    def list_runs() -> RunList:
        """Return every run that is served."""
        return RunList(runs=[describe_run(run) for run in service.runs.values()])

    @router.get("/v1/compare")
    def compare_figures(a: RunName, b: RunName) -> RunComparison:
        """Return the test figures of two runs with their intervals, and what of their protocols differs."""
        return compare_runs(service.find_run(a), service.find_run(b))

    return router


def compare_runs(a: ServedRun, b: ServedRun) -> RunComparison:
    """Return the test figures of two runs, and what of their protocols differs."""
    first, second = describe_figures(a), describe_figures(b)
    names = dict.fromkeys([*first.protocol, *second.protocol])
    differing = [name for name in names if first.protocol.get(name) != second.protocol.get(name)]
    return RunComparison(a=first, b=second, protocol_differences=differing)


def describe_run(run: ServedRun) -> ServedRunInfo:
    """Return what a run is and how it answers."""
    snapshot, recipe = run.snapshot, run.run.recipe
    return ServedRunInfo(
        version=run.describe_version(snapshot),
        num_items=len(snapshot.catalog),
        num_withdrawn=len(snapshot.withdrawn_items),
        codebook_sizes=list(snapshot.sids.codebook_sizes),
        systems=run.list_systems(),
        head=run.head,
        max_history=snapshot.max_prompt_history,
        num_beams=recipe.decode.num_beams,
        softmax=recipe.decode.score_softmax,
        num_images=int(snapshot.catalog.table["image_path"].is_not_null().sum()),
    )


def describe_figures(run: ServedRun) -> RunFigures:
    """Return the test figures of a run; raise `ServiceError` for one that has none."""
    if not (run.run.folder / "metrics.json").is_file():
        raise ServiceError("conflict", f"The run {run.name} has not been evaluated.")
    metrics = run.run.metrics
    return RunFigures(
        run=run.describe_version(run.snapshot),
        figures={name: MetricFigure(**figure) for name, figure in metrics["test"].items()},
        protocol={name: str(value) for name, value in metrics["protocol"].items()},
    )
