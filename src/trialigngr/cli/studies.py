"""``diagnose``, ``tune``: look into a finished run, and search for better settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trialigngr.cli.cost_confirmation import confirm_costs, key_option, yes_option
from trialigngr.cli.data_option import data_option

if TYPE_CHECKING:
    from trialigngr.datasets.remote import DataSource
    from trialigngr.studies.search_space import SamplerName


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--items", default=1000, show_default=True, help="Items whose titles are written.")
@click.option(
    "--format", "form", default="text", show_default=True, type=click.Choice(["text", "markdown", "latex", "json"])
)
def diagnose(runs: tuple[Path, ...], items: int, form: str) -> None:
    """Say what the models of RUNS know of their SIDs (the paper's Table 7), beside what chance would reach.

    A probe reads an item's category from the embeddings of its SID tokens; the model writes titles from SIDs. The
    runs stand in one table, with the paper's rows below; each run's own result goes into its diagnostics.json,
    diagnostics.txt and report.
    """
    from trialigngr.evaluate.table import TABLE_FORMATS
    from trialigngr.report.from_run.result_tables import build_diagnostics_table
    from trialigngr.studies.diagnose import diagnose_runs, format_diagnostics_json

    found = diagnose_runs(runs, items)
    click.echo(
        format_diagnostics_json(found) if form == "json" else TABLE_FORMATS[form](build_diagnostics_table(found))
    )


@click.command()
@click.argument("recipe")
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the search; one that stands there goes on."
)
@click.option("--over", multiple=True, required=True, metavar="A.B=[V,W]", help="A setting and its values; give often.")
@click.option("--trials", default=20, show_default=True, help="Combinations to try at most.")
@click.option(
    "--sampler",
    default="random",
    show_default=True,
    type=click.Choice(["random", "tpe"]),
    help="What chooses them: chance, or optuna's TPE by the scores so far (the extra `tune`).",
)
@click.option("--set", "changes", multiple=True, metavar="A.B=V", help="Change a setting; may be given often.")
@click.option("--seed", default=0, show_default=True, help="Of the sampler.")
@yes_option
@key_option
def tune(
    recipe: str,
    data: DataSource | None,
    out: Path,
    over: tuple[str, ...],
    trials: int,
    sampler: SamplerName,
    changes: tuple[str, ...],
    seed: int,
    yes: bool,
) -> None:
    """Search for better settings of RECIPE on validation targets; the best becomes OUT/best.toml.

    Where only settings of one system vary (sasrec, counts), only that is fitted. Test targets are never looked
    at. A search that was stopped goes on.

    For example: --over 'sasrec.dropout=[0.3, 0.5]' --over 'sasrec.hidden_size=[64, 128]'
    """
    from trialigngr.studies import tune as tuning

    search = tuning.TuningSearch(recipe, over, changes, trials, seed, sampler)
    if not yes:
        confirm_costs(tuning.estimate_search_costs(search, data, out))
    click.echo(tuning.format_trials(tuning.tune_recipe(search, data, out), search))
    click.echo(f"Best: {out / tuning.BEST_FILE}")
