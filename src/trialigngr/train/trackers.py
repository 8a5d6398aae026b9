"""`Tracker`: where figures go while training goes on; adapters to TensorBoard, Weights & Biases, trackio and MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.train.settings import TrackerName

PROJECT_NAME = "trialigngr"


class Tracker(Protocol):
    """Gets figures by name as training goes on. A resumed run may tell the steps since its checkpoint twice."""

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the figures of a step, for example ``loss/sids_to_sid`` and ``valid/NDCG@10``."""
        ...

    def close(self) -> None:
        """Write what is left; nothing comes after."""
        ...


class TensorBoardTracker:
    """Event files in ``tensorboard/`` beside ``metrics.jsonl``."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        _import_tracker("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder / "tensorboard")
        self._writer.add_text("settings", "\n".join(f"    {key} = {value}" for key, value in settings.items()))

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a scalar for each figure."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class _LibraryTracker:
    """What Weights & Biases and trackio share: ``init``, ``log``, ``finish``, and a run that goes on by its name."""

    module: TrackerName

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self._library = _import_tracker(self.module)
        self._library.init(project=PROJECT_NAME, name=name, config=dict(settings), **self._resume_options(folder, name))

    def _resume_options(self, _folder: Path, _name: str) -> dict[str, Any]:
        return {"resume": "allow"}

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the figures under the step."""
        self._library.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._library.finish()


class WandbTracker(_LibraryTracker):
    """A run of the project ``trialigngr``; its own variables (``WANDB_MODE=offline``) decide where it goes."""

    module = "wandb"

    def _resume_options(self, folder: Path, name: str) -> dict[str, Any]:
        return {"resume": "allow", "id": name, "dir": str(folder)}


class TrackioTracker(_LibraryTracker):
    """A run of the project ``trialigngr`` in trackio's local store."""

    module = "trackio"


class MlflowTracker:
    """A run of the experiment ``trialigngr``, which goes on by the id in ``mlflow/run_id``; its own variables
    (``MLFLOW_TRACKING_URI``) decide where it goes."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self._library = _import_tracker("mlflow")
        self._library.set_experiment(PROJECT_NAME)
        known = folder / "mlflow" / "run_id"
        if known.is_file():
            self._library.start_run(run_id=known.read_text(encoding="utf-8"))
            return
        begun = self._library.start_run(run_name=name)
        self._library.log_params(dict(settings))
        known.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(known, begun.info.run_id)

    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the figures under the step; MLflow takes no @ in a name."""
        self._library.log_metrics({name.replace("@", "_at_"): value for name, value in metrics.items()}, step=step)

    def close(self) -> None:
        """End the run."""
        self._library.end_run()


TRACKERS: dict[TrackerName, Callable[[Path, str, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
    "mlflow": MlflowTracker,
}


def open_trackers(names: Sequence[TrackerName], folder: Path, run: str, settings: Mapping[str, Any]) -> list[Tracker]:
    """Return a tracker for each name; raise `RecipeError` where its package is not installed."""
    return [TRACKERS[name](folder, run, settings) for name in names]


def _import_tracker(name: TrackerName) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise RecipeError(
            f"train.trackers names {name}, which is not installed; install it with: pip install 'trialigngr[{name}]'."
        ) from None
