"""Chat completions as clients of OpenAI and of FlashRec speak them: a choice a SID, and the items beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from trialigngr.serve.limits import LIMITS
from trialigngr.serve.request_models import NumItems, Text
from trialigngr.serve.response_models import LeftOutItem, RankedItem


class ChatPart(BaseModel):
    """A piece of a message; only text is read."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A message. The history is read from the last one of the user."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ChatPart] | None = None


class ChatQuery(BaseModel):
    """What chat clients send. Fields that steer sampling are taken and have no say: beams are exact."""

    model_config = ConfigDict(extra="ignore")

    model: Text | None = None
    """A run's name; the first run without it."""
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=LIMITS.names)]
    """SIDs, or item ids: a JSON list of them, or with commas or blanks between them."""
    n: NumItems = 10
    """Beams: the number of items."""
    stream: StrictBool = False


class SequenceScore(BaseModel):
    """The log-probability of a beam, where FlashRec has it."""

    sequence_score: float | None


class ChoiceMessage(BaseModel):
    """A SID as text."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    """One SID; items that share it make one choice."""

    index: int
    message: ChoiceMessage
    finish_reason: Literal["stop"] = "stop"
    sglext: SequenceScore


class ChatResponse(BaseModel):
    """The SIDs, best first, and what no other server of SIDs tells: the items."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    items: list[RankedItem]
    history_used: int
    history_dropped: list[LeftOutItem]


class ServedModel(BaseModel):
    """A run as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: Literal["trialigngr"] = "trialigngr"


class ModelList(BaseModel):
    """The runs as models."""

    object: Literal["list"] = "list"
    data: list[ServedModel]
