"""What the plan says about training: parameters, memory per device, steps, tokens, hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from trialigngr.catalog.prepare import CatalogSettings, Dataset, load_dataset, prepare
from trialigngr.foundation.console import err
from trialigngr.recipes.recipe import Recipe
from trialigngr.train.size import examples_of, size_of, steps_of, tokens_of


def memory_lines(recipe: Recipe, devices: int) -> Iterator[str]:
    """Yield what each model holds on each of the devices that train it."""
    size, shared = size_of(recipe.model, recipe.train, sum(recipe.sids.sizes)), recipe.train.shard
    weights, states = (held / (devices if shared else 1) for held in (size.weights, size.states))
    yield (
        f"training     {size.parameters / 1e6:,.1f}M parameters, {size.trained / 1e6:,.1f}M trained; about "
        f"{(weights + states + size.activations) / 1e9:.1f} GB per device: weights {weights / 1e9:.1f}, gradients and "
        f"optimizer {states / 1e9:.1f}, {recipe.train.pass_tokens:,} tokens at once {size.activations / 1e9:.1f}"
    )
    if shared and devices == 1:
        yield "             all on one device, where train.shard cannot train; --devices N tells each one's share"
    elif shared:
        yield f"             each of {devices} devices holds its share, and a layer more while that computes"
    elif devices > 1:
        yield f"             each of {devices} devices holds the whole model; with train.shard, its share"


def length_lines(recipe: Recipe, data: Path | None, catalog: Path | None, rate: float | None) -> Iterator[str]:
    """Yield examples, steps and tokens of each model, and hours at ``rate`` tokens/s: from the finished catalogue, else
    from the data folder, else nothing is known yet."""
    if catalog is not None:
        dataset = load_dataset(catalog)
    elif data is not None:
        dataset = _prepared(recipe.catalog, data)
    else:
        hours = ", and so are the hours that --rate asks for" if rate else ""
        yield f"             steps and tokens are known when the catalogue is done (run --until catalog){hours}"
        return
    examples = examples_of(recipe.tasks.tasks(), dataset.histories, len(dataset.catalog))
    total = sum(count for name, count in examples.items() if recipe.tasks.ever_drawn(name))
    steps = steps_of(examples, recipe.tasks, recipe.train)
    tokens = tokens_of(examples, recipe.tasks, recipe.train, recipe.prompt, len(recipe.sids.sizes))
    hours = f", {tokens / rate / 3600:,.2f} hours at {rate:,.0f} tokens/s" if rate else ""
    yield (
        f"             {total:,} examples or fewer, at most {steps:,} steps of {recipe.train.batch_size}, about "
        f"{tokens / 1e6:,.1f}M tokens{hours}"
    )


def _prepared(settings: CatalogSettings, data: Path) -> Dataset:
    """Return what a data folder's catalogue will be, but for its pictures: none is fetched and hardly one reduced."""
    pictures = settings.pictures.model_copy(update={"hosts": (), "private_hosts": (), "long_side": 8192})
    with TemporaryDirectory() as out, err.capture():
        prepare(settings.model_copy(update={"pictures": pictures}), data, Path(out))
        return load_dataset(Path(out))
