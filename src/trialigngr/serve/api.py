"""`build_api`: the service as an ASGI application with an OpenAPI description. The pages for people stand beside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from trialigngr.foundation.errors import TriAlignError
from trialigngr.foundation.version import __version__
from trialigngr.serve.pages.router import build_page_router
from trialigngr.serve.responses import ERROR_RESPONSES, handle_error, handle_http_error, handle_invalid_request
from trialigngr.serve.routes.admin import build_admin_router
from trialigngr.serve.routes.chat import build_chat_router
from trialigngr.serve.routes.items import build_item_router
from trialigngr.serve.routes.operations import build_operations_router
from trialigngr.serve.routes.recommendations import build_recommendation_router
from trialigngr.serve.routes.runs import build_run_router
from trialigngr.serve.service import Service

ROUTERS = (
    build_recommendation_router,
    build_item_router,
    build_run_router,
    build_chat_router,
    build_operations_router,
    build_page_router,
)
"""What makes the paths, in the order of the description."""


def build_api(service: Service) -> FastAPI:
    """Return the application; the service starts and stops with it.

    `gate.RequestGate` belongs around it. FastAPI's own pages are left out: they load scripts from elsewhere.
    """

    @asynccontextmanager
    async def run_service(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    guarded = [Security(HTTPBearer(auto_error=False))] if service.keys.needs_key else []
    api = FastAPI(
        title="TriAlignGR", version=__version__, lifespan=run_service, docs_url=None, redoc_url=None,
        responses=ERROR_RESPONSES, dependencies=guarded, redirect_slashes=False,
    )  # fmt: skip
    builders = (*ROUTERS, build_admin_router) if service.keys.has_admins else ROUTERS
    for build_router in builders:
        api.include_router(build_router(service))
    api.add_exception_handler(RequestValidationError, handle_invalid_request)
    api.add_exception_handler(HTTPException, handle_http_error)
    api.add_exception_handler(TriAlignError, handle_error)
    api.add_exception_handler(Exception, handle_error)
    return api
