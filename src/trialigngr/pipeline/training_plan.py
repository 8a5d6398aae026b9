"""What the plan says about training: parameters, memory per device, steps, tokens, hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from trialigngr.catalog.dataset import Dataset, load_dataset
from trialigngr.catalog.prepare import prepare_catalog
from trialigngr.catalog.settings import CatalogSettings
from trialigngr.foundation.console import stderr_console
from trialigngr.recipes.recipe import Recipe
from trialigngr.train.estimate import count_max_examples, count_max_steps, estimate_memory, estimate_tokens
from trialigngr.train.phases import find_phases


def describe_memory(recipe: Recipe, num_devices: int) -> Iterator[str]:
    """Yield what each model holds on each of the devices that train it."""
    shared, phases = recipe.train.fsdp, find_phases(recipe.phases)
    size = estimate_memory(recipe.model, recipe.train, sum(recipe.sids.codebook_sizes), phases)
    weights, states = (held / (num_devices if shared else 1) for held in (size.weight_bytes, size.optimizer_bytes))
    yield (
        f"training     {size.parameters / 1e6:,.1f}M parameters, {size.trainable_parameters / 1e6:,.1f}M trained; "
        f"about {(weights + states + size.activation_bytes) / 1e9:.1f} GB per device: weights {weights / 1e9:.1f}, "
        f"gradients and optimizer {states / 1e9:.1f}, {recipe.train.micro_batch_tokens:,} tokens at once "
        f"{size.activation_bytes / 1e9:.1f}"
    )
    if shared and num_devices == 1:
        yield "             all on one device, where train.fsdp cannot train; --devices N tells each one's share"
    elif shared:
        yield f"             each of {num_devices} devices holds its share, and a layer more while that computes"
    elif num_devices > 1:
        yield f"             each of {num_devices} devices holds the whole model; with train.fsdp, its share"


def describe_training_length(
    recipe: Recipe, data: Path | None, catalog: Path | None, tokens_per_second: float | None
) -> Iterator[str]:
    """Yield examples, steps and tokens of each model, and hours at ``tokens_per_second`` tokens/s: from the finished
    catalogue, else from the data folder, else nothing is known yet."""
    if catalog is not None:
        dataset = load_dataset(catalog)
    elif data is not None:
        dataset = _prepare_dataset(recipe.catalog, data)
    else:
        hours = ", and so are the hours that --tokens-per-second asks for" if tokens_per_second else ""
        yield f"             steps and tokens are known when the catalogue is done (run --until catalog){hours}"
        return
    examples = count_max_examples(recipe.tasks.list_tasks(), dataset.histories, len(dataset.catalog))
    total = sum(count for name, count in examples.items() if recipe.tasks.is_ever_drawn(name))
    steps = count_max_steps(examples, recipe.tasks, recipe.train)
    tokens = estimate_tokens(examples, recipe.tasks, recipe.train, recipe.prompt, len(recipe.sids.codebook_sizes))
    hours = (
        f", {tokens / tokens_per_second / 3600:,.2f} hours at {tokens_per_second:,.0f} tokens/s"
        if tokens_per_second
        else ""
    )
    yield (
        f"             {total:,} examples or fewer, at most {steps:,} steps of {recipe.train.batch_size}, about "
        f"{tokens / 1e6:,.1f}M tokens{hours}{'' if len(recipe.phases) == 1 else ', in phase sft'}"
    )


def _prepare_dataset(settings: CatalogSettings, data: Path) -> Dataset:
    """Return what a data folder's catalogue will be, but for its pictures: none is fetched and hardly one reduced.

    Where items without one leave, this is more than will be.
    """
    pictures = settings.images.model_copy(
        update={"allowed_hosts": (), "allowed_private_hosts": (), "longest_edge": 8192}
    )
    scope = "interacted" if settings.item_scope == "pictured" else settings.item_scope
    with TemporaryDirectory() as out, stderr_console.capture():
        prepare_catalog(settings.model_copy(update={"images": pictures, "item_scope": scope}), data, Path(out))
        return load_dataset(Path(out))
