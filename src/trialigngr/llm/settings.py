"""The settings of language models: what a response depends on, how a backend is called, where responses are kept."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import RecipeError
from trialigngr.llm.api_keys import read_key

CACHE_FILE = "responses.sqlite"
MODEL_LABELS = {"smollm2": "smollm2:SmolLM2-135M-Instruct (plumbing, not quality)"}
"""Generators whose model is no setting, as recorded with every answer."""


class GeneratorSettings(Settings):
    """What an answer depends on, beside the prompt and the item."""

    response_fields: ClassVar[frozenset[str]] = frozenset({"model", "temperature", "max_tokens", "seed", "script"})
    """Fields that change what any backend answers."""

    generator: str = ""
    """Who answers."""
    model: str = ""
    """openai: the model's name on the server. transformers: a hub name or a local folder."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 takes the likeliest word each time."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of one answer."""
    seed: int = 0
    """Sent to servers, and given to local models whose temperature is not 0."""
    script: str = "latin"
    """Letters that an answer must mostly be written in, by their Unicode name (`cyrillic`, `cjk`); `any` takes all."""
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """transformers and smollm2: precision of the weights."""
    device: str = "auto"
    """Where networks run; transformers also takes `map`, which spreads a model over all GPUs."""

    def identify_model(self, generator: str) -> tuple[str, dict[str, Any]]:
        """Return the name of a language model behind a generator, and all settings that its answers depend on."""
        fields = {*self.response_fields} if generator == "openai" else {*self.response_fields, "dtype"}
        return MODEL_LABELS.get(generator, f"{generator}:{self.model}"), self.model_dump(include=fields)


class ServerSettings(Settings):
    """A server that speaks OpenAI's protocol, and how it is called."""

    base_url: str = "http://localhost:8000/v1"
    """Where the server's API begins; without a key, user or password."""
    api_key_env: str = ""
    """The environment variable (ending in _API_KEY) that holds the key, which is never written down; empty
    where none is wanted. One of another name is read if --allow-key-variable names it."""
    max_concurrency: int = Field(default=32, ge=1, le=4096)
    """Most calls at one time."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that one call may take."""
    max_attempts: int = Field(default=6, ge=1)
    """How often a call is made that meets a fault of the network or the server. A refusal that says when to
    come back (429 or 503 with a wait) does not count, for ten minutes of waiting in all."""
    initial_backoff: float = Field(default=1.0, gt=0)
    """Most seconds before the second try; they double with each further one, up to a minute."""
    check_server: bool = True
    """Ask the server for its list of models before the first item is paid for."""
    prompt_price: float = Field(default=0.0, ge=0)
    """Money for a million tokens read. With a key and no price, a run says that none is known, and asks."""
    completion_price: float = Field(default=0.0, ge=0)
    """Money for a million tokens written."""

    # By hand, and before all else: what does not fit is said with its value, and these values may be secrets.
    @field_validator("api_key_env", mode="before")
    @classmethod
    def _check_api_key_env(cls, value: object) -> object:
        if not (isinstance(value, str) and re.fullmatch(r"([A-Z_][A-Z0-9_]*)?", value)):
            raise RecipeError(
                "api_key_env must be the name of an environment variable, in capitals (LIKE_THIS), and not the key "
                "itself. Put the key into a variable and give its name here."
            )
        return value

    @field_validator("base_url", mode="before")
    @classmethod
    def _check_base_url(cls, value: object) -> object:
        if any(mark in str(value) for mark in "@?#"):
            raise RecipeError(
                "The url in calls holds a user, a password or a query (@, ? or #), and urls are written down. Put the "
                "key into an environment variable, name that in api_key_env, and give the url without it."
            )
        return value

    @property
    def may_cost_money(self) -> bool:
        """Whether calls cost money, as far as these settings tell: a price is set, or a key has to be shown."""
        return bool(self.prompt_price or self.completion_price or self.api_key_env)

    @property
    def is_remote(self) -> bool:
        """Whether the server is, as far as its url tells, another machine than this."""
        try:
            host = urlsplit(self.base_url).hostname or ""
            return host != "localhost" and not ip_address(host).is_loopback
        except ValueError:
            return True

    @property
    def api_key(self) -> str:
        """The key, from the environment; empty where none is wanted, or none is there."""
        return read_key(self.api_key_env, self.base_url) if self.api_key_env else ""


class TransformersSettings(Settings):
    """How a model in this process, or with a worker on Ray, is called."""

    batch_size: int = Field(default=8, ge=1)
    """Requests that are answered together."""


class BackendSettings(Settings):
    """How a backend is called. Nothing here changes an answer, so nothing made is made again when it changes."""

    openai: ServerSettings = Field(default_factory=ServerSettings)
    """Where the generator is `openai`."""
    transformers: TransformersSettings = Field(default_factory=TransformersSettings)
    """Where the generator is `transformers` or `smollm2`."""

    def max_in_flight(self, generator: str) -> int:
        """Return how many requests a backend has at one time, at most; with several workers, each of them."""
        return self.openai.max_concurrency if generator == "openai" else self.transformers.batch_size


class JobSettings(Settings):
    """How often what failed is tried again, and where responses are kept."""

    max_runs: int = Field(default=3, ge=1)
    """In how many runs an item that failed is tried, the first included."""
    max_consecutive_failures: int = Field(default=100, ge=1)
    """Stop when this many items in a row have failed and none was answered between them."""
    response_cache: str = ""
    """File that keeps what was asked and answered; runs may share one. Without it, `responses.sqlite` in the run."""

    def cache_path(self, run: Path) -> Path:
        """Return the response cache of a run."""
        return Path(self.response_cache) if self.response_cache else run / CACHE_FILE
