"""``enrich``: how the calls of language models stand, and what they wrote."""

from __future__ import annotations

import json
from pathlib import Path

import click

_run_argument = click.argument("run", type=click.Path(path_type=Path))


@click.group()
def enrich() -> None:
    """See what language models (and the offline defaults) wrote about items."""


@enrich.command()
@_run_argument
@click.option("--items", default=10, show_default=True, help="Name this many items of each problem.")
def status(run: Path, items: int) -> None:
    """Print what is done, failed and to do of the stages of RUN that ask language models.

    Before that, print which pictures could not be had or used, and why.
    """
    from trialigngr.pipeline.llm_costs import describe_costs
    from trialigngr.recipes.written import read_run_recipe
    from trialigngr.studies.enrichment_status import describe_image_failures, describe_status

    recipe = read_run_recipe(run)
    for line in (
        *describe_image_failures(run, items),
        *describe_status(recipe, run, items),
        *describe_costs(recipe, run),
    ):
        click.echo(line)


@enrich.command()
@_run_argument
@click.argument("items", nargs=-1, metavar="[ITEM…]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(run: Path, items: tuple[str, ...], as_json: bool) -> None:
    """Print caption, interests and lifestyle of ITEM… in RUN, who wrote them, and what went wrong.

    Without ITEM, print what all captions and tags of RUN are like: how long, how varied, how many only repeat the
    title, which are the most frequent.
    """
    from dataclasses import asdict

    from trialigngr.report.from_run.enrichment_statistics import (
        compute_enrichment_statistics,
        describe_enrichment_statistics,
    )
    from trialigngr.studies.annotation_sheet import open_artifacts
    from trialigngr.studies.enrichment_status import describe_item

    if not items:
        statistics = compute_enrichment_statistics(open_artifacts(run))
        click.echo(
            json.dumps(asdict(statistics), indent=2)
            if as_json
            else "\n".join(describe_enrichment_statistics(statistics))
        )
        return
    found = [describe_item(run, item_id) for item_id in items]
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for one in found:
        for name, value in one.items():
            click.echo(f"{name:10s} {value}")
        click.echo()


@enrich.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN…")
@click.option("--items", default=50, show_default=True, type=click.IntRange(1), help="Items on the sheet.")
@click.option("--seed", default=0, show_default=True, help="Decides which items, and in which order.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The sheet, a CSV file.")
def annotation_sheet(runs: tuple[Path, ...], items: int, seed: int, out: Path) -> None:
    """Write a sheet for people to grade captions and tags of RUN… blindly.

    Every item stands there with each run's answer, in shuffled order and without a name. Which answer is of which run
    stands beside it, in NAME.key.csv: keep that from the graders.
    """
    from trialigngr.studies.annotation_sheet import draw_annotation_sheet, write_annotation_sheet

    drawn = draw_annotation_sheet(runs, items, seed)
    key = write_annotation_sheet(drawn, out)
    click.echo(f"{out}: {len(drawn.rows)} answers to grade; which is whose stands in {key}")


@enrich.command()
@click.argument("sheets", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHEET…")
@click.option(
    "--key", type=click.Path(path_type=Path), help="The sheet's key, if it does not lie beside the first one."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def grade(sheets: tuple[Path, ...], key: Path | None, as_json: bool) -> None:
    """Print the mean of each question's grades by run, from SHEET… that people filled.

    More than one are copies of one sheet that several people filled: all their grades count.
    """
    from dataclasses import asdict

    from trialigngr.studies.annotation import format_grades, summarize_grades

    grades = summarize_grades(sheets, key)
    click.echo(json.dumps([asdict(one) for one in grades], indent=2) if as_json else "\n".join(format_grades(grades)))
