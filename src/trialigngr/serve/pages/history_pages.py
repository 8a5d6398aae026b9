"""The pages that ask what comes after a history: one list, or two side by side."""

from __future__ import annotations

import asyncio

from fastapi.responses import HTMLResponse

from trialigngr.serve.info_models import RunComparison
from trialigngr.serve.pages.forms import CompareForm, RecommendForm
from trialigngr.serve.pages.page_route import PageWriter
from trialigngr.serve.pages.shown_lists import (
    describe_items,
    find_candidates,
    mark_differences,
    sample_histories,
    write_curl,
)
from trialigngr.serve.request_models import ExplanationQuery, RecommendationQuery
from trialigngr.serve.response_models import ExplanationResponse, RecommendationResponse
from trialigngr.serve.routes.runs import compare_runs, describe_run
from trialigngr.serve.served_run import ServedRun


async def show_recommendations(writer: PageWriter, given: RecommendForm, address: str, request_id: str) -> HTMLResponse:
    """Return the page of what comes after a history; ``address`` is where the API is asked for the same."""
    form = given.append_pasted()
    run, query = writer.service.find_run(form.run), form.build_query()
    found = await run.recommend(query, request_id)
    explained = await _explain(run, form)
    near = [other.item_id for item in found.items if item.why for other in item.why.nearest_history]

    def write() -> HTMLResponse:
        return writer.write_page(
            "recommend.html.jinja",
            form,
            found=found,
            explained=explained,
            history=describe_items(run, form.h),
            titles=describe_items(run, near),
            candidates=find_candidates(run, form.q),
            about=describe_run(run),
            categories=list(run.index.rows_by_category),
            examples=sample_histories(run),
            curl=write_curl(address, query, writer.service.keys.needs_key),
        )

    return await asyncio.to_thread(write)


async def _explain(run: ServedRun, form: RecommendForm) -> ExplanationResponse | None:
    """Return the parts of an item's score where they are asked for, and a history is there."""
    if not form.explain or not form.h:
        return None
    return await run.explain(ExplanationQuery(history=form.h, item_id=form.explain, system=form.system))


async def show_comparison(writer: PageWriter, given: CompareForm, request_id: str) -> HTMLResponse:
    """Return the page of two runs: their figures, and what each makes of one history."""
    names, form = list(writer.service.runs), given.append_pasted()
    form = form.model_copy(update={"a": form.a or names[0], "b": form.b or names[min(1, len(names) - 1)]})
    a, b = writer.service.find_run(form.a), writer.service.find_run(form.b)

    async def ask(run: ServedRun, system: str) -> RecommendationResponse:
        query = RecommendationQuery(history=form.h, run=run.name, system=system, k=form.k)
        return await run.recommend(query, request_id)

    lists = await asyncio.gather(ask(a, form.system_a), ask(b, form.system_b))

    def write() -> HTMLResponse:
        return writer.write_page(
            "compare.html.jinja",
            form,
            lists=lists,
            differences=mark_differences(*lists),
            compared=_compare_figures(a, b),
            about=[describe_run(a), describe_run(b)],
            links=[writer.build_linker(a), writer.build_linker(b)],
            history=describe_items(a, form.h),
            candidates=find_candidates(a, form.q),
            examples=sample_histories(a),
        )

    return await asyncio.to_thread(write)


def _compare_figures(a: ServedRun, b: ServedRun) -> RunComparison | None:
    """Return the figures of two runs; None where one has not been evaluated."""
    return compare_runs(a, b) if all((run.run.folder / "metrics.json").is_file() for run in (a, b)) else None
