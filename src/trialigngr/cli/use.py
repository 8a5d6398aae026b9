"""``recommend``, ``evaluate``, ``report``: use a finished run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

_run = click.argument("run", type=click.Path(path_type=Path))


@click.command()
@_run
@click.option("--user", help="A user of the log: recommend after everything they took.")
@click.option("--history", metavar="ID,ID,…", help="Item ids, oldest first.")
@click.option("-k", default=10, show_default=True, help="Items to recommend.")
@click.option("--seen", is_flag=True, help="Let items come back that the history already has.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recommend(run: Path, user: str | None, history: str | None, k: int, seen: bool, as_json: bool) -> None:
    """Recommend items with the finished RUN, for a user or after a history."""
    from trialigngr.pipeline import load

    if (user is None) == (history is None):
        raise click.UsageError("Give either --user or --history.")
    opened = load(run)
    if user is not None:
        found = opened.recommend_user(user, k, unseen=not seen)
    else:
        ids = [item_id.strip() for item_id in (history or "").split(",") if item_id.strip()]
        found = opened.recommend(ids, k, unseen=not seen)
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], ensure_ascii=False))
        return
    for rank, item in enumerate(found, 1):
        score = "popular" if item.score is None else f"{item.score:8.3f}"
        click.echo(f"{rank:3d}  {score}  {item.item_id:>14s}  {item.title}")
    if len(found) < k:
        click.echo(f"Only {len(found)} items are allowed and reachable; {k} were asked for.", err=True)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
def evaluate(runs: tuple[Path, ...]) -> None:
    """Print the test figures of RUNS side by side, with paired differences from the first."""
    from trialigngr.pipeline.compare import table_lines

    for line in table_lines(runs):
        click.echo(line)


@click.command()
@_run
def report(run: Path) -> None:
    """Write RUN/report.html anew."""
    from trialigngr.pipeline import load
    from trialigngr.pipeline.page import write_report

    click.echo(write_report(load(run)))


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
def lint_table(table: Path) -> None:
    """Say which rows of TABLE hold figures that no ranked list can have.

    TABLE is CSV, TSV, Markdown or JSON with one line a system and columns such as HR@10, Recall@5 or "Beauty NDCG@10";
    or a run's metrics.json. The laws are arithmetic for one relevant item a list, and allow for rounding. Exit code 1
    when a row breaks one.
    """
    from trialigngr.evaluate.lint import lint_table as lint

    rows, found = lint(table)
    for sentence in found:
        click.echo(sentence)
    click.echo(f"{rows} rows looked at, " + (f"{len(found)} broken laws." if found else "all possible."))
    if found:
        raise SystemExit(1)
