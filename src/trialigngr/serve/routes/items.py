"""Items, their neighbours and pictures, and the tree of SIDs."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from starlette.convertors import Convertor, register_url_convertor

from trialigngr.serve.item_models import ItemDetail, ItemPage, NeighbourList, SidNode
from trialigngr.serve.item_pages import (
    describe_detail,
    describe_page,
    describe_sid_node,
    find_neighbours,
    read_picture,
)
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.service import Service

JPEG = "image/jpeg"
RunName = Annotated[str | None, Query(max_length=LIMITS.id_length)]
Name = Annotated[str | None, Query(min_length=1, max_length=LIMITS.id_length)]
PageSize = Annotated[int, Query(ge=1, le=LIMITS.page)]
Cursor = Annotated[int, Query(ge=0, le=2**53)]
ItemPath = Annotated[str, Path(min_length=1, max_length=LIMITS.id_length)]


class AnyTextConvertor(Convertor[str]):
    """An id in a path: anything, slashes and line ends too, at which the framework's own kinds end."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        """Return the id that stands in a path."""
        return value

    def to_string(self, value: str) -> str:
        """Return an id as it stands in a path."""
        return value


register_url_convertor("any", AnyTextConvertor())
SID_PATTERN = r"^[0-9]{1,8}(,[0-9]{1,8}){0,25}$"
OptionalSid = Annotated[str | None, Query(pattern=SID_PATTERN)]
SidPath = Annotated[str, Path(pattern=SID_PATTERN)]


def read_codes(text: str | None) -> list[int]:
    """Return the codes of ``12,4``."""
    return [int(code) for code in text.split(",")] if text else []


def build_item_router(service: Service) -> APIRouter:
    """Return the paths that show items."""
    router = APIRouter(tags=["items"])

    @router.get("/v1/items")
    def list_items(
        q: Name = None,
        sid: OptionalSid = None,
        category: Name = None,
        brand: Name = None,
        item_id: Name = None,
        cursor: Cursor = 0,
        limit: PageSize = 20,
        run: RunName = None,
    ) -> ItemPage:
        """Return items by words of their title, leading codes, category, brand or id, in row order."""
        named = {"category": category, "brand": brand, "item_id": item_id}
        return describe_page(service.find_run(run), q, read_codes(sid), named, cursor, limit)

    # Ids may hold slashes: what stands behind the id is looked for first.
    @router.get("/v1/items/{item_id:any}/neighbours")
    def list_neighbours(
        item_id: ItemPath,
        space: Literal["embedding", "sid", "together"] = "embedding",
        k: PageSize = 10,
        run: RunName = None,
    ) -> NeighbourList:
        """Return the nearest items by embedding, by SID, or by who took both."""
        return find_neighbours(service.find_run(run), item_id, space, k)

    @router.get("/v1/items/{item_id:any}/image", response_class=Response, responses={200: {"content": {JPEG: {}}}})
    def read_image(item_id: ItemPath, size: Literal["64", "256", "1024"] = "256", run: RunName = None) -> Response:
        """Return an item's picture as JPEG, no side longer than ``size``; never one from an address."""
        picture = read_picture(service.find_run(run), item_id, int(size))
        return Response(picture, media_type=JPEG, headers={"Cache-Control": "private, max-age=3600"})

    @router.get("/v1/items/{item_id:any}")
    def read_item(item_id: ItemPath, run: RunName = None) -> ItemDetail:
        """Return all that the run knows of an item."""
        return describe_detail(service.find_run(run), item_id)

    @router.get("/v1/sids")
    def read_sid_tree(
        prefix: OptionalSid = None, cursor: Cursor = 0, limit: PageSize = 20, run: RunName = None
    ) -> SidNode:
        """Return the items below some leading codes, and how their SIDs go on."""
        return describe_sid_node(service.find_run(run), read_codes(prefix), cursor, limit)

    @router.get("/v1/sids/{sid}")
    def list_sid_items(sid: SidPath, cursor: Cursor = 0, limit: PageSize = 20, run: RunName = None) -> ItemPage:
        """Return the items whose SIDs are, or begin with, some codes."""
        return describe_page(service.find_run(run), None, read_codes(sid), {}, cursor, limit)

    return router
