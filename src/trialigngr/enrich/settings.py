"""The settings of captions and interests, and of the calls that make them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from trialigngr.images.settings import DownloadSettings
from trialigngr.llm.settings import BackendSettings, GeneratorSettings, JobSettings


class CaptionSettings(GeneratorSettings):
    """How pictures are described."""

    response_fields: ClassVar[frozenset[str]] = GeneratorSettings.response_fields | {"longest_edge"}

    generator: str = "measured"
    """Who writes the captions: `measured`, or a language model by `openai` or `transformers`; `none` writes none."""
    longest_edge: int = Field(default=640, ge=28)
    """Pixels of a picture's longer side, as a language model sees it."""
    prompt_template: str = "caption"
    """What a language model is told: a packaged prompt or a .toml file."""
    max_characters: int = Field(default=800, ge=1)
    """Characters kept of a language model's caption, whole sentences where it can be."""


class InterestSettings(GeneratorSettings):
    """How interests are mined."""

    generator: str = "lexicon"
    """Who mines them: `lexicon`, or a language model by `openai`, `transformers` or `smollm2` (packaged, small:
    plumbing); `none` mines none."""
    prompt_template: str = "interests"
    """What a language model is told: a packaged prompt (the controls of Table 9 are `keywords`, `summary`, `paraphrase`
    and `generic-tags`) or a .toml file."""
    tag_vocabulary: Literal["open", "lexicon"] = "open"
    """What a language model may say: `open`, anything, or the tags and lifestyles of the lexicon alone (for weak
    models, and where tags must be comparable)."""
    num_choices: int = Field(default=24, ge=8, le=96)
    """How many tags of the lexicon, those nearest to the item, a language model may choose from."""
    drop_low_confidence: bool = True
    """Leave out tags of low confidence."""
    use_captions: bool = True
    """Let the miner read the captions (false: "without CMSA")."""
    max_characters: int = Field(default=600, ge=1)
    """Characters kept of an answer in running text (`summary`, `paraphrase`)."""


class CallSettings(JobSettings):
    """How pictures are fetched and language models are called. Nothing here changes an artifact."""

    images: DownloadSettings = Field(default_factory=DownloadSettings)
    """For pictures that are fetched."""
    captions: BackendSettings = Field(default_factory=BackendSettings)
    """For captions."""
    interests: BackendSettings = Field(default_factory=BackendSettings)
    """For interests."""

    def download_settings(self, run: Path) -> DownloadSettings:
        """Return how pictures are fetched, with the folder that keeps those of a run."""
        return self.images.model_copy(update={"store_folder": self.images.store_folder or str(run / "images")})
