"""``sids``: Semantic IDs by themselves. Embeddings in, SIDs out; how good they are; growth; other systems' formats."""

from __future__ import annotations

from pathlib import Path

import click

from trialigngr.cli.agreement import agree, key_option, yes_option


def _refuse_no_picture(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{path} must end in .png, .svg or .pdf.")
    return path


_path = click.Path(path_type=Path)
_out = click.option("--out", type=_path, required=True, help="Folder to write.")
_quantizer = click.option("--quantizer", default="rqkmeans", show_default=True, help="Method; see docs/sids.md.")
_sizes = click.option("--sizes", metavar="K,K,…", help="Codebook sizes, coarse to fine.  [default: 4096,2048,1024]")
_set = click.option("--set", "changes", multiple=True, metavar="A.B=V", help="Change a setting, e.g. rqvae.latent=32.")
_beside = click.option("--beside", type=_path, help="Second table of vectors: letter's, macrec's.")


@click.group()
def sids() -> None:
    """Semantic IDs by themselves: embeddings in, SIDs out. No log and no model is needed.

    SIDS below is a run, a folder with sids.parquet, an index.json, or a Parquet file with a column of SIDs.
    """


@sids.command()
@click.argument("embeddings", type=_path)
@_out
@_quantizer
@_sizes
@click.option(
    "--collisions", default="nearest_free", show_default=True, help="keep, nearest_free, sinkhorn, extra_level."
)
@click.option("--seed", default=0, show_default=True)
@_beside
@_set
def fit(
    embeddings: Path,
    out: Path,
    quantizer: str,
    sizes: str | None,
    collisions: str,
    seed: int,
    beside: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Fit a quantizer on EMBEDDINGS (.safetensors, .npy, .parquet) and give every item a SID."""
    from trialigngr.studies.sid_sources import fit_folder, sid_settings

    own = (f"collisions={collisions}", f"seed={seed}", *changes)
    fit_folder(sid_settings(quantizer, sizes, own), embeddings, out, beside)
    click.echo(f"{out}: sids.parquet, quantizer.safetensors")


@sids.command()
@click.argument("sources", metavar="SIDS...", nargs=-1, required=True, type=_path)
@click.option("--embeddings", type=_path, help="For fidelity and neighbours, where SIDS is not a run.")
@click.option("--items", type=_path, help="Table with item_id and categories, for purity.")
@click.option("--targets", type=_path, help="Table with the item_id of every test target.")
@click.option("--column", help="Column with the SIDs, where a Parquet file has several.")
@click.option(
    "--tsne",
    type=_path,
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
    """Say how good SIDS are; several stand side by side. What cannot be computed is said, not guessed."""
    import json

    from trialigngr.sids.quality import measure
    from trialigngr.sids.quality_text import quality_text
    from trialigngr.studies.sid_sources import Files, draw_source, open_sids

    files = Files(embeddings, items, targets, column)
    opened = {str(source): open_sids(source, files) for source in sources}
    found = {name: measure(*source) for name, source in opened.items()}
    if tsne is not None:
        draw_source(opened[str(sources[0])], tsne)
    bodies = {name: quality.as_dict() for name, quality in found.items()}
    click.echo(json.dumps(bodies, ensure_ascii=False, indent=2) if as_json else quality_text(found))


@sids.command()
@click.argument("embeddings", type=_path)
@_quantizer
@_sizes
@_set
@click.option("--levels", type=click.IntRange(1, 26), default=8, show_default=True, help="How many.")
@click.option("--png", type=_path, callback=_refuse_no_picture, help="Draw the curve into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def depth(
    embeddings: Path,
    quantizer: str,
    sizes: str | None,
    changes: tuple[str, ...],
    levels: int,
    png: Path | None,
    as_json: bool,
) -> None:
    """Print how much of EMBEDDINGS (a file, or a run) 1 … 8 levels keep, beside the paper's Table 11."""
    import json
    from dataclasses import asdict

    from trialigngr.sids.depth import depth_curve, depth_text, draw_depth
    from trialigngr.studies.sid_sources import embeddings_of, sid_settings

    curve = depth_curve(sid_settings(quantizer, sizes, changes), embeddings_of(embeddings)[1], levels)
    if png is not None:
        draw_depth(curve, png)
    click.echo(json.dumps(asdict(curve)) if as_json else depth_text(curve))


@sids.command()
@click.argument("folder", type=_path)
@click.argument("new", type=_path)
@click.option("--out", type=_path, help="Folder for the grown SIDs; a run grows in place.")
@click.option("--old", type=_path, help="Embeddings of the old items, for the drift (a run has them).")
@yes_option
@key_option
def append(folder: Path, new: Path, out: Path | None, old: Path | None, yes: bool) -> None:
    """Give new items SIDs under the codebooks of FOLDER. No SID that is there changes.

    FOLDER is a run, and NEW an items file or a folder with one (and its pictures): the run's model can recommend the
    new items at once. Or FOLDER holds SIDs alone, and NEW is a file of embeddings with item ids.
    """
    from trialigngr.foundation.artifact import is_run
    from trialigngr.studies.sid_sources import append_folder, append_to_run

    if is_run(folder):
        from trialigngr.pipeline.add_items import append_costs

        if out is not None or old is not None:
            raise click.UsageError(f"{folder} is a run: it grows in place and has embeddings; drop --out and --old.")
        if not yes:
            agree(append_costs(folder, new))
        click.echo(append_to_run(folder, new))
    elif out is None:
        raise click.UsageError(f"{folder} is not a run: say with --out where the grown SIDs shall go.")
    else:
        click.echo(append_folder(folder, new, out, old))


@sids.command()
@click.argument("folder", type=_path)
@click.argument("item_ids", metavar="ITEM...", nargs=-1, required=True)
@click.option("--free", is_flag=True, help="Let new items have the SIDs; without it they stay reserved.")
def remove(folder: Path, item_ids: tuple[str, ...], free: bool) -> None:
    """Take items out of FOLDER, a run or SIDs alone. Their SIDs stay reserved unless --free."""
    from trialigngr.foundation.artifact import is_run
    from trialigngr.studies.sid_sources import remove_from_folder, remove_from_run

    click.echo((remove_from_run if is_run(folder) else remove_from_folder)(folder, item_ids, free))


@sids.command(name="import")
@click.argument("data_format", metavar="FORMAT")
@click.argument("source", type=_path)
@_out
def import_(data_format: str, source: Path, out: Path) -> None:
    """Read SIDs of another system (lcrec, grid, flashrec, parquet) into a folder with sids.parquet."""
    from trialigngr.sids.exchange import import_sids

    found = import_sids(data_format, source)
    out.mkdir(parents=True, exist_ok=True)
    found.save(out)
    click.echo(f"{out}: {len(found):,} items, codebooks {' × '.join(map(str, found.sizes))}")


@sids.command()
@click.argument("source", metavar="SIDS", type=_path)
@click.argument("data_format", metavar="FORMAT")
@click.argument("out", type=_path)
def export(source: Path, data_format: str, out: Path) -> None:
    """Write SIDS as another system reads them: lcrec, grid, flashrec or parquet."""
    from trialigngr.sids.exchange import export_sids
    from trialigngr.studies.sid_sources import Files, open_sids

    found, _ = open_sids(source, Files(codes_only=True))
    export_sids(found, data_format, out)
    click.echo(f"{out}: {len(found):,} items")
