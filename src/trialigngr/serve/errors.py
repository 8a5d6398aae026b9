"""`ServiceError` and what becomes of any error: a status and one shape, never a trace."""

from __future__ import annotations

from typing import Literal, NamedTuple

from trialigngr.foundation.errors import ErrorKind, TriAlignError

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "overloaded_error",
    "server_error",
]


class ErrorClass(NamedTuple):
    """The status of an error code, its coarse type, and whether the same request may succeed later."""

    status: int
    type: ErrorType
    retryable: bool = False


ERROR_CLASSES = {
    "malformed_json": ErrorClass(400, "invalid_request_error"),
    "invalid_host": ErrorClass(400, "invalid_request_error"),
    "unauthorized": ErrorClass(401, "authentication_error"),
    "forbidden": ErrorClass(403, "permission_error"),
    "cross_site": ErrorClass(403, "permission_error"),
    "not_found": ErrorClass(404, "not_found_error"),
    "no_image": ErrorClass(404, "not_found_error"),
    "unknown_run": ErrorClass(404, "not_found_error"),
    "unknown_version": ErrorClass(404, "not_found_error"),
    "unknown_brand": ErrorClass(404, "not_found_error"),
    ErrorKind.UNKNOWN_ITEM: ErrorClass(404, "not_found_error"),
    ErrorKind.UNKNOWN_USER: ErrorClass(404, "not_found_error"),
    ErrorKind.UNKNOWN_CATEGORY: ErrorClass(404, "not_found_error"),
    ErrorKind.UNKNOWN_SYSTEM: ErrorClass(404, "not_found_error"),
    "method_not_allowed": ErrorClass(405, "invalid_request_error"),
    "conflict": ErrorClass(409, "conflict_error"),
    ErrorKind.BUSY: ErrorClass(409, "conflict_error", True),
    "events_off": ErrorClass(409, "conflict_error"),
    ErrorKind.NOT_TRAINED: ErrorClass(409, "conflict_error"),
    ErrorKind.INVALID_RECIPE: ErrorClass(409, "conflict_error"),
    ErrorKind.INVALID_DATA: ErrorClass(409, "conflict_error"),
    "body_too_large": ErrorClass(413, "invalid_request_error"),
    "unsupported_media_type": ErrorClass(415, "invalid_request_error"),
    ErrorKind.INVALID_ARGUMENT: ErrorClass(422, "invalid_request_error"),
    "overloaded": ErrorClass(429, "overloaded_error", True),
    "internal": ErrorClass(500, "server_error"),
    "draining": ErrorClass(503, "overloaded_error", True),
    "disk": ErrorClass(503, "server_error", True),
    ErrorKind.DAMAGED_RUN: ErrorClass(503, "server_error"),
    "deadline": ErrorClass(504, "overloaded_error", True),
}
"""Error code → its class. What is unknown is 404, also in a body: the same words succeed where the name is known."""
REFUSALS = {
    400: ("malformed_json", "The body cannot be read as JSON."),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path has no such method."),
}
"""Code and sentence of what the framework itself refuses, by its status."""


class ServiceError(TriAlignError):
    """A request that is not answered, under a code of `ERROR_CLASSES`; ``param`` is the field that is to blame."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def find_error_code(error: Exception) -> str:
    """Return the code of an error; of one that nobody foresaw ``internal``."""
    if isinstance(error, ServiceError):
        return error.code
    code = str(error.kind) if isinstance(error, TriAlignError) else "internal"
    return code if code in ERROR_CLASSES else "internal"
