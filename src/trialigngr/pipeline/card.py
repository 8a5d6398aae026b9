"""The model card: what a checkpoint was trained on, how, and how well it did, in words beside the weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tomli_w

import trialigngr
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import Parts

FRONT = """---
library_name: transformers
pipeline_tag: text-generation
tags: [recommendation, semantic-ids, trialigngr]
---
"""

NAMES = (
    *("captions.model", "captions.prompt", "interests.model", "interests.prompt"),
    *("embeddings.model", "embeddings.picture_model", "model.name"),
)
"""Settings that name something public, or else a file or folder of this machine."""
_PUBLIC = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def card(parts: Parts, facts: dict[str, Any]) -> str:
    """Return the card as Markdown; ``facts`` are those of the training. No text of the catalogue is in it."""
    recipe, counts = parts.recipe, parts.dataset
    sizes = " × ".join(map(str, parts.sids.sizes))
    tasks = "\n".join(f"| {name} | {count:,} |" for name, count in facts["examples"].items())
    return f"""{FRONT}
# Generative recommender over Semantic IDs

Trained by trialigngr {trialigngr.__version__}, seed {recipe.seed + parts.seed}. It writes the Semantic ID of the next
item, a token a level, best with beams held to the SIDs that exist: `trialigngr.load(RUN).recommend(history)`.

## Data
{len(counts.catalog):,} items, {len(counts.histories):,} users, {len(counts.histories.items):,} interactions. Split:
{recipe.catalog.split}, k-core {recipe.catalog.k_core}; targets of validation and test are in no training example.
SIDs: {sizes} ({recipe.sids.quantizer}).

| task | examples |
|---|---|
{tasks}

## Model
{_start(recipe)}; {facts["parameters"]:,} parameters, {facts["trained"]:,} of them trained. The best of
{facts["step"]:,} steps of {recipe.train.batch_size} examples ({facts["tokens"]:,} tokens, shared ones counted once) by
validation NDCG@10: step {facts["best_step"]:,}.

## Figures
Validation NDCG@10 **{facts["best"]:.4f}**, used to choose the checkpoint, so not a test figure. Those of the test stand
in `metrics.json` of the run.

Protocol: {min(recipe.train.validate_users, len(counts.histories)):,} users, item level, whole catalogue, seen
items not masked, {recipe.decode.beams} beams over the trie, normalised over the {recipe.decode.normalisation}, at most
{recipe.prompt.history_cap} items of history.

## Recipe
{_published(recipe)}"""


def _start(recipe: Recipe) -> str:
    if recipe.model.name == "scratch":
        return "A Qwen2 from scratch"
    way = f"LoRA of rank {recipe.model.lora.rank}, merged" if recipe.model.lora.rank else "trained whole"
    return f"From `{recipe.model.name}`, {way}" if _is_public(recipe.model.name) else f"From a local model, {way}"


def _published(recipe: Recipe) -> str:
    """Return the recipe without what is private to the place where it ran, and a sentence that names what that is."""
    tree = recipe.model_dump(mode="json", exclude_none=True, exclude={"calls"})
    private = []
    for name in NAMES:
        stage, key = name.split(".")
        if not _is_public(tree[stage][key]):
            private.append(name)
            del tree[stage][key]
    names = ", ".join(f"`{name}`" for name in (*private, "calls"))
    return f"""Left out, as private to the machine where it ran: {names}.

```toml
{tomli_w.dumps(tree)}```
"""


def _is_public(name: str) -> bool:
    """Say whether a name is empty, or one of a hub or of this package, not a path."""
    hub_like = _PUBLIC.fullmatch(name) is not None and not name.endswith(".toml")
    return not name or (hub_like and not Path(name).exists())
