"""`serve_runs`: the service in this process, on one address, until it is told to stop."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from trialigngr.foundation.console import log
from trialigngr.foundation.errors import ArgumentError
from trialigngr.serve.api import build_api
from trialigngr.serve.api_keys import KeyRing, read_keys
from trialigngr.serve.gate import LOOPBACK, RequestGate
from trialigngr.serve.limits import QueueSettings
from trialigngr.serve.service import Service, open_service

THREADS_TAKE_TURNS_S = 0.0005
"""Python's own 5 ms would hold up every answer, and each step of a decode, while another thread computes."""


@dataclass(frozen=True)
class ListenSettings:
    """Where the service listens, the files with the keys of clients and admins, and the file of events."""

    host: str = "127.0.0.1"
    port: int = 8080
    api_key_file: Path | None = None
    admin_key_file: Path | None = None
    events: Path | None = None


def serve_runs(folders: Sequence[Path], settings: ListenSettings, queue: QueueSettings) -> None:
    """Answer until SIGTERM or ^C; then what is being answered is answered to its end.

    Raises `ArgumentError` for a host other than the loopback without keys, and for an address that is taken; as
    `open_service` does.
    """
    keys = KeyRing(read_keys(settings.api_key_file), read_keys(settings.admin_key_file))
    if settings.host not in LOOPBACK and not keys.needs_key:
        raise ArgumentError(
            f"{settings.host} can be reached by others: give --api-key-file, or serve on 127.0.0.1 alone."
        )
    service = open_service(folders, keys, settings.events, queue)
    with _bind_socket(settings) as bound:
        port = bound.getsockname()[1]
        sys.setswitchinterval(THREADS_TAKE_TURNS_S)
        config = uvicorn.Config(
            build_gated_api(service),
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(queue.deadline_s) + 1,
        )
        told = f"http://{settings.host}:{port} answers for {', '.join(service.runs)}"
        AnnouncedServer(config, told).run(sockets=[bound])


class AnnouncedServer(uvicorn.Server):
    """A server that logs ``announcement`` once it listens."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the service, then listen."""
        await super().startup(sockets)
        if self.started:
            gc.collect()
            gc.freeze()  # what was loaded stays: a collection that looks at all of it stalls every request
            log(self._announcement)


def build_gated_api(service: Service) -> RequestGate:
    """Return the application with its gate. Without keys it answers to the loopback's names alone, so that no page
    whose name leads here can ask."""
    return RequestGate(build_api(service), service, None if service.keys.needs_key else LOOPBACK)


def _bind_socket(settings: ListenSettings) -> socket.socket:
    """Return a socket that is bound and does not listen yet: the port opens when the service is warm."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise ArgumentError(
            f"{settings.host}:{settings.port} cannot be had ({error.strerror}); give another."
        ) from None
    return bound
