"""What people read while work goes on: log lines on stderr, and progress with an ETA when stderr is a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trialigngr.foundation.visible import escape_controls

T = TypeVar("T")
stderr_console = Console(stderr=True, highlight=False, soft_wrap=True)


def log(message: str) -> None:
    """Print one line on stderr. Text from data is never markup, and commands no terminal (`escape_controls`)."""
    stderr_console.print(escape_controls(message), markup=False)


class ProgressCallback(Protocol):
    """Tell a progress bar that ``steps`` more are done, and optionally a short note to show beside it."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Move the bar on by ``steps``."""
        ...


@contextmanager
def show_progress(description: str, total: int, completed: int = 0) -> Iterator[ProgressCallback]:
    """Show ``description`` with a bar and an ETA on a terminal; say nothing elsewhere, nor without a description."""
    if not (description and stderr_console.is_terminal):
        yield lambda steps=1, note="": None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
    )
    with Progress(
        *columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=stderr_console, transient=True
    ) as bar:
        task = bar.add_task(description, total=total, completed=completed, note="")

        def advance_bar(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps)
            if note:
                bar.update(task, note=note)

        yield advance_bar


def track_progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with progress."""
    size = total if total is not None else len(items) if isinstance(items, Sized) else 0
    with show_progress(description, size) as advance:
        for item in items:
            yield item
            advance()
