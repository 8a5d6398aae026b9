"""`Service`: the runs that are served and what stands beside them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from trialigngr.foundation.version import __version__
from trialigngr.runs.run import load
from trialigngr.serve.api_keys import KeyRing
from trialigngr.serve.engine import BatchEngine
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.events import EventLog
from trialigngr.serve.info_models import HealthState, ServiceInfo
from trialigngr.serve.limits import LIMITS, QueueSettings
from trialigngr.serve.served_run import ServedRun
from trialigngr.serve.service_metrics import ServiceMetrics


class Service:
    """Runs by name, the default one first, with keys, events and metrics."""

    def __init__(
        self, runs: Sequence[ServedRun], keys: KeyRing, events: EventLog | None, metrics: ServiceMetrics
    ) -> None:
        self.runs = {run.name: run for run in runs}
        self.keys, self.events, self.metrics = keys, events, metrics
        self.is_draining = self.is_warm = False

    def start(self) -> None:
        """Load what first requests would wait for, and begin to answer."""
        # Once and for all threads: silenced around each picture, these would have to wait for each other.
        warnings.filterwarnings("ignore", module=r"PIL\b")
        for run in self.runs.values():
            run.warm_up()
            run.engine.start()
        self.is_warm = True

    def stop(self) -> None:
        """Answer what waits, and take nothing more."""
        self.is_draining = True
        for run in self.runs.values():
            run.engine.drain()
        if self.events is not None:
            self.events.close()

    def find_run(self, name: str | None) -> ServedRun:
        """Return a run by its name, the first without one; raise `ServiceError` for a stranger."""
        if name is None:
            return next(iter(self.runs.values()))
        if name not in self.runs:
            raise ServiceError("unknown_run", f"No such run is served here; there are {', '.join(self.runs)}.", "run")
        return self.runs[name]

    @property
    def is_full(self) -> bool:
        """Whether no run has room for one more request."""
        return all(run.engine.is_full for run in self.runs.values())

    def describe_readiness(self) -> HealthState:
        """Return whether requests should come here, and if not why."""
        reasons = [] if self.is_warm else ["loading"]
        if self.is_draining:
            reasons.append("draining")
        for name, run in self.runs.items():
            if self.is_warm and not run.engine.is_alive:
                reasons.append(f"{name}: no worker")
            if run.engine.is_full:
                reasons.append(f"{name}: queue_full")
        return HealthState(status="not ready" if reasons else "ok", reasons=reasons)

    def describe_limits(self) -> ServiceInfo:
        """Return what this service is and what it allows."""
        settings = next(iter(self.runs.values())).engine.settings
        return ServiceInfo(
            version=__version__,
            runs=list(self.runs),
            limits=dict(vars(LIMITS)),
            queue=dict(vars(settings)),
            keys_needed=self.keys.needs_key,
            admin=self.keys.has_admins,
            events=self.events is not None,
        )


def open_service(
    folders: Sequence[Path], keys: KeyRing, events: Path | None = None, queue: QueueSettings | None = None
) -> Service:
    """Return a service of run folders, each under its name, that has yet to start; raise `TriAlignError` for a run that
    is damaged or not finished."""
    metrics = ServiceMetrics()
    runs = []
    for name, folder in _name_folders(folders):
        run = load(folder)
        engine = BatchEngine(run, queue or QueueSettings(), metrics.watch_batches(name))
        runs.append(ServedRun(name, run, engine))
        run.check_model()
        metrics.watch_queue(name, engine)
    return Service(runs, keys, None if events is None else EventLog(events), metrics)


def _name_folders(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return each folder with its own name; with a number behind it where an earlier one is called the same."""
    names = [folder.resolve().name for folder in folders]
    twice = [names[:place].count(name) for place, name in enumerate(names)]
    return [
        (name if not before else f"{name}-{before + 1}", folder)
        for name, before, folder in zip(names, twice, folders, strict=True)
    ]
