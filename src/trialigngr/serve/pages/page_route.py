"""`PageRoute`: a path that answers with pages, also where something is wrong; `PageWriter` writes them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cached_property, partial
from hashlib import sha256
from importlib.resources import files
from typing import Any, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment
from pydantic import ValidationError
from starlette.responses import Response

from trialigngr.foundation.version import __version__
from trialigngr.report.render import build_environment
from trialigngr.serve.errors import ERROR_CLASSES, ServiceError
from trialigngr.serve.pages.forms import PageForm, build_url
from trialigngr.serve.pages.stylesheet import PACKAGE, read_stylesheet
from trialigngr.serve.responses import RETRY_AFTER, describe_fault, read_request_id
from trialigngr.serve.served_run import ServedRun
from trialigngr.serve.service import Service

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MENU = (("/", "Run"), ("/sids", "SIDs"), ("/items", "Items"), ("/recommend", "Recommend"), ("/compare", "Compare"),
        ("/map", "Map"))  # fmt: skip


class PageWriter:
    """Writes the pages of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service

    @cached_property
    def environment(self) -> Environment:
        """The templates."""
        return build_environment(PACKAGE)

    @cached_property
    def static_files(self) -> dict[str, bytes]:
        """Stylesheet and scripts by name. The stylesheet is the report's, and then what the pages have besides."""
        folder = files(PACKAGE) / "static"
        own = {name: (folder / name).read_bytes() for name in ("htmx.min.js", "explorer.js", "icon.svg")}
        return own | {"style.css": read_stylesheet(self.environment).encode()}

    @cached_property
    def _static_version(self) -> str:
        return sha256(b"".join(self.static_files.values())).hexdigest()[:12]

    def write_page(self, template: str, form: PageForm, **shown: Any) -> HTMLResponse:
        """Return a page of the run that a form names; a lone surrogate of a title becomes a question mark."""
        run = self.service.find_run(form.run)
        html = self.environment.get_template(template).render(
            run=run,
            form=form,
            link=self.build_linker(run),
            runs=list(self.service.runs),
            menu=MENU,
            version=__version__,
            static_version=self._static_version,
            **shown,
        )
        return HTMLResponse(html.encode("utf-8", "replace"), headers={"Content-Security-Policy": CONTENT_POLICY})

    def build_linker(self, run: ServedRun) -> Callable[..., str]:
        """Return what gives the addresses of pages of a run."""
        first = next(iter(self.service.runs))
        return partial(build_url, **({} if run.name == first else {"run": run.name}))

    def write_error(self, error: Exception, request_id: str) -> HTMLResponse:
        """Return an error as a page, under its status and in the words of the API."""
        fault = describe_fault(error, request_id)
        known = ERROR_CLASSES[fault.code]
        page = self.write_page("error.html.jinja", PageForm(), fault=fault, page=None)
        page.status_code = known.status
        page.headers.update(RETRY_AFTER if known.retryable else {})
        return page


def build_page_route(writer: PageWriter) -> type[APIRoute]:
    """Return the class of a router's paths, whose errors are pages."""

    class PageRoute(APIRoute):
        """A path whose errors are pages."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """Return what answers."""
            answer = super().get_route_handler()

            async def answer_with_page(request: Request) -> Response:
                try:
                    return await answer(request)
                except Exception as error:  # noqa: BLE001 - people are told too
                    return writer.write_error(_translate_error(error), read_request_id(request))

            return answer_with_page

    return PageRoute


def _translate_error(error: Exception) -> Exception:
    """Return an error as the API names it; what was sent is not sent back."""
    if not isinstance(error, RequestValidationError | ValidationError):
        return error
    first = cast(dict[str, Any], error.errors()[0])
    place = ".".join(str(part) for part in first["loc"] if part != "query")[:200] or "query"
    return ServiceError("invalid_argument", f"{place}: {first['msg']}.", place)
