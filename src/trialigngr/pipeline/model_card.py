"""The model card: what a checkpoint was trained on, how, and how well it did, in words beside the weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from trialigngr.catalog.settings import CatalogSettings
from trialigngr.enrich.settings import CallSettings
from trialigngr.foundation.executor import RaySettings
from trialigngr.foundation.version import __version__
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.train.phases import PhaseSpec

NONE: Mapping[str, Any] = MappingProxyType({})
HEADLINE_METRICS = ("HR@5", "NDCG@5", "HR@10", "NDCG@10")
PRIVATE = "private"
"""What stands in a published recipe for the name of a file or folder."""
NAMING_SETTINGS = (
    *("captions.model", "captions.prompt_template", "interests.model", "interests.prompt_template"),
    *("embeddings.model", "embeddings.image_model", "model.name_or_path"),
)
"""Settings that name something public, or else a file or folder of this machine."""
CATALOG = {"column_map", "images"}
"""Settings of the catalogue that tell of the data's own names and hosts."""
_PUBLIC_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def format_front_matter(
    recipe: Recipe, license_name: str = "", name: str = "", metrics: Mapping[str, Any] = NONE
) -> str:
    """Return what a hub reads of a card, YAML between two lines: base model, licence, and of a finished run the figures
    of the test as ``model-index``. ``metrics`` is what ``metrics.json`` holds."""
    said: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["recommendation", "semantic-ids", "trialigngr"],
    }
    base = recipe.model.name_or_path
    if base != "scratch" and _is_public_name(base):
        said["base_model"] = base
    if license_name:
        said["license"] = license_name
    if metrics:
        said["model-index"] = [{"name": name, "results": [_describe_results(metrics)]}]
    # JSON is YAML, and no text in it can be read as anything else.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in said.items()), "---\n"])


def _describe_results(metrics: Mapping[str, Any]) -> dict[str, Any]:
    protocol = metrics["protocol"]
    counted = protocol["data"]
    size = f"{counted['users']:,} users, {counted['items']:,} items, {counted['interactions']:,} interactions"
    how = f"{protocol['split']}, whole catalogue, item level, seen items {protocol['seen_items']}"
    return {
        "task": {"type": "sequential-recommendation", "name": "Sequential recommendation"},
        "dataset": {"type": "private", "name": size, "split": "test"},
        "metrics": [
            {"type": key, "name": f"{key} ({how})", "value": metrics["test"][key]["value"]}
            for key in HEADLINE_METRICS
            if key in metrics["test"]
        ],
    }


def format_model_card(
    artifacts: RunArtifacts, facts: dict[str, Any], phase: PhaseSpec, front_matter: str | None = None
) -> str:
    """Return the card as Markdown; ``facts`` are those of the training. No text of the catalogue is in it."""
    recipe, counts = artifacts.recipe, artifacts.dataset
    sizes = " × ".join(map(str, artifacts.sids.codebook_sizes))
    tasks = "\n".join(f"| {name} | {count:,} |" for name, count in facts["examples"].items())
    return f"""{front_matter or format_front_matter(recipe)}
# Generative recommender over Semantic IDs

Trained by trialigngr {__version__}, seed {recipe.seed + artifacts.seed}. It writes the Semantic ID of the
next item, a token a level, best with beams held to the SIDs that exist: `trialigngr.load(RUN).recommend(history)`.

## Data
{len(counts.catalog):,} items, {len(counts.histories):,} users, {len(counts.histories.items):,} interactions. Split:
{recipe.catalog.split}, k-core {recipe.catalog.k_core}; targets of validation and test are in no training example.
SIDs: {sizes} ({recipe.sids.quantizer}).

| task | examples |
|---|---|
{tasks}

## Model
{_describe_base_model(recipe)}{_describe_phase(recipe, phase)}; {facts["parameters"]:,} parameters,
{facts["trained"]:,} of them trained. The best of {facts["step"]:,} steps of {recipe.train.batch_size} examples
({facts["tokens"]:,} tokens, shared ones counted once) by validation NDCG@10: step {facts["best_step"]:,}.

## Figures
Validation NDCG@10 **{facts["valid_ndcg_10"]:.4f}**, used to choose the checkpoint, so not a test figure.
Those of the test stand in `metrics.json` of the run.

Protocol: {min(recipe.train.validate_users, len(counts.histories)):,} users, item level, whole catalogue, seen
items not masked, {recipe.decode.num_beams} beams over the trie, {recipe.decode.score_softmax} softmax, at most
{recipe.prompt.max_history} items of history.

## Recipe
{_format_public_recipe(recipe)}"""


def _describe_phase(recipe: Recipe, phase: PhaseSpec) -> str:
    """Return what a later phase went on from; nothing for the first."""
    if phase.starts_anew:
        return ""
    before = recipe.phases[: recipe.phases.index(phase.name)]
    return f", trained through {' and '.join(before)}; this is phase {phase.name}, which goes on from there"


def _describe_base_model(recipe: Recipe) -> str:
    if recipe.model.name_or_path == "scratch":
        return "A Qwen2 from scratch"
    way = f"LoRA of rank {recipe.model.lora.rank}, merged" if recipe.model.lora.rank else "trained whole"
    return (
        f"From `{recipe.model.name_or_path}`, {way}"
        if _is_public_name(recipe.model.name_or_path)
        else f"From a local model, {way}"
    )


def _format_public_recipe(recipe: Recipe) -> str:
    """Return the recipe without what is private to the place where it ran, and a sentence that names what that is."""
    tree = recipe.model_dump(mode="json", exclude_none=True, exclude={"calls": True, "ray": True, "catalog": CATALOG})
    private = _list_private_names(recipe)
    for name in private:
        stage, key = name.split(".")
        del tree[stage][key]
    left_out = (*(f"catalog.{key}" for key in sorted(CATALOG)), "ray", *private, "calls")
    names = ", ".join(f"`{name}`" for name in left_out)
    return f"""Left out, as private to the machine where it ran: {names}.

```toml
{tomli_w.dumps(tree)}```
"""


def make_public_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with defaults, or `PRIVATE`, in the place of what is private to where it ran."""
    catalog = recipe.catalog.model_copy(update={key: getattr(CatalogSettings(), key) for key in CATALOG})
    changes: dict[str, Any] = {"calls": CallSettings(), "ray": RaySettings(), "catalog": catalog}
    for name in _list_private_names(recipe):
        stage, key = name.split(".")
        changes[stage] = changes.get(stage, getattr(recipe, stage)).model_copy(update={key: PRIVATE})
    return recipe.model_copy(update=changes)


def _list_private_names(recipe: Recipe) -> list[str]:
    """Return the settings that name a file or folder."""
    pairs = [(name, *name.split(".")) for name in NAMING_SETTINGS]
    return [name for name, stage, key in pairs if not _is_public_name(getattr(getattr(recipe, stage), key))]


def _is_public_name(name: str) -> bool:
    """Return whether a name is empty, or one of a hub or of this package, not a path."""
    hub_like = _PUBLIC_NAME.fullmatch(name) is not None and not name.endswith(".toml")
    return not name or (hub_like and not Path(name).exists())
