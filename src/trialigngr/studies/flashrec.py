"""`describe_flashrec_command`: how FlashRec 0.1.2 is started on a run's model, whose SID tokens it would not find."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path

from trialigngr.foundation.hub import load_tokenizer
from trialigngr.models.backbone import ITEMS_FILE
from trialigngr.runs.run import Run
from trialigngr.sids.semantic_ids import SemanticIds, list_sid_tokens


def describe_flashrec_command(run_folder: Path, sids: SemanticIds, catalog_file: Path) -> str:
    """Return the command that serves a run's model by its exported catalogue, or a sentence that says why none does.

    FlashRec looks for tokens of other names, and for two that begin and end a SID; told the ids, and that there are no
    such two, it looks for nothing.
    """
    recipe = Run(run_folder).recipe
    folder = run_folder / recipe.model_stage
    if not recipe.has_generator or not (folder / "config.json").is_file():
        return f"{run_folder} has no language model yet, so there is nothing for FlashRec to serve."
    kind = json.loads((folder / "config.json").read_text("utf-8"))["model_type"]
    if kind != "qwen3":
        return (
            f"FlashRec serves models of type qwen3 alone, and this one is {kind}; train one with "
            'model.architecture = "qwen3".'
        )
    if (folder / ITEMS_FILE).is_file():
        return "FlashRec knows nothing of item vectors (model.items), and this model leans on them."
    vocabulary = load_tokenizer(folder).get_vocab()
    flags = {
        "model-path": str(folder),
        "sid-vocab-file": str(catalog_file),
        "sid-token-range": _write_ids([vocabulary[token] for token in list_sid_tokens(sids.codebook_sizes)]),
        "sid-codebook-sizes": ",".join(map(str, sids.codebook_sizes)),
        "sid-boundary-tokens": "",
        "max-tokens": str(len(sids.codebook_sizes)),
    }
    return " ".join(["flashrec --serve", *(f"--{name} {shlex.quote(value)}" for name, value in flags.items())])


def _write_ids(ids: list[int]) -> str:
    is_closed = all(after == before + 1 for before, after in pairwise(ids))
    return f"{ids[0]}:{ids[-1]}" if is_closed else ",".join(map(str, ids))
