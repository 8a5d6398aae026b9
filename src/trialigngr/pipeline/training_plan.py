"""What the plan says about training: parameters, memory per device, steps, tokens, hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trialigngr.catalog.prepare import load_dataset
from trialigngr.foundation.artifact import MANIFEST
from trialigngr.recipes.recipe import Recipe
from trialigngr.train.size import examples_of, size_of, steps_of, tokens_of


def training_lines(recipe: Recipe, out: Path, rate: float | None) -> Iterator[str]:
    """Yield what each model will take; steps and tokens when the catalogue is done, hours at ``rate`` tokens/s."""
    size = size_of(recipe.model, recipe.train, sum(recipe.sids.sizes))
    yield (
        f"training     {size.parameters / 1e6:,.1f}M parameters, {size.trained / 1e6:,.1f}M trained; about "
        f"{size.memory / 1e9:.1f} GB per device: weights {size.weights / 1e9:.1f}, gradients and optimizer "
        f"{size.states / 1e9:.1f}, {recipe.train.pass_tokens:,} tokens at once {size.activations / 1e9:.1f}"
    )
    if recipe.train.shard:
        yield "             in shares: of weights, gradients and optimizer, each process holds its part of that"
    if not (out / "catalog" / MANIFEST).is_file():
        yield "             steps and tokens are known when the catalogue is done (run --until catalog)"
        return
    dataset = load_dataset(out / "catalog")
    examples = examples_of(recipe.tasks.tasks(), dataset.histories, len(dataset.catalog))
    steps = steps_of(examples, recipe.tasks, recipe.train)
    tokens = tokens_of(examples, recipe.tasks, recipe.train, recipe.prompt, len(recipe.sids.sizes))
    hours = f", {tokens / rate / 3600:,.2f} hours at {rate:,.0f} tokens/s" if rate else ""
    yield f"             at most {steps:,} steps of {recipe.train.batch_size}, about {tokens / 1e6:,.1f}M tokens{hours}"
