"""A service asked without a socket, and what every answer that is none must look like."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from trialigngr.serve.errors import ERROR_CLASSES
from trialigngr.serve.server import build_gated_api
from trialigngr.serve.service import Service

ADMIN_KEY = "admin-key-of-the-tests"
AS_ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


def open_client(service: Service) -> TestClient:
    """Return a client that sees what a client elsewhere would: an error of the server is an answer."""
    return TestClient(build_gated_api(service), base_url="http://127.0.0.1", raise_server_exceptions=False)


def check_fault(response: Any, status: int, code: str) -> dict[str, Any]:
    """Return the error of an answer, whose status, code and shape are checked, and that it holds no trace."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    fault = response.json()["error"]
    assert set(fault) == {"code", "message", "type", "param", "retryable", "request_id"}
    assert fault["code"] == code
    assert (fault["type"], fault["retryable"]) == ERROR_CLASSES[code][1:]
    assert fault["request_id"] == response.headers["x-request-id"]
    assert fault["retryable"] == ("retry-after" in response.headers)
    assert not any(word in response.text for word in ("Traceback", "trialigngr/", ".py", "site-packages"))
    return fault
