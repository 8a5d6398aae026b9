"""What somebody writes in ten minutes: a route of FastAPI that calls the model for each request, one after the other.

``python -m benchmarks.serving.plain RUN`` says its address on stderr, as ``trialigngr serve`` does.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from trialigngr.runs.run import load


class Query(BaseModel):
    """A history, and how many items are wanted."""

    history: list[str]
    k: int


def main() -> None:
    """Answer until the process is ended."""
    run, api = load(sys.argv[1]), FastAPI()
    run.recommend([], 1)

    @api.post("/v1/recommendations")
    async def recommend(query: Query) -> list[dict[str, Any]]:
        found = run.recommend(query.history, query.k)
        return [{"item_id": item.item_id, "score": item.score} for item in found]

    with socket.create_server(("127.0.0.1", 0)) as bound:
        print(f"http://127.0.0.1:{bound.getsockname()[1]} answers", file=sys.stderr, flush=True)
        uvicorn.Server(uvicorn.Config(api, log_level="warning", access_log=False)).run(sockets=[bound])


if __name__ == "__main__":
    main()
