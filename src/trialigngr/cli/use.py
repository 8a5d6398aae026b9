"""``recommend``, ``evaluate``, ``report``: use a finished run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from trialigngr.cli.item_ids import read_item_ids

if TYPE_CHECKING:
    from trialigngr.runs.request import Recommendations

_run_argument = click.argument("run", type=click.Path(path_type=Path))


@click.command()
@click.argument("run")
@click.option("--user", help="A user of the log: recommend after everything they took.")
@click.option(
    "--history",
    multiple=True,
    metavar="ID,ID,…",
    help="Item ids, oldest first. Ids that hold commas or outer blanks: once an id, or a JSON list; so --deny, --only.",
)
@click.option("--all-users", is_flag=True, help="Recommend for every user of the log, into --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Parquet file for --all-users.")
@click.option("--text", help="Words such as a title's: find items by them (T1).")
@click.option("--visual", help="Words on how an item looks: find items by them (T7).")
@click.option(
    "--by",
    default="sid",
    show_default=True,
    type=click.Choice(["sid", "title"]),
    help="What the model writes after a history: SIDs (T3, T4), or titles of items that exist (T5, T6).",
)
@click.option("--system", default="", help="The system that is asked; else the one that heads the run's table.")
@click.option("-k", default=10, show_default=True, help="Items to recommend.")
@click.option(
    "--seen/--unseen",
    default=None,
    help="Let items come back that the history already has, or leave them out; the run's evaluate.seen_items says "
    "what is done otherwise.",
)
@click.option("--deny", multiple=True, metavar="ID,ID,…", help="Items that must not come back (out of stock, say).")
@click.option("--only", multiple=True, metavar="ID,ID,…", help="Items of which alone some may come back.")
@click.option("--category", help="Recommend items of this category alone.")
@click.option("--skip-unknown", is_flag=True, help="Leave items out of the history that the run does not know.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recommend(
    run: str,
    user: str | None,
    history: tuple[str, ...],
    all_users: bool,
    out: Path | None,
    text: str | None,
    visual: str | None,
    by: Literal["sid", "title"],
    system: str,
    k: int,
    seen: bool | None,
    deny: tuple[str, ...],
    only: tuple[str, ...],
    category: str | None,
    skip_unknown: bool,
    as_json: bool,
) -> None:
    """Recommend items with the finished RUN: for a user, after a history, for words, or for all users.

    RUN is a folder, or the address of a run that was pushed: hf://OWNER/NAME.
    """
    from trialigngr.runs.run import load
    from trialigngr.tasks.task import View

    words = text if text is not None else visual
    if sum(given is not None for given in (user, history or None, text, visual)) + all_users != 1:
        raise click.UsageError("Give one of --user, --history, --text, --visual and --all-users.")
    if all_users != (out is not None):
        raise click.UsageError("--all-users and --out belong together.")
    opened = load(run)
    known = opened.catalog_snapshot.catalog.row_by_id
    allowed: dict[str, Any] = {
        "deny": read_item_ids(deny, known),
        "only": read_item_ids(only, known) if only else None,
        "category": category,
    }
    unseen = None if seen is None else not seen
    if out is not None:
        if skip_unknown or by != "sid":
            raise click.UsageError("--skip-unknown and --by title are for one user or history.")
        from trialigngr.runs.batch_inference import recommend_all

        click.echo(f"{out}: {recommend_all(opened, out, k, unseen=unseen, system=system, **allowed):,} users")
        return
    if words is not None:
        if by != "sid" or system not in ("", "generator"):
            raise click.UsageError(
                "--text and --visual find items by their SIDs; --by title is for a history, and so is --system."
            )
        view = View.TITLE if text is not None else View.VISUAL
        found = opened.search_items(words, k, view, **allowed)
    else:
        allowed |= {"unseen": unseen, "by": by, "system": system}
        if user is not None:
            found = opened.recommend_user(user, k, **allowed)
        else:
            found = opened.recommend(read_item_ids(history, known), k, skip_unknown=skip_unknown, **allowed)
    _tell_of_request(found, k, opened.recipe.decode.num_beams, has_history=words is None)
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], ensure_ascii=False))
        return
    for rank, item in enumerate(found, 1):
        score = item.source if item.score is None else f"{item.score:8.3f}"
        if "from_prior" in item.score_parts:
            score += f"  {item.score_parts['from_prior']:4.0%} {opened.recipe.prior.system}"
        click.echo(f"{rank:3d}  {score}  {item.item_id:>14s}  {item.title}")
    if len(found) < k:
        click.echo(f"Only {len(found)} items are allowed and reachable; {k} were asked for.", err=True)


def _tell_of_request(found: Recommendations, k: int, usual_beams: int, *, has_history: bool) -> None:
    """Say on stderr what was done otherwise than asked: what of a history was not looked at, and more beams."""
    if (found.num_beams or 0) > usual_beams:
        click.echo(
            f"k = {k} is more than decode.num_beams = {usual_beams}: {found.num_beams} beams are kept.", err=True
        )
    if has_history and not found.history_used:
        click.echo("The history is empty: these are the most popular items.", err=True)
    unknown = [one.item_id for one in found.dropped if one.reason == "unknown"]
    if unknown:
        named = ", ".join(unknown[:3]) + (" …" if len(unknown) > 3 else "")
        click.echo(f"{len(unknown)} items of the history are unknown and were left out: {named}", err=True)
    if older := len(found.dropped) - len(unknown):
        shown = len(found.history_used)
        click.echo(f"{older} items of the history are older than the last {shown}, and were not looked at.", err=True)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", default="text", show_default=True, type=click.Choice(["text", "markdown", "latex", "json"])
)
@click.option(
    "--metrics",
    metavar="M@K,M@K,…",
    help="Columns, at any K: HR, NDCG and MRR (HR and NDCG at 5 and 10 if none is given); for the table of lists "
    "Coverage, Novelty and PopularityBias (at 10).",
)
@click.option("--slices", is_flag=True, help="Add cold items, popularity bands and history lengths.")
def evaluate(runs: tuple[Path, ...], form: str, metrics: str | None, slices: bool) -> None:
    """Print the test figures of RUNS side by side, with paired differences from the first."""
    from trialigngr.evaluate.comparison import DEFAULT_METRICS
    from trialigngr.evaluate.comparison_formats import COMPARISON_FORMATS
    from trialigngr.studies.compare import compare_runs

    wanted = [name.strip() for name in (metrics or "").split(",") if name.strip()]
    click.echo(COMPARISON_FORMATS[form](compare_runs(runs, wanted or DEFAULT_METRICS, with_slices=slices)))


@click.command()
@_run_argument
@click.argument("name")
@click.option("--replace", is_flag=True, help="Replace what the hub has under NAME.")
@click.option("--private", is_flag=True, help="Let nobody else see it.")
@click.option("--license", "license_name", default="", help="Licence of the model card, such as apache-2.0.")
@click.option("--with-users", is_flag=True, help="Publish the users' ids and histories too.")
def push(run: Path, name: str, replace: bool, private: bool, license_name: str, with_users: bool) -> None:
    """Push the finished RUN to the Hugging Face Hub as NAME (OWNER/NAME), where load("hf://OWNER/NAME") finds it.

    What goes: the model with its card, the SIDs, the items' ids, texts and captions, and how often each item was taken.
    What stays: users, interactions, pictures, other columns of the items, and names of files, servers and hosts.
    """
    from trialigngr.pipeline.push import push_run
    from trialigngr.runs.run import load

    opened = load(run)
    click.echo(
        push_run(opened, name, replace=replace, private=private, license_name=license_name, with_users=with_users)
    )


@click.command()
@_run_argument
def report(run: Path) -> None:
    """Write RUN/report.html anew."""
    from trialigngr.pipeline.publish import write_run_report
    from trialigngr.runs.run import load

    click.echo(write_run_report(load(run)))


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
def lint_table(table: Path) -> None:
    """Say which rows of TABLE hold figures that no ranked list can have.

    TABLE is CSV, TSV, Markdown or JSON with one line a system and columns such as HR@10, Recall@5 or "Beauty NDCG@10";
    or a run's metrics.json. The laws are arithmetic for one relevant item a list, and allow for rounding. Columns and
    rows that are not checked are named. Exit code 1 when a row breaks a law.
    """
    from trialigngr.evaluate.table_lint import lint_table as lint

    rows, found = lint(table, click.echo)
    for sentence in found:
        click.echo(sentence)
    click.echo(f"{rows} rows looked at, " + (f"{len(found)} broken laws." if found else "all possible."))
    if found:
        raise SystemExit(1)
