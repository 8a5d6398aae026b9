"""``serve``, ``demo``, ``explore``: finished runs behind HTTP and as pages, and one of them as a file."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import ModuleType

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other than the loopback needs keys.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--api-key-file", type=click.Path(path_type=Path), help="Keys of clients, one a line.")
@click.option("--admin-key-file", type=click.Path(path_type=Path), help="Keys that may change the catalogue.")
@click.option("--events", type=click.Path(path_type=Path), help="File that events are added to; without it none are.")
@click.option("--max-waiting", default=256, show_default=True, type=click.IntRange(1), help="Requests that wait.")
@click.option("--max-batch", default=64, show_default=True, type=click.IntRange(1), help="Requests decoded together.")
@click.option(
    "--window-ms", default=5.0, show_default=True, type=click.FloatRange(0), help="How long a batch waits for more."
)
@click.option(
    "--deadline", default=30.0, show_default=True, type=click.FloatRange(0.001), help="Seconds a request may wait."
)
def serve(
    runs: tuple[Path, ...],
    host: str,
    port: int,
    api_key_file: Path | None,
    admin_key_file: Path | None,
    events: Path | None,
    max_waiting: int,
    max_batch: int,
    window_ms: float,
    deadline: float,
) -> None:
    """Answer HTTP requests with finished RUNS, the first by default, and show them as pages (docs/service.md)."""
    from trialigngr.serve.limits import QueueSettings

    server, queue = _import_server(), QueueSettings(max_waiting, max_batch, window_ms, deadline)
    server.serve_runs(runs, server.ListenSettings(host, port, api_key_file, admin_key_file, events), queue)


@click.command()
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
def demo(port: int) -> None:
    """Show a small finished run that comes with the package, on 127.0.0.1, until ^C; nothing is trained or fetched."""
    from trialigngr.serve.demo import unpack_demo
    from trialigngr.serve.limits import QueueSettings

    server = _import_server()
    # A stop ends the command by an exception, so that the folder is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with unpack_demo() as folder:
        click.echo("A small shop is opened; its address follows, for a browser. ^C ends it.", err=True)
        server.serve_runs([folder], server.ListenSettings(port=port), QueueSettings())


def _import_server() -> ModuleType:
    """Return the module that listens; raise `ClickException` where the packages for that are not installed."""
    try:
        from trialigngr.serve import server
    except ImportError:
        raise click.ClickException("The service needs some packages: pip install 'trialigngr[serve]'.") from None
    return server


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--html", required=True, type=click.Path(path_type=Path), help="The file that is written.")
@click.option(
    "--max-mb",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="How large the items in it may be together; where not all fit, a part drawn at random stands in it.",
)
def explore(run: Path, html: Path, max_mb: float) -> None:
    """Write the SID tree and the items of a finished RUN as one HTML file that needs no network."""
    from trialigngr.runs.run import load
    from trialigngr.serve.pages.offline import write_explorer

    made = write_explorer(load(run), html, max_mb)
    size = made.path.stat().st_size / 1e6
    click.echo(f"{made.path}: {made.num_shown:,} of {made.num_items:,} items, {size:.1f} MB")
