"""`diagnose`: what a finished run's model knows of its SIDs (the paper's Table 7), beside what chance would reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.items import Item
from trialigngr.decode.greedy import write_greedily
from trialigngr.evaluate.paper import DIAGNOSED
from trialigngr.evaluate.probe import FEWEST, HELD_OUT, HIDDEN, category_probe
from trialigngr.evaluate.tables import block_text
from trialigngr.evaluate.titles import as_known, attribute_recall, attributes, bleu, bleu_4
from trialigngr.foundation.console import log
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.sealed import write_json
from trialigngr.foundation.seeds import child
from trialigngr.pipeline.running import alone
from trialigngr.report.from_run.ablation_grids import DIAGNOSTICS, Diagnosis, diagnosis_table, diagnostics, enriched_by
from trialigngr.report.from_run.page import write_report
from trialigngr.runs.artifacts import Parts
from trialigngr.runs.run import Run, load
from trialigngr.sids.collisions import groups
from trialigngr.sids.quality import categories_of
from trialigngr.sids.semantic_ids import END
from trialigngr.studies.compare import run_names
from trialigngr.tasks.task import TASKS, View

SHOWN = 5
"""Titles kept as examples."""


def diagnose_all(folders: Sequence[Path], items: int = 1000) -> dict[str, Diagnosis]:
    """Return the diagnostics of finished runs by name, in order; each run keeps its own (`diagnose`)."""
    runs = [load(folder) for folder in folders]
    return {
        name: Diagnosis(enriched_by(run), diagnose(run, items))
        for name, run in zip(run_names(folders), runs, strict=True)
    }


def as_json(found: Mapping[str, Diagnosis]) -> str:
    """Return everything as JSON, the paper's rows too."""
    body = {"runs": {name: asdict(own) for name, own in found.items()}, "paper": DIAGNOSED}
    return json.dumps(body, ensure_ascii=False, indent=2)


def diagnose(run: Run, items: int = 1000) -> dict[str, Any]:
    """Return the diagnostics of a finished run and write them to ``diagnostics.json``, ``.txt`` and the report.

    ``items`` titles are written; the probe looks at all items. What is there for this very model is kept.
    """
    if items < 2:
        raise RecipeError(f"items = {items}: diagnostics need at least two titles.")
    run.check_model()
    wanted = {"model": run.manifest("model").identity, "items": items}
    if (found := diagnostics(run)) is not None and found["of"] == wanted:
        log(f"{run.folder}: diagnostics are there, kept")
        return found
    bleu()  # a package that is missing is told now, not after minutes of writing
    with alone(run.folder):
        parts = run.parts
        parts.backbone.model.to(pick_device(run.recipe.train.device)).eval()
        body = {"of": wanted, "probe": _probe(parts), "titles": _titles(parts, items)}
        body = write_json(run.folder / DIAGNOSTICS, body, ensure_ascii=False)
        table = diagnosis_table({run.folder.name: Diagnosis(enriched_by(run), body)})
        write_text_atomically(run.folder / "diagnostics.txt", block_text(table) + "\n")
        if (run.folder / "metrics.json").is_file():
            write_report(run)
    return body


def _probe(parts: Parts) -> dict[str, Any]:
    try:
        found = category_probe(
            _features(parts), categories_of([item.categories for item in parts.catalog]), groups(parts.sids.codes_NL)
        )
    except TriAlignError as error:
        return {"absent": str(error)}
    says = f"2 layers, {HIDDEN} hidden, {HELD_OUT:.0%} of SIDs held out, categories with ≥ {FEWEST} items"
    return {**asdict(found), "says": says}


def _features(parts: Parts) -> npt.NDArray[np.float32]:
    """Return the input embeddings of each item's SID tokens side by side [N, L × D]; zeros where a SID has ended."""
    sids, table = parts.sids, parts.backbone.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    first_L = np.cumsum([0, *sids.sizes[:-1]])
    token_NL = np.array(parts.backbone.sid_ids)[np.maximum(sids.codes_NL, 0) + first_L]
    features_NLD = table[token_NL] * (sids.codes_NL != END)[..., None]
    shaped: npt.NDArray[np.float32] = features_NLD.reshape(len(sids), -1)
    return shaped


def _titles(parts: Parts, most: int) -> dict[str, Any]:
    task = TASKS["sid_to_title"]
    if task.name not in {own.name for own in parts.recipe.tasks.tasks()}:
        return {"absent": "T2 (SID to title) was not trained."}
    titled = [row for row in range(len(parts.catalog)) if parts.catalog[row].title]
    if len(titled) < 2:
        return {"absent": "this catalogue has no titles."}
    random = np.random.default_rng(child(0, "diagnose"))
    rows = np.sort(random.choice(titled, min(most, len(titled)), replace=False)).tolist()
    written = _written(parts, rows)
    items = list(parts.catalog)
    blind = [items[row].title or "" for row in np.roll(random.permutation(rows), 1)]
    known = _known(parts, items)
    named = [known.get(as_known(text), set()) for text in written]
    return _judged([items[row] for row in rows], written, blind) | {
        "hallucination": sum(not found for found in named) / len(rows),
        "own_title": sum(row in found for row, found in zip(rows, named, strict=True)) / len(rows),
        "examples": [
            {"sid": parts.sids.text(row), "title": items[row].title, "written": text}
            for row, text in list(zip(rows, written, strict=True))[:SHOWN]
        ],
    }


def _written(parts: Parts, rows: Sequence[int]) -> list[str]:
    """Return the titles that the model writes for the SIDs of items: words only, as a title is asked for."""
    examples = parts.examples(TASKS["sid_to_title"], parts.views(parts.chat), parts.chat)
    prompts = [examples.prompt(np.array([row])) for row in rows]
    most = parts.recipe.prompt.title_tokens + len(parts.chat.close)
    never = set(parts.chat.tokenizer.get_added_vocab().values()) - {parts.chat.close[0]}
    tokens = write_greedily(
        parts.backbone.model, prompts, parts.chat.close[0], most, sorted(never), parts.recipe.decode.precision
    )
    return [str(parts.chat.tokenizer.decode(own)).strip() for own in tokens]


def _known(parts: Parts, items: Sequence[Item]) -> dict[str, set[int]]:
    """Return known title → rows of items, titles whole and as long as training showed them."""
    shown = parts.views(parts.chat).ids[View.TITLE]
    rows: dict[str, set[int]] = {}
    for row, (item, tokens) in enumerate(zip(items, shown, strict=True)):
        for title in {item.title or "", str(parts.chat.tokenizer.decode(tokens or [])).strip()}:
            rows.setdefault(as_known(title), set()).add(row)
    rows.pop("", None)
    return rows


def _judged(items: Sequence[Item], written: Sequence[str], blind: Sequence[str]) -> dict[str, Any]:
    """Return BLEU-4 and attribute recall, beside those of another item's title and of the true one."""
    true, wanted = [item.title or "" for item in items], attributes(items)
    score, signature = bleu_4(written, true)
    recalls = {"model": written, "blind": blind, "true_title": true}
    return {
        "items": len(items),
        "bleu_4": {"model": score, "blind": bleu_4(blind, true)[0]},
        "attribute_recall": {name: attribute_recall(titles, wanted) for name, titles in recalls.items()},
        "says": f"{len(items):,} items that T2 saw in training, greedy, words only; {signature}",
    }
