"""The server says its address when somebody may ask, and not before."""

from __future__ import annotations

import gc
import socket
from typing import Any

import pytest
import uvicorn

from trialigngr.serve.server import AnnouncedServer, ListenSettings, _bind_socket


async def answer_nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


def test_the_address_is_told_when_the_port_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()
    config = uvicorn.Config(answer_nothing, lifespan="off", log_level="critical")
    server = AnnouncedServer(config, "here")
    with _bind_socket(ListenSettings(port=0)) as bound:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(bound.getsockname(), 5)

        def connect(message: str) -> None:
            socket.create_connection(bound.getsockname(), 5).close()
            told.append(message)
            server.should_exit = True

        monkeypatch.setattr("trialigngr.serve.server.log", connect)
        server.run(sockets=[bound])
    gc.unfreeze()
    assert told == ["here"]
