"""Errors as responses: one shape, whatever went wrong, and what the OpenAPI description says of it."""

from __future__ import annotations

import traceback
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ErrorKind
from trialigngr.serve.errors import ERROR_CLASSES, REFUSALS, ServiceError, find_error_code
from trialigngr.serve.response_models import FaultResponse, ServiceFault

RETRY_AFTER = {"Retry-After": "1"}
STATUSES = sorted({known.status for known in ERROR_CLASSES.values()})
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {status: {"model": FaultResponse} for status in STATUSES}
"""What the description says of each status that is no success."""
GENERAL_MESSAGES: dict[str, str] = {
    "internal": "This server met an error of its own; its log has it under the request_id.",
    ErrorKind.DAMAGED_RUN: "Something of this run cannot be used; the server's log says what.",
    ErrorKind.INVALID_DATA: "This does not fit the run's catalogue; the server's log says why.",
    ErrorKind.INVALID_RECIPE: "This run was made by a recipe that does not allow that; the server's log says why.",
    ErrorKind.UNKNOWN_SYSTEM: "This run has no such system; /v1/runs names those that it has.",
    ErrorKind.BUSY: "Something else is writing to this run; try again later.",
}
"""What is told instead of sentences that may name paths of the server; `_log_error` has those that tell more."""
_NAMES_THE_REQUEST = (ErrorKind.UNKNOWN_SYSTEM, "internal")
"""Codes of errors whose sentences may repeat what was asked; those are not logged."""


def describe_fault(error: Exception, request_id: str) -> ServiceFault:
    """Return an error as it is told. What may name paths of the server is logged, and told in general."""
    code = find_error_code(error)
    known, message = ERROR_CLASSES[code], str(error)
    if not isinstance(error, ServiceError) and code in GENERAL_MESSAGES:
        message = GENERAL_MESSAGES[code]
        _log_error(error, code, request_id)
    param = error.param if isinstance(error, ServiceError) else None
    return ServiceFault(
        code=code, message=message, type=known.type, param=param, retryable=known.retryable, request_id=request_id
    )


def _log_error(error: Exception, code: str, request_id: str) -> None:
    """Log an error under the id of its request: what is wrong with the run, or where in the code nobody foresaw it.
    What was asked is nobody's business."""
    said = type(error).__name__ if code in _NAMES_THE_REQUEST else f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__) if code == "internal" else []
    places = ", ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    log(f"request {request_id}: {said}{places and ' in '}{places}")


def respond_to_error(error: Exception, request_id: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error as a response."""
    fault = describe_fault(error, request_id)
    known = ERROR_CLASSES[fault.code]
    more = dict(headers or {}) | (RETRY_AFTER if known.retryable else {})
    if known.status == 401:
        more.setdefault("WWW-Authenticate", "Bearer")
    return JSONResponse(FaultResponse(error=fault).model_dump(), known.status, more)


def read_request_id(request: Request) -> str:
    """Return what a request is called in answers and in the log."""
    return str(request.state.request_id)


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """Answer whatever a route raises."""
    return respond_to_error(error, read_request_id(request))


async def handle_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: unknown paths, wrong methods, bodies that are no JSON."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    headers = dict(getattr(error, "headers", None) or {})
    told = ServiceError(*REFUSALS.get(status, REFUSALS[400]))
    return respond_to_error(told, read_request_id(request), headers)


async def handle_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Answer a query that does not fit its model; what was sent is not sent back."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these alone
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return respond_to_error(ServiceError(*REFUSALS[400], "body"), read_request_id(request))
    place = ".".join(str(part) for part in first["loc"] if part != "body")[:200] or "body"
    told = ServiceError("invalid_argument", f"{place}: {first['msg']}.", place)
    return respond_to_error(told, read_request_id(request))
