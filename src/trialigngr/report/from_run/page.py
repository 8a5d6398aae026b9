"""Fills the report's `ReportPage` from a finished run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from trialigngr.evaluate.comparison import SystemRow
from trialigngr.evaluate.seen_items import find_head_counting
from trialigngr.evaluate.target_ranks import ITEM
from trialigngr.foundation.artifact import check_file
from trialigngr.foundation.version import __version__
from trialigngr.metrics.intervals import Estimate
from trialigngr.report.from_run.enrichment_statistics import build_enrichment_section
from trialigngr.report.from_run.example_users import NUM_EXAMPLE_USERS, sample_case_studies, sample_example_users
from trialigngr.report.from_run.result_tables import (
    TABLE_METRICS,
    build_diagnostics_tables,
    build_result_tables,
    system_label,
)
from trialigngr.report.page import (
    DataCounts,
    MetricChart,
    PairedDifference,
    PipelineStep,
    PromptSpan,
    ReportPage,
    SidSection,
    TaskExample,
    TrainingCurves,
)
from trialigngr.report.render import write_page
from trialigngr.runs.run import Run
from trialigngr.runs.sid_quality import load_quality_inputs
from trialigngr.sids.quality import QualityInputs, measure_quality
from trialigngr.sids.tsne import CodeMap, compute_code_map
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.task import TASKS, Task

MAX_MAP_ITEMS = 1000
"""Items in the picture of code space."""


def write_report(run: Run, steps: tuple[PipelineStep, ...]) -> Path:
    """Write ``report.html`` at the top of a run folder and return its path; ``steps`` is what each stage says."""
    return write_page(build_page(run, steps), run.folder / "report.html")


def build_page(run: Run, steps: tuple[PipelineStep, ...]) -> ReportPage:
    """Return the whole page of a finished run; raise `ArtifactError` when its stages are not of one run."""
    run.check_metrics()
    metrics, has_generator = run.metrics, run.recipe.has_generator
    return ReportPage(
        title=f"{run.folder.name}: recommendations with Semantic IDs",
        recipe=run.recipe.description or run.folder.name,
        created_on=date.today().strftime("%-d %B %Y"),
        data_counts=_build_data_counts(run),
        steps=steps,
        settings=run.recipe.model_dump(mode="json", exclude={"description", "calls"}),
        protocol=metrics["protocol"],
        enrichment=build_enrichment_section(run.artifacts) if has_generator else None,
        sid_section=build_sid_section(run) if run.recipe.shown_sids_stage == "sids" else None,
        metric_charts=build_metric_charts(metrics, run.recipe.evaluate.head),
        differences=build_differences(metrics),
        result_tables=build_result_tables(metrics),
        diagnostics_tables=build_diagnostics_tables(run),
        curves=_read_curves(run) if has_generator else None,
        task_examples=tuple(_build_task_examples(run)) if has_generator else (),
        example_users=sample_example_users(run),
        sampling_note=(
            f"{NUM_EXAMPLE_USERS} test users drawn at random with a fixed seed; nobody was left out for a bad list."
        ),
        case_studies=sample_case_studies(run) if has_generator else (),
        version=__version__,
    )


def _stage_facts(run: Run, stage: str) -> dict[str, Any]:
    return run.read_stage_manifest(stage).facts


def _build_data_counts(run: Run) -> DataCounts:
    facts, histories = _stage_facts(run, "catalog"), run.artifacts.histories
    items = facts["kept"]["items"]
    notes = [f"{count:,} {name.replace('_', ' ')} dropped" for name, count in facts["dropped"].items() if count]
    if facts["order"]["users_with_a_tie"]:
        notes.append(f"{facts['order']['users_with_a_tie']:,} users have a tie in time; ties go by place in the file")
    return DataCounts(
        num_users=facts["kept"]["users"],
        num_items=items,
        num_interactions=facts["kept"]["interactions"],
        num_images=items - facts["without"]["image_path"],
        num_test_targets=facts["split"]["test"],
        num_titles=items - facts["without"]["title"],
        median_history_length=float(np.median(histories.sequence_lengths)),
        notes=tuple(notes),
    )


def build_sid_section(run: Run, with_map: bool = True) -> SidSection:
    """Return what is said of a run's SIDs, with or without the picture of code space, which takes seconds."""
    facts, known = _stage_facts(run, "sids"), load_quality_inputs(run.artifacts)
    return SidSection(
        quality=measure_quality(run.artifacts.sids, known),
        collision_rate_before=facts["collisions_raw"]["items"],
        collision_policy=run.recipe.sids.collision_policy,
        num_moved=facts["moved_items"],
        code_map=_build_code_map(run, known) if with_map else None,
    )


def _build_code_map(run: Run, quality_inputs: QualityInputs) -> CodeMap | None:
    if quality_inputs.quantizer is None or quality_inputs.categories is None or not any(quality_inputs.categories):
        return None
    codes_NL = run.artifacts.sids.codes_NL[:, : len(quality_inputs.quantizer.codebooks)]
    return compute_code_map(quality_inputs.quantizer.decode(codes_NL), quality_inputs.categories, MAX_MAP_ITEMS)


def _parse_shown_estimates(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    return {name: Estimate(**figure) for name, figure in figures.items() if name.startswith(TABLE_METRICS)}


def build_metric_charts(metrics: Mapping[str, Any], head: str) -> tuple[MetricChart, ...]:
    """Return the figures of the system that heads a run and of those beside it, the headline first."""

    def build_chart(name: str, description: str, model_key: str, baselines_key: str | None) -> MetricChart:
        beside = metrics[baselines_key] if baselines_key else {}
        rows = [SystemRow(system_label(head), _parse_shown_estimates(metrics[model_key]))]
        rows += [SystemRow(system_label(name), _parse_shown_estimates(figures)) for name, figures in beside.items()]
        return MetricChart(name, description, tuple(rows), system_label(head))

    raw = build_chart(
        "Items, nothing masked", "K counts items; items that share a SID share its places.", "test", "baselines"
    )
    masked = build_chart(
        "Items, seen ones masked",
        "What a user already took is left out, for every system.",
        "test_seen_masked",
        "baselines_seen_masked",
    )
    is_raw = find_head_counting(metrics["protocol"]["seen_items"]) == ITEM
    charts = (raw, masked) if is_raw else (masked, raw)
    if not metrics["test_sid"]:
        return charts
    says = "K counts SIDs: a hit is the right SID, not the right item. Kept for comparison with others."
    return (*charts, build_chart("SIDs", says, "test_sid", None))


def build_differences(metrics: Mapping[str, Any]) -> tuple[PairedDifference, ...]:
    """Return the paired differences between a run and the systems beside it."""
    return tuple(
        PairedDifference(metric, system_label(versus), Estimate(**figure))
        for versus, figures in metrics["differences"].items()
        for metric, figure in figures.items()
        if metric.startswith(TABLE_METRICS)
    )


def _read_curves(run: Run) -> TrainingCurves:
    journal = check_file(run.folder / "model" / "metrics.jsonl")
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    loss = {
        task: tuple((line["step"], line["loss"][task]) for line in lines if task in line["loss"])
        for task in TASKS
        if any(task in line["loss"] for line in lines)
    }
    validation = tuple((line["step"], line["valid"]["NDCG@10"]) for line in lines if "valid" in line)
    return TrainingCurves(
        loss,
        validation,
        chosen_step=_stage_facts(run, "model")["best_step"],
    )


def _build_task_examples(run: Run) -> Iterable[TaskExample]:
    trained = _stage_facts(run, "model")["examples"]
    chat = run.artifacts.chat_template
    views = run.artifacts.encode_views(chat)
    for task in TASKS.values():
        if task.name in trained:
            yield _build_task_example(task, run.artifacts.build_examples(task, views, chat, as_text=True), chat)
        else:
            wanted = task.name in {wanted.name for wanted in run.recipe.tasks.list_tasks()}
            why = "this catalogue does not have what it needs" if wanted else "the recipe leaves it out"
            yield TaskExample(task.number, task.name, missing_reason=f"Not trained: {why}.")


def _build_task_example(task: Task, examples: TaskExamples, chat: ChatTemplate) -> TaskExample:
    # A history of several items shows more of a task than the first prefix of one.
    shared_row = max(examples.draw_batch(0, 0, 12), key=lambda shared_row: len(shared_row.prefix_tokens))
    continuation = shared_row.continuations[-1]
    items = [
        *shared_row.prefix_tokens[: continuation.prefix_length],
        *continuation.prompt_suffix[: len(continuation.prompt_suffix) - len(examples.prompt_suffix)],
    ]
    user_tokens, target_tokens = (
        ([], [*items, *continuation.target]) if examples.history_in_completion else (items, continuation.target)
    )
    return TaskExample(
        task.number,
        task.name,
        system=(PromptSpan(task.system),),
        user=(PromptSpan(task.instruction), *_split_spans(chat, user_tokens)),
        target=_split_spans(chat, target_tokens),
        num_examples=len(examples),
    )


def _split_spans(chat: ChatTemplate, token_ids: list[int]) -> tuple[PromptSpan, ...]:
    """Return ids as text, each special token by itself."""
    spans: list[PromptSpan] = []
    plain: list[int] = []
    for token in [*token_ids, None]:
        if token is not None and not chat.is_special(token):
            plain.append(token)
            continue
        if plain:
            spans.append(PromptSpan(chat.tokenizer.decode(plain)))
            plain = []
        if token is not None:
            spans.append(PromptSpan(chat.tokenizer.convert_ids_to_tokens(token), is_special_token=True))
    return tuple(spans)
