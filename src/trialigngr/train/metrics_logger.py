"""``metrics.jsonl``: mean loss by task since the line before, and what validations find."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from trialigngr.foundation.files import write_text_atomically


class MetricsLogger:
    """Writes a line now and then; lines after a resumed step are dropped. Without a path it only collects."""

    def __init__(self, path: Path | None, resumed_step: int, pending_losses: dict[str, list[float]]) -> None:
        self.path, self.pending_losses = (
            path,
            pending_losses,
        )  # losses by task since the last line; a checkpoint carries them over
        if path is not None:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            write_text_atomically(path, "".join(f"{line}\n" for line in lines if _parse_step(line) <= resumed_step))

    def add_loss(self, task: str, value: float) -> None:
        """Note the loss of a batch."""
        self.pending_losses.setdefault(task, []).append(value)

    def write_line(self, step: int, **extra_values: Any) -> dict[str, float]:
        """Write a line and return its mean losses by task."""
        losses = {task: sum(values) / len(values) for task, values in self.pending_losses.items()}
        self.pending_losses.clear()
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "loss": losses, **extra_values}) + "\n")
        return losses


def _parse_step(line: str) -> float:
    """Return the step of a journal's line; infinity for a line that a kill cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
