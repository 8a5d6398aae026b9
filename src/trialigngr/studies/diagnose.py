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
from trialigngr.decode.greedy import generate_greedily
from trialigngr.evaluate.category_probe import (
    MIN_CATEGORY_ITEMS,
    PROBE_HELD_OUT_RATIO,
    PROBE_HIDDEN_SIZE,
    run_category_probe,
)
from trialigngr.evaluate.paper_results import PAPER_DIAGNOSTICS
from trialigngr.evaluate.table import format_table_text
from trialigngr.evaluate.title_metrics import (
    compute_attribute_recall,
    compute_bleu_4,
    extract_attributes,
    load_bleu,
    normalize_title,
)
from trialigngr.foundation.console import log
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError, TriAlignError
from trialigngr.foundation.files import write_text_atomically
from trialigngr.foundation.sealed import write_json
from trialigngr.foundation.seeds import derive_seed
from trialigngr.metrics.intervals import bootstrap_intervals
from trialigngr.pipeline.execute import lock_run_folder
from trialigngr.pipeline.publish import write_run_report
from trialigngr.report.from_run.result_tables import (
    DIAGNOSTICS_FILE,
    DIAGNOSTICS_VERSION,
    OWN_SID_TASKS,
    RunDiagnosis,
    build_diagnostics_table,
    classify_sid_inputs,
    read_diagnostics,
)
from trialigngr.runs.artifacts import RunArtifacts
from trialigngr.runs.run import Run, load
from trialigngr.sids.collisions import number_sid_groups
from trialigngr.sids.quality import pick_categories
from trialigngr.sids.semantic_ids import END_CODE
from trialigngr.studies.compare import unique_run_names
from trialigngr.tasks.task import TASKS, Task, View

NUM_TITLE_EXAMPLES = 5
"""Titles kept as examples."""
SID_PLACES = 10
"""Among so many SIDs an item's own is looked for."""


def diagnose_runs(folders: Sequence[Path], num_items: int = 1000) -> dict[str, RunDiagnosis]:
    """Return the diagnostics of finished runs by name, in order; each run keeps its own (`diagnose`)."""
    runs = [load(folder) for folder in folders]
    return {
        name: RunDiagnosis(classify_sid_inputs(run), diagnose_run(run, num_items))
        for name, run in zip(unique_run_names(folders), runs, strict=True)
    }


def format_diagnostics_json(diagnoses: Mapping[str, RunDiagnosis]) -> str:
    """Return everything as JSON, the paper's rows too."""
    body = {"runs": {name: asdict(own) for name, own in diagnoses.items()}, "paper": PAPER_DIAGNOSTICS}
    return json.dumps(body, ensure_ascii=False, indent=2)


def diagnose_run(run: Run, num_items: int = 1000) -> dict[str, Any]:
    """Return the diagnostics of a finished run and write them to ``diagnostics.json``, ``.txt`` and the report.

    ``num_items`` titles are written; the probe looks at all items. What is there for this very model is kept.
    """
    if num_items < 2:
        raise RecipeError(f"items = {num_items}: diagnostics need at least two titles.")
    run.check_model()
    wanted = {
        "model": run.read_stage_manifest("model").identity_text,
        "items": num_items,
        "version": DIAGNOSTICS_VERSION,
    }
    if (found := read_diagnostics(run)) is not None and found["computed_for"] == wanted:
        log(f"{run.folder}: diagnostics are there, kept")
        return found
    load_bleu()  # a package that is missing is told now, not after minutes of writing
    with lock_run_folder(run.folder):
        parts = run.artifacts
        parts.backbone.prepare_inference(pick_device(run.recipe.train.device))
        body = {
            "computed_for": wanted,
            "probe": _probe_categories(parts),
            "titles": _diagnose_titles(parts, num_items),
            "own_sids": {name: _find_own_sids(parts, TASKS[name], num_items) for name in OWN_SID_TASKS},
        }
        body = write_json(run.folder / DIAGNOSTICS_FILE, body, ensure_ascii=False)
        table = build_diagnostics_table({run.folder.name: RunDiagnosis(classify_sid_inputs(run), body)})
        write_text_atomically(run.folder / "diagnostics.txt", format_table_text(table) + "\n")
        if (run.folder / "metrics.json").is_file():
            write_run_report(run)
    return body


def _probe_categories(artifacts: RunArtifacts) -> dict[str, Any]:
    try:
        found = run_category_probe(
            _sid_embeddings(artifacts),
            pick_categories([item.categories for item in artifacts.catalog]),
            number_sid_groups(artifacts.sids.codes_NL),
        )
    except TriAlignError as error:
        return {"missing_reason": str(error)}
    says = (
        f"2 layers, {PROBE_HIDDEN_SIZE} hidden, {PROBE_HELD_OUT_RATIO:.0%} of SIDs held out, "
        f"categories with ≥ {MIN_CATEGORY_ITEMS} items"
    )
    return {**asdict(found), "note": says}


def _sid_embeddings(artifacts: RunArtifacts) -> npt.NDArray[np.float32]:
    """Return the input embeddings of each item's SID tokens side by side [N, L × D]; zeros where a SID has ended."""
    sids, table = artifacts.sids, artifacts.backbone.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    first_L = np.cumsum([0, *sids.codebook_sizes[:-1]])
    token_NL = np.array(artifacts.backbone.sid_token_ids)[np.maximum(sids.codes_NL, 0) + first_L]
    features_NLD = table[token_NL] * (sids.codes_NL != END_CODE)[..., None]
    shaped: npt.NDArray[np.float32] = features_NLD.reshape(len(sids), -1)
    return shaped


def _diagnose_titles(artifacts: RunArtifacts, max_items: int) -> dict[str, Any]:
    task = TASKS["sid_to_title"]
    if task.name not in {own.name for own in artifacts.recipe.tasks.list_tasks()}:
        return {"missing_reason": "T2 (SID to title) was not trained."}
    titled = [row for row in range(len(artifacts.catalog)) if artifacts.catalog[row].title]
    if len(titled) < 2:
        return {"missing_reason": "this catalogue has no titles."}
    random = np.random.default_rng(derive_seed(0, "diagnose"))
    rows = np.sort(random.choice(titled, min(max_items, len(titled)), replace=False)).tolist()
    written = _generate_titles(artifacts, rows)
    items = list(artifacts.catalog)
    blind = [items[row].title or "" for row in np.roll(random.permutation(rows), 1)]
    known = _index_titles(artifacts, items)
    named = [known.get(normalize_title(text), set()) for text in written]
    return _score_titles([items[row] for row in rows], written, blind) | {
        **_estimate_rates(
            hallucination_rate=[not found for found in named],
            own_title_rate=[row in found for row, found in zip(rows, named, strict=True)],
        ),
        "examples": [
            {"sid": artifacts.sids.sid_text(row), "title": items[row].title, "generated": text}
            for row, text in list(zip(rows, written, strict=True))[:NUM_TITLE_EXAMPLES]
        ],
    }


def _find_own_sids(artifacts: RunArtifacts, task: Task, max_items: int) -> dict[str, Any]:
    """Return how often an item's own SID is the first, and among the first `SID_PLACES`, that its text asks for."""
    if task.name not in {own.name for own in artifacts.recipe.tasks.list_tasks()}:
        return {"missing_reason": f"{task.number} ({task.source} to SID) was not trained."}
    chat = artifacts.chat_template
    views = artifacts.encode_views(chat)
    told = np.flatnonzero(np.diff(views.token_ids[task.source].offsets))
    if not len(told):
        return {"missing_reason": f"no item of this catalogue has a {task.source}."}
    random = np.random.default_rng(derive_seed(0, "diagnose", task.name))
    rows = np.sort(random.choice(told, min(max_items, len(told)), replace=False))
    examples = artifacts.build_examples(task, views, chat)
    recommender = artifacts.sid_recommender.with_num_beams(min(SID_PLACES, len(artifacts.trie.levels[-1])))
    beams = recommender.decode_prompts([examples.build_prompt(rows[place : place + 1]) for place in range(len(rows))])
    places = recommender.compute_sid_ranks(beams, rows).ahead_M
    found = _estimate_rates(first=places == 0, among_first=places < SID_PLACES)
    return found | {"items": len(rows), "places": SID_PLACES, "chance": SID_PLACES / len(artifacts.trie.levels[-1])}


def _estimate_rates(**found: Sequence[bool] | npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the share of items for which something is so, and its interval over items."""
    values = {name: np.asarray(own, dtype=np.float64) for name, own in found.items()}
    items = np.arange(len(next(iter(values.values()))))
    return {name: asdict(own) for name, own in bootstrap_intervals(values, items).items()}


def _generate_titles(artifacts: RunArtifacts, rows: Sequence[int]) -> list[str]:
    """Return the titles that the model writes for the SIDs of items: words only, as a title is asked for."""
    examples = artifacts.build_examples(
        TASKS["sid_to_title"], artifacts.encode_views(artifacts.chat_template), artifacts.chat_template
    )
    prompts = [examples.build_prompt(np.array([row])) for row in rows]
    most = artifacts.recipe.prompt.max_title_tokens + len(artifacts.chat_template.assistant_suffix)
    never = set(artifacts.chat_template.tokenizer.get_added_vocab().values()) - {
        artifacts.chat_template.assistant_suffix[0]
    }
    tokens = generate_greedily(
        artifacts.backbone.model,
        prompts,
        artifacts.chat_template.assistant_suffix[0],
        most,
        sorted(never),
        artifacts.recipe.decode.precision,
    )
    return [str(artifacts.chat_template.tokenizer.decode(own)).strip() for own in tokens]


def _index_titles(artifacts: RunArtifacts, items: Sequence[Item]) -> dict[str, set[int]]:
    """Return known title → rows of items, titles whole and as long as training showed them."""
    shown = artifacts.encode_views(artifacts.chat_template).token_ids[View.TITLE]
    rows: dict[str, set[int]] = {}
    for row, (item, tokens) in enumerate(zip(items, shown, strict=True)):
        for title in {item.title or "", str(artifacts.chat_template.tokenizer.decode(tokens or [])).strip()}:
            rows.setdefault(normalize_title(title), set()).add(row)
    rows.pop("", None)
    return rows


def _score_titles(items: Sequence[Item], generated: Sequence[str], other_titles: Sequence[str]) -> dict[str, Any]:
    """Return BLEU-4 and attribute recall with intervals, beside those of another item's title and of the true one."""
    true, wanted = [item.title or "" for item in items], extract_attributes(items)
    score, signature = compute_bleu_4(generated, true)
    recalls = {"model": generated, "other_title": other_titles, "true_title": true}
    return {
        "items": len(items),
        "bleu_4": {"model": asdict(score), "other_title": asdict(compute_bleu_4(other_titles, true)[0])},
        "attribute_recall": {name: asdict(compute_attribute_recall(own, wanted)) for name, own in recalls.items()},
        "note": f"{len(items):,} items that T2 saw in training, greedy, words only; {signature}",
    }
