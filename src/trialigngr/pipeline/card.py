"""The model card: what a checkpoint was trained on, how, and how well it did, in words beside the weights."""

from __future__ import annotations

from typing import Any

import trialigngr
from trialigngr.pipeline.parts import Parts
from trialigngr.recipes.recipe import Recipe

FRONT = """---
library_name: transformers
pipeline_tag: text-generation
tags: [recommendation, semantic-ids, trialigngr]
---
"""


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
{len(counts.catalog):,} items, {len(counts.histories):,} users. Split: {recipe.catalog.split}, k-core
{recipe.catalog.k_core}; targets of validation and test are in no training example. SIDs: {sizes}
({recipe.sids.quantizer}).

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
items not masked, {recipe.decode.beams} beams over the trie, at most {recipe.prompt.history_cap} items of history.

## Recipe
```toml
{recipe.to_toml()}```
"""


def _start(recipe: Recipe) -> str:
    if recipe.model.name == "scratch":
        return "A Qwen2 from scratch"
    way = f"LoRA of rank {recipe.model.lora.rank}, merged" if recipe.model.lora.rank else "trained whole"
    return f"From `{recipe.model.name}`, {way}"
