"""``sids``: Semantic IDs by themselves. Embeddings in, SIDs out; how good they are; growth; other systems' formats."""

from __future__ import annotations

from pathlib import Path

import click

from trialigngr.cli.cost_confirmation import confirm_costs, key_option, yes_option


def _refuse_no_picture(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{path} must end in .png, .svg or .pdf.")
    return path


_path_type = click.Path(path_type=Path)
_out_option = click.option("--out", type=_path_type, required=True, help="Folder to write.")
_quantizer_option = click.option("--quantizer", default="rqkmeans", show_default=True, help="Method; see docs/sids.md.")
_codebook_sizes_option = click.option(
    "--sizes", "codebook_sizes", metavar="K,K,…", help="Codebook sizes, coarse to fine.  [default: 4096,2048,1024]"
)
_set_option = click.option(
    "--set", "changes", multiple=True, metavar="A.B=V", help="Change a setting, e.g. rqvae.latent_size=32."
)
_second_embeddings_option = click.option(
    "--second-embeddings", type=_path_type, help="Second table of vectors: letter's, macrec's."
)


@click.group()
def sids() -> None:
    """Semantic IDs by themselves: embeddings in, SIDs out. No log and no model is needed.

    SIDS below is a run, a folder with sids.parquet, an index.json, or a Parquet file with a column of SIDs.
    """


@sids.command()
@click.argument("embeddings", type=_path_type)
@_out_option
@_quantizer_option
@_codebook_sizes_option
@click.option(
    "--collision-policy", default="nearest_free", show_default=True, help="keep, nearest_free, sinkhorn, extra_level."
)
@click.option("--seed", default=0, show_default=True)
@_second_embeddings_option
@_set_option
def fit(
    embeddings: Path,
    out: Path,
    quantizer: str,
    codebook_sizes: str | None,
    collision_policy: str,
    seed: int,
    second_embeddings: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Fit a quantizer on EMBEDDINGS (.safetensors, .npy, .parquet) and give every item a SID."""
    from trialigngr.studies.sid_sources import fit_sid_folder, parse_sid_settings

    own = (f"collision_policy={collision_policy}", f"seed={seed}", *changes)
    fit_sid_folder(parse_sid_settings(quantizer, codebook_sizes, own), embeddings, out, second_embeddings)
    click.echo(f"{out}: sids.parquet, quantizer.safetensors")


@sids.command()
@click.argument("sources", metavar="SIDS...", nargs=-1, required=True, type=_path_type)
@click.option("--embeddings", type=_path_type, help="For fidelity and neighbours, where SIDS is not a run.")
@click.option("--items", type=_path_type, help="Table with item_id and categories, for purity.")
@click.option("--targets", type=_path_type, help="Table with the item_id of every test target.")
@click.option("--column", help="Column with the SIDs, where a Parquet file has several.")
@click.option(
    "--tsne",
    type=_path_type,
    callback=_refuse_no_picture,
    help="Draw the first SIDS by t-SNE, coloured by category, into this .png.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(
    sources: tuple[Path, ...],
    embeddings: Path | None,
    items: Path | None,
    targets: Path | None,
    column: str | None,
    tsne: Path | None,
    as_json: bool,
) -> None:
    """Say how good SIDS are, beside what chance would give; several stand side by side, and what became of the first
    is said for each other. What cannot be computed is said, not guessed."""
    import json
    from dataclasses import asdict

    from trialigngr.sids.churn import format_churn, measure_churn
    from trialigngr.sids.quality import measure_quality
    from trialigngr.sids.quality_text import format_quality
    from trialigngr.studies.sid_sources import SidFiles, draw_tsne_picture, open_sids

    files = SidFiles(embeddings, items, targets, column)
    opened = {str(source): open_sids(source, files) for source in sources}
    found = {name: measure_quality(*source) for name, source in opened.items()}
    if tsne is not None:
        draw_tsne_picture(opened[str(sources[0])], tsne)
    (first, (first_sids, _)), *others = opened.items()
    churns = {name: measure_churn(first_sids, own) for name, (own, _) in others}
    if as_json:
        bodies = {name: quality.to_dict() for name, quality in found.items()}
        for name, churn in churns.items():
            bodies[name]["churn"] = {"from": first, **asdict(churn)}
        click.echo(json.dumps(bodies, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join([format_quality(found), *format_churn(first, churns)]))


@sids.command()
@click.argument("embeddings", type=_path_type)
@_quantizer_option
@_codebook_sizes_option
@_set_option
@click.option("--levels", type=click.IntRange(1, 26), default=8, show_default=True, help="How many.")
@click.option("--png", type=_path_type, callback=_refuse_no_picture, help="Draw the curve into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def depth(
    embeddings: Path,
    quantizer: str,
    codebook_sizes: str | None,
    changes: tuple[str, ...],
    levels: int,
    png: Path | None,
    as_json: bool,
) -> None:
    """Print how much of EMBEDDINGS (a file, or a run) 1 … 8 levels keep, beside the paper's Table 11."""
    import json
    from dataclasses import asdict

    from trialigngr.sids.depth_curve import compute_depth_curve, draw_depth_curve, format_depth_curve
    from trialigngr.studies.sid_sources import parse_sid_settings, read_item_vectors

    curve = compute_depth_curve(
        parse_sid_settings(quantizer, codebook_sizes, changes), read_item_vectors(embeddings)[1], levels
    )
    if png is not None:
        draw_depth_curve(curve, png)
    click.echo(json.dumps(asdict(curve)) if as_json else format_depth_curve(curve))


@sids.command()
@click.argument("folder", type=_path_type)
@click.argument("new", type=_path_type)
@click.option("--out", type=_path_type, help="Folder for the grown SIDs; a run grows in place.")
@click.option("--old-embeddings", type=_path_type, help="Embeddings of the old items, for the drift (a run has them).")
@yes_option
@key_option
def append(folder: Path, new: Path, out: Path | None, old_embeddings: Path | None, yes: bool) -> None:
    """Give new items SIDs under the codebooks of FOLDER. No SID that is there changes.

    FOLDER is a run, and NEW an items file or a folder with one (and its pictures): the run's model can recommend the
    new items at once. Or FOLDER holds SIDs alone, and NEW is a file of embeddings with item ids.
    """
    from trialigngr.foundation.artifact import is_run
    from trialigngr.studies.sid_sources import append_to_folder, append_to_run

    if is_run(folder):
        from trialigngr.pipeline.add_items import estimate_append_costs

        if out is not None or old_embeddings is not None:
            raise click.UsageError(
                f"{folder} is a run: it grows in place and has embeddings; drop --out and --old-embeddings."
            )
        if not yes:
            confirm_costs(estimate_append_costs(folder, new))
        click.echo(append_to_run(folder, new))
    elif out is None:
        raise click.UsageError(f"{folder} is not a run: say with --out where the grown SIDs shall go.")
    else:
        click.echo(append_to_folder(folder, new, out, old_embeddings))


@sids.command()
@click.argument("folder", type=_path_type)
@click.argument("item_ids", metavar="ITEM...", nargs=-1, required=True)
@click.option("--free-sids", is_flag=True, help="Let new items have the SIDs; without it they stay reserved.")
def remove(folder: Path, item_ids: tuple[str, ...], free_sids: bool) -> None:
    """Take items out of FOLDER, a run or SIDs alone. Their SIDs stay reserved unless --free-sids."""
    from trialigngr.foundation.artifact import is_run
    from trialigngr.studies.sid_sources import remove_from_folder, remove_from_run

    click.echo((remove_from_run if is_run(folder) else remove_from_folder)(folder, item_ids, free_sids))


@sids.command(name="import")
@click.argument("data_format", metavar="FORMAT")
@click.argument("source", type=_path_type)
@_out_option
def import_(data_format: str, source: Path, out: Path) -> None:
    """Read SIDs of another system (lcrec, grid, flashrec, parquet) into a folder with sids.parquet."""
    from trialigngr.sids.formats import import_sids

    found = import_sids(data_format, source)
    out.mkdir(parents=True, exist_ok=True)
    found.save(out)
    click.echo(f"{out}: {len(found):,} items, codebooks {' × '.join(map(str, found.codebook_sizes))}")


@sids.command()
@click.argument("source", metavar="SIDS", type=_path_type)
@click.argument("data_format", metavar="FORMAT")
@click.argument("out", type=_path_type)
def export(source: Path, data_format: str, out: Path) -> None:
    """Write SIDS as another system reads them: lcrec, grid, flashrec or parquet.

    For flashrec the command that serves a run's model by them is printed, too.
    """
    from trialigngr.foundation.artifact import is_run
    from trialigngr.sids.formats import export_sids
    from trialigngr.studies.sid_sources import SidFiles, open_sids

    found, _ = open_sids(source, SidFiles(codes_only=True))
    export_sids(found, data_format, out)
    click.echo(f"{out}: {len(found):,} items")
    if data_format == "flashrec" and is_run(source):
        from trialigngr.studies.flashrec import describe_flashrec_command

        click.echo(describe_flashrec_command(source, found, out))
