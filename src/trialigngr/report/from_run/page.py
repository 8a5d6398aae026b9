"""Fills the report's `Page` from a finished run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.foundation.artifact import Manifest, check_file, read_manifest
from trialigngr.foundation.version import __version__
from trialigngr.metrics.intervals import Estimate
from trialigngr.report.from_run.ablation_grids import SHOWN, diagnostic_grids, result_grids
from trialigngr.report.from_run.enrichment_statistics import seen
from trialigngr.report.from_run.example_users import PEOPLE, people, stories
from trialigngr.report.page import (
    Counts,
    Curves,
    Difference,
    MetricTable,
    Page,
    SidPanel,
    Span,
    Stage,
    StageName,
    System,
    TaskExample,
)
from trialigngr.report.write import write_page
from trialigngr.runs.run import Run
from trialigngr.runs.sid_quality import beside
from trialigngr.sids.quality import Beside, measure
from trialigngr.sids.tsne import CodeMap, code_map
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.task import TASKS, Task

MAPPED = 1000
"""Items in the picture of code space."""


def write_report(run: Run) -> Path:
    """Write ``report.html`` at the top of a run folder and return its path."""
    return write_page(page(run), run.folder / "report.html")


def page(run: Run) -> Page:
    """Return the whole page of a finished run; raise `ArtifactError` when its stages are not of one run."""
    run.check_figures()
    metrics = run.metrics
    return Page(
        title=f"{run.folder.name}: recommendations with Semantic IDs",
        recipe=run.recipe.description or run.folder.name,
        made_on=date.today().strftime("%-d %B %Y"),
        counts=_counts(run),
        stages=_stages(run),
        settings=run.recipe.model_dump(mode="json", exclude={"description", "calls"}),
        protocol=metrics["protocol"],
        seen=seen(run.parts),
        sids=_sids(run),
        tables=_tables(metrics),
        differences=_differences(metrics),
        grids=result_grids(metrics),
        diagnostics=diagnostic_grids(run),
        curves=_curves(run),
        tasks=tuple(_task_examples(run)),
        people=people(run),
        people_chosen=f"{PEOPLE} test users drawn at random with a fixed seed; nobody was left out for a bad list.",
        stories=stories(run),
        version=__version__,
    )


def _facts(run: Run, stage: str) -> dict[str, Any]:
    return run.manifest(stage).facts


def _counts(run: Run) -> Counts:
    facts, histories = _facts(run, "catalog"), run.parts.histories
    items = facts["kept"]["items"]
    notes = [f"{count:,} {name.replace('_', ' ')} dropped" for name, count in facts["dropped"].items() if count]
    if facts["order"]["users_with_a_tie"]:
        notes.append(f"{facts['order']['users_with_a_tie']:,} users have a tie in time; ties go by place in the file")
    return Counts(
        users=facts["kept"]["users"],
        items=items,
        interactions=facts["kept"]["interactions"],
        pictures=items - facts["without"]["image_path"],
        test_targets=facts["split"]["test"],
        titles=items - facts["without"]["title"],
        median_history=float(np.median(histories.lengths)),
        notes=tuple(notes),
    )


def _stages(run: Run) -> tuple[Stage, ...]:
    manifests: dict[str, Manifest] = {
        name: read_manifest(run.folder / name)
        for name in ("catalog", "captions", "interests", "embeddings", "sids", "model", "evaluation")
    }
    facts = {name: manifest.facts for name, manifest in manifests.items()}
    embedded, sids, model = facts["embeddings"], facts["sids"], facts["model"]
    said: dict[StageName, str] = {
        "catalog": f"{facts['catalog']['kept']['items']:,} items, {facts['catalog']['kept']['users']:,} users",
        "captions": f"{facts['captions']['captions']:,} captions",
        "interests": f"{facts['interests']['tags']:,} tags, {facts['interests']['distinct_tags']:,} distinct",
        "embeddings": f"{embedded['dimensions']} numbers an item",
        "sids": " × ".join(str(size) for size in sids["sizes"]) + " codes",
        "tasks": f"{len(model['examples'])} tasks, {sum(model['examples'].values()):,} examples",
        "model": f"{model['parameters'] / 1e6:.1f}M parameters, {model['step']:,} steps",
        "decode": f"{run.recipe.decode.beams} beams",
        "evaluation": f"{facts['evaluation']['test_targets']:,} test targets",
    }
    written_by = {
        "captions": facts["captions"]["generator"],
        "interests": facts["interests"]["generator"],
        "embeddings": ", ".join(embedded["encoders"]),
        "sids": run.recipe.sids.quantizer,
        "model": run.recipe.model.name,
    }
    return tuple(
        Stage(name, fact, facts.get(name, {}).get("seconds"), written_by.get(name)) for name, fact in said.items()
    )


def _sids(run: Run) -> SidPanel:
    facts, known = _facts(run, "sids"), beside(run.parts)
    return SidPanel(
        quality=measure(run.parts.sids, known),
        raw_sharing=facts["collisions_raw"]["items"],
        policy=run.recipe.sids.collisions,
        moved=facts["moved"],
        map=_map(run, known),
    )


def _map(run: Run, known: Beside) -> CodeMap | None:
    if known.quantizer is None or known.categories is None or not any(known.categories):
        return None
    codes_NL = run.parts.sids.codes_NL[:, : len(known.quantizer.levels)]
    return code_map(known.quantizer.decode(codes_NL), known.categories, MAPPED)


def _estimates(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    return {name: Estimate(**figure) for name, figure in figures.items() if name.startswith(SHOWN)}


def _tables(metrics: Mapping[str, Any]) -> tuple[MetricTable, ...]:
    def table(name: str, says: str, ours: str, others: str | None) -> MetricTable:
        beside = metrics[others] if others else {}
        rows = [System("TriAlignGR", _estimates(metrics[ours]), ours=True)]
        rows += [System(name, _estimates(figures)) for name, figures in beside.items()]
        return MetricTable(name, says, tuple(rows))

    return (
        table("Items, nothing masked", "K counts items; items that share a SID share its places.", "test", "baselines"),
        table(
            "Items, seen ones masked",
            "What a user already took is left out, for every system.",
            "test_unseen",
            "baselines_unseen",
        ),
        table(
            "SIDs",
            "K counts SIDs: a hit is the right SID, not the right item. Kept for comparison with others.",
            "test_sid",
            None,
        ),
    )


def _differences(metrics: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(
        Difference(metric, versus, Estimate(**figure))
        for versus, figures in metrics["differences"].items()
        for metric, figure in figures.items()
        if metric.startswith(SHOWN)
    )


def _curves(run: Run) -> Curves:
    journal = check_file(run.folder / "model" / "metrics.jsonl")
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    loss = {
        task: tuple((line["step"], line["loss"][task]) for line in lines if task in line["loss"])
        for task in TASKS
        if any(task in line["loss"] for line in lines)
    }
    validation = tuple((line["step"], line["valid"]["NDCG@10"]) for line in lines if "valid" in line)
    return Curves(
        loss,
        validation,
        chosen_step=_facts(run, "model")["best_step"],
    )


def _task_examples(run: Run) -> Iterable[TaskExample]:
    trained = _facts(run, "model")["examples"]
    chat = run.parts.chat
    views = run.parts.views(chat)
    for task in TASKS.values():
        if task.name in trained:
            yield _task_example(task, run.parts.examples(task, views, chat), chat)
        else:
            wanted = task.name in {wanted.name for wanted in run.recipe.tasks.tasks()}
            why = "this catalogue does not have what it needs" if wanted else "the recipe leaves it out"
            yield TaskExample(task.number, task.name, absent=f"Not trained: {why}.")


def _task_example(task: Task, examples: TaskExamples, chat: Chat) -> TaskExample:
    # A history of several items shows more of a task than the first prefix of one.
    sheet = max(examples.batch(0, 0, 12), key=lambda sheet: len(sheet.trunk))
    branch = sheet.branches[-1]
    items = [*sheet.trunk[: branch.cut], *branch.prompt[: len(branch.prompt) - len(examples.tail)]]
    asked, written = ([], [*items, *branch.target]) if examples.continued else (items, branch.target)
    return TaskExample(
        task.number,
        task.name,
        system=(Span(task.system),),
        user=(Span(task.instruction), *_spans(chat, asked)),
        target=_spans(chat, written),
        examples=len(examples),
    )


def _spans(chat: Chat, ids: list[int]) -> tuple[Span, ...]:
    """Return ids as text, each special token by itself."""
    spans: list[Span] = []
    plain: list[int] = []
    for token in [*ids, None]:
        if token is not None and not chat.is_special(token):
            plain.append(token)
            continue
        if plain:
            spans.append(Span(chat.tokenizer.decode(plain)))
            plain = []
        if token is not None:
            spans.append(Span(chat.tokenizer.convert_ids_to_tokens(token), token=True))
    return tuple(spans)
