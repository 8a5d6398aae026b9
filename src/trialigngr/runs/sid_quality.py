"""What a run knows beside its SIDs, so that everything that can be said of them is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trialigngr.embed.embeddings import load_embeddings, load_modalities, load_texts
from trialigngr.foundation.artifact import read_manifest
from trialigngr.images.colors import Float32Array
from trialigngr.recipes.recipe import Recipe
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.sids.assign import QUANTIZER_FILE
from trialigngr.sids.fidelity import HeldOutFidelity
from trialigngr.sids.prefix_agreement import TakenItems
from trialigngr.sids.quality import QualityInputs, pick_categories
from trialigngr.sids.quantizers.quantizer import Quantizer


def load_sid_vectors(recipe: Recipe, folder: Path) -> Float32Array:
    """Return what a run's quantizer encodes: its embeddings; MACRec's first quantizer sees their text alone."""
    return load_modalities(folder)[0] if recipe.sids.quantizer == "macrec" else load_embeddings(folder)


def load_quality_inputs(artifacts: RunArtifacts) -> QualityInputs:
    """Return all that a run knows beside its SIDs; SIDs that others made have no quantizer."""
    fitted = artifacts.recipe.sids.quantizer != "published"
    histories = artifacts.histories
    test = histories.list_targets("test")
    return QualityInputs(
        Quantizer.load(artifacts.run_folder / "sids" / QUANTIZER_FILE) if fitted else None,
        load_sid_vectors(artifacts.recipe, artifacts.run_folder / "embeddings") if fitted else None,
        pick_categories([item.categories for item in artifacts.catalog]),
        histories.target_items(test) if len(test) else None,
        HeldOutFidelity.from_facts(read_manifest(artifacts.run_folder / "sids").facts),
        load_texts(artifacts.run_folder / "embeddings") if fitted else None,
        TakenItems(histories.train_rows, np.repeat(np.arange(len(histories)), histories.valid_from)),
    )
