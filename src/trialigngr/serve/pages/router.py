"""The pages: each reads its form from the address, asks what the API asks, and shows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from trialigngr.serve.errors import ServiceError
from trialigngr.serve.item_pages import describe_detail, describe_page, describe_sid_node, find_neighbours
from trialigngr.serve.pages.forms import CompareForm, ItemForm, ItemsForm, MapForm, PageForm, RecommendForm, TreeForm
from trialigngr.serve.pages.history_pages import show_comparison, show_recommendations
from trialigngr.serve.pages.item_map import draw_map
from trialigngr.serve.pages.page_route import PageWriter, build_page_route
from trialigngr.serve.pages.run_card import build_run_card
from trialigngr.serve.pages.shown_lists import describe_items, sample_histories
from trialigngr.serve.responses import read_request_id
from trialigngr.serve.routes.items import read_codes
from trialigngr.serve.routes.runs import describe_run
from trialigngr.serve.service import Service

BRANCHES, ITEMS, NEIGHBOURS = 24, 24, 12
"""What one page shows at most."""
SPACES = {"embedding": "by embedding", "sid": "by SID", "together": "taken together"}
STATIC_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


def build_page_router(service: Service) -> APIRouter:
    """Return the paths of the pages; they stand in no description."""
    writer = PageWriter(service)
    router = APIRouter(route_class=build_page_route(writer), include_in_schema=False)

    @router.get("/static/{name}")
    async def read_static_file(name: str) -> Response:
        """Return the stylesheet or a script."""
        if name not in writer.static_files:
            raise ServiceError("not_found", "There is nothing at this path.")
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}  # its address changes with it
        return Response(writer.static_files[name], media_type=STATIC_TYPES[name.rpartition(".")[2]], headers=kept)

    @router.get("/")
    def show_run(form: Annotated[PageForm, Query()]) -> HTMLResponse:
        """Show what a run is, its SIDs and its figures."""
        run = service.find_run(form.run)
        first = describe_page(run, None, (), {}, 0, ITEMS)
        return writer.write_page(
            "run.html.jinja", form, page=build_run_card(run), about=describe_run(run), items=first.items,
            examples=sample_histories(run),
        )  # fmt: skip

    @router.get("/sids")
    def show_tree(form: Annotated[TreeForm, Query()]) -> HTMLResponse:
        """Show a node of the SID tree: its branches, and its items where they are few."""
        run, prefix = service.find_run(form.run), read_codes(form.prefix)
        node = describe_sid_node(run, prefix, form.cursor, BRANCHES)
        items = describe_page(run, None, prefix, {}, 0, ITEMS).items if node.num_items <= ITEMS else []
        shown = {
            code: describe_items(run, ids) for code, ids in ((child.code, child.examples) for child in node.children)
        }
        return writer.write_page("tree.html.jinja", form, node=node, items=items, examples=shown)

    @router.get("/items")
    def list_items(form: Annotated[ItemsForm, Query()]) -> HTMLResponse:
        """Show items by what they are."""
        run = service.find_run(form.run)
        named = {"category": form.category, "brand": form.brand}
        found = describe_page(run, form.q, read_codes(form.sid), named, form.cursor, ITEMS)
        return writer.write_page("items.html.jinja", form, found=found, categories=list(run.index.rows_by_category))

    @router.get("/item")
    def show_item(form: Annotated[ItemForm, Query()]) -> HTMLResponse:
        """Show an item in full, and what is near it."""
        run = service.find_run(form.run)
        item = describe_detail(run, form.id)
        has_vectors = run.index.unit_vectors is not None
        space = form.space if has_vectors or form.space != "embedding" else "sid"
        near = find_neighbours(run, form.id, space, NEIGHBOURS)
        return writer.write_page(
            "item.html.jinja", form, item=item, near=near, spaces=SPACES, has_vectors=has_vectors,
            same_sid=describe_items(run, item.same_sid[:NEIGHBOURS]),
        )  # fmt: skip

    @router.get("/recommend")
    async def recommend(form: Annotated[RecommendForm, Query()], request: Request) -> HTMLResponse:
        """Show what comes after a history."""
        return await show_recommendations(writer, form, str(request.base_url), read_request_id(request))

    @router.get("/compare")
    async def compare(form: Annotated[CompareForm, Query()], request: Request) -> HTMLResponse:
        """Show two runs side by side."""
        return await show_comparison(writer, form, read_request_id(request))

    @router.get("/map")
    def show_map(form: Annotated[MapForm, Query()]) -> HTMLResponse:
        """Show where items lie by their embeddings."""
        run = service.find_run(form.run)
        return writer.write_page("map.html.jinja", form, drawn=draw_map(run, form.color) if form.draw else None)

    return router
