"""`/v1/models` and `/v1/chat/completions`: histories as text, SIDs as choices, items beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from time import time

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.responses import Response

from trialigngr.serve.catalog_index import CatalogIndex
from trialigngr.serve.chat_models import (
    ChatChoice,
    ChatQuery,
    ChatResponse,
    ChoiceMessage,
    ModelList,
    SequenceScore,
    ServedModel,
)
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.limits import LIMITS
from trialigngr.serve.request_models import RecommendationQuery
from trialigngr.serve.response_models import RecommendationResponse
from trialigngr.serve.responses import read_request_id
from trialigngr.serve.service import Service
from trialigngr.sids.semantic_ids import parse_sid

_SID = re.compile(r"<a_\d{1,18}>(?:<[b-z]_\d{1,18}>)*")


def build_chat_router(service: Service) -> APIRouter:
    """Return the paths of chat clients."""
    router = APIRouter(tags=["chat"])

    @router.get("/v1/models")
    async def list_models() -> ModelList:
        """Return the runs as models."""
        return ModelList(data=[ServedModel(id=name) for name in service.runs])

    @router.post(
        "/v1/chat/completions", response_model=ChatResponse, responses={200: {"content": {"text/event-stream": {}}}}
    )
    async def complete_chat(query: ChatQuery, request: Request) -> ChatResponse | Response:
        """Return n beams as choices, each a SID with its score, and their items; a stream is one chunk."""
        run = service.find_run(query.model)
        history = read_history(find_user_text(query), run.index)
        asked = _build_query(history, query.n)
        found = describe_completion(await run.recommend(asked, read_request_id(request)))
        return StreamingResponse(write_stream(found), media_type="text/event-stream") if query.stream else found

    return router


def _build_query(history: list[str], num_items: int) -> RecommendationQuery:
    """Return what is asked; raise `ServiceError` for letters that no id has, such as half of a pair of surrogates."""
    try:
        return RecommendationQuery(history=history, k=num_items)
    except ValidationError as error:
        raise ServiceError(
            "invalid_argument", f"The last message holds what can be no id: {error.errors()[0]['msg']}.", "messages"
        ) from None


def find_user_text(query: ChatQuery) -> str:
    """Return what the user said last, an empty text where nothing was said."""
    for message in reversed(query.messages):
        if message.role == "user" and message.content is not None:
            content = message.content
            return content if isinstance(content, str) else "".join(part.text for part in content)
    return ""


def read_history(text: str, index: CatalogIndex) -> list[str]:
    """Return the item ids of a text: those that bear its SIDs, or else a JSON list, or words between commas or blanks.

    A SID that no item bears stands there as it is, an unknown id. Raises `ServiceError` for too many, or too long ones.
    """
    if sids := _SID.findall(text):
        found = [_find_bearer(sid, index) for sid in sids]
    else:
        found = _read_list(text) or re.split(r"[,\s]+", text.strip())
    history = [item_id for item_id in found if item_id]
    if len(history) > LIMITS.history or any(len(item_id) > LIMITS.id_length for item_id in history):
        most = f"{LIMITS.history} items, {LIMITS.id_length} letters each"
        raise ServiceError("invalid_argument", f"The last message holds more of a history than {most}.", "messages")
    return history


def _find_bearer(sid: str, index: CatalogIndex) -> str:
    rows = index.snapshot.sids.rows_by_codes.get(parse_sid(sid), ()) if _is_sid(sid) else ()
    return index.catalog.item_ids[rows[0]] if rows else sid


def _is_sid(text: str) -> bool:
    try:
        return bool(parse_sid(text))
    except ValueError:
        return False


def _read_list(text: str) -> list[str] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None


def describe_completion(found: RecommendationResponse) -> ChatResponse:
    """Return a list as choices: its SIDs, each once."""
    best: dict[str, float | None] = {}
    for item in found.items:
        best.setdefault(item.sid_text, item.score)
    return ChatResponse(
        id=f"chatcmpl-{found.recommendation_id}",
        created=int(time()),
        model=found.run.name,
        choices=[
            ChatChoice(index=place, message=ChoiceMessage(content=sid), sglext=SequenceScore(sequence_score=score))
            for place, (sid, score) in enumerate(best.items())
        ],
        items=found.items,
        history_used=found.history_used,
        history_dropped=found.history_dropped,
    )


def write_stream(found: ChatResponse) -> Iterator[str]:
    """Yield the whole as one chunk, as beams are known all at once."""
    chunk = found.model_dump(mode="json") | {"object": "chat.completion.chunk"}
    for choice in chunk["choices"]:
        choice["delta"] = choice.pop("message")
    yield f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
