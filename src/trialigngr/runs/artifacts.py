"""`RunArtifacts`: what the finished stages of a run hold, loaded when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.dataset import Dataset, load_dataset
from trialigngr.catalog.histories import Histories, Split, Targets
from trialigngr.catalog.item_attributes import ItemAttributes
from trialigngr.catalog.items import Catalog
from trialigngr.decode.settings import DecodeSettings
from trialigngr.foundation.artifact import is_finished, read_manifest
from trialigngr.foundation.config import Settings
from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.seeds import derive_seed
from trialigngr.recipes.recipe import Recipe
from trialigngr.sids.semantic_ids import END_CODE, SemanticIds, list_sid_tokens
from trialigngr.sids.trie import Trie
from trialigngr.systems.registry import find_system
from trialigngr.systems.spec import SystemSpec
from trialigngr.tasks.task import TASKS, Task, View

if TYPE_CHECKING:
    from torch import Tensor

    from trialigngr.decode.generative_recommender import GenerativeRecommender
    from trialigngr.enrich.interests import Interests
    from trialigngr.evaluate.seen_items import SeenItemsRule
    from trialigngr.evaluate.system import System
    from trialigngr.models.backbone import Backbone
    from trialigngr.models.item_layer import ItemLayer
    from trialigngr.systems.generator import BuildPriors
    from trialigngr.systems.priors import SystemPrior
    from trialigngr.tasks.chat_template import ChatTemplate
    from trialigngr.tasks.examples import TaskExamples
    from trialigngr.tasks.item_views import ItemViews

Rows = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


class RunArtifacts:
    """A run folder's stages as objects. ``seed`` 0 stands at the top of the folder, others under ``seeds/``.

    What a stage's files take to be read, and its libraries, is loaded when the stage is asked for.
    """

    def __init__(self, recipe: Recipe, run_folder: Path, seed: int = 0) -> None:
        self.recipe, self.run_folder, self.seed = recipe, run_folder, seed
        self.seed_folder = run_folder if seed == 0 else run_folder / "seeds" / str(seed)

    @cached_property
    def dataset(self) -> Dataset:
        """Catalogue and histories."""
        return load_dataset(self.run_folder / "catalog")

    @property
    def catalog(self) -> Catalog:
        """The items."""
        return self.dataset.catalog

    @property
    def histories(self) -> Histories:
        """Who took what."""
        return self.dataset.histories

    @cached_property
    def captions(self) -> list[str | None]:
        """A caption for each item, in row order."""
        from trialigngr.enrich.caption_table import load_captions

        return load_captions(self.run_folder / "captions")

    @cached_property
    def interests(self) -> list[Interests]:
        """The interests of each item, in row order."""
        from trialigngr.enrich.interests import load_interests

        return load_interests(self.run_folder / "interests")

    @property
    def interest_tags(self) -> list[list[str]]:
        """The interest tags of each item."""
        return [[tag.tag for tag in interests.tags] for interests in self.interests]

    @cached_property
    def sids(self) -> SemanticIds:
        """The items' SIDs."""
        return SemanticIds.load(self.run_folder / "sids")

    def load_sids(self, stage: str) -> SemanticIds:
        """Return the items' SIDs of a stage: ``sids``, the run's, or a system's own."""
        return self.sids if stage == "sids" else SemanticIds.load(self.run_folder / stage)

    @cached_property
    def item_attributes(self) -> ItemAttributes:
        """Brand and categories of the items, as numbers."""
        return ItemAttributes.load(self.run_folder / "catalog")

    @property
    def root_seed(self) -> int:
        """Root of every random choice."""
        return self.recipe.seed

    @property
    def device(self) -> str:
        """Where networks compute."""
        return self.recipe.train.device

    @property
    def decode(self) -> DecodeSettings:
        """How lists are decoded."""
        return self.recipe.decode

    @property
    def max_prompt_history(self) -> int:
        """Items of a history that a prompt shows at most."""
        return self.recipe.prompt.max_history

    def load_system(self, name: str) -> System:
        """Return a system of the registry, made ready; raise `RecipeError` for an unknown name, `ArtifactError` where
        this run has none."""
        spec = find_system(name)
        if spec.fit is not None:
            self._check_system(spec)
        return spec.load(self, self.run_folder / name)

    def _check_system(self, spec: SystemSpec) -> None:
        """Raise `ArtifactError` for a system that was fitted on other stages, or with other settings, than this run
        has."""
        folder, again = self.run_folder / spec.name, "run the recipe again."
        manifest = read_manifest(folder)
        for name in spec.needs:
            if not manifest.is_made_from(name, read_manifest(self.run_folder / name)):
                raise ArtifactError(
                    f"The system in {folder} was fitted on another {name} than stands beside it; {again}"
                )
        own = self.recipe.get_system_settings(spec.name) or Settings()
        if manifest.settings["seed"] != self.recipe.seed or not own.is_recorded_as(manifest.settings["own"]):
            raise ArtifactError(f"The system in {folder} was fitted with other settings than recipe.toml has; {again}")

    @cached_property
    def seen_items(self) -> SeenItemsRule:
        """Whether seen items may stand in lists."""
        from trialigngr.evaluate.seen_items import SeenItemsRule

        return SeenItemsRule.from_log(self.recipe.evaluate.seen_items, self.histories)

    @cached_property
    def system_prior(self) -> SystemPrior | None:
        """What the recipe mixes with the generator's probabilities; None for nothing.

        Raises `ArtifactError` where this run has no such system, and as `load_system` does.
        """
        from trialigngr.systems.priors import make_prior

        chosen = self.recipe.prior
        if not chosen.has_say:
            return None
        if not is_finished(self.run_folder / chosen.system):
            raise ArtifactError(
                f"{self.run_folder} has no system {chosen.system!r}, which prior.system mixes in; run the recipe again."
            )
        system = self.load_system(chosen.system)
        return make_prior(system, len(self.catalog), chosen.mixing_weight, chosen.confidence, chosen.form)

    @property
    def build_priors(self) -> BuildPriors | None:
        """Return what makes the priors of queries over this catalogue; None where nothing is mixed in."""
        prior, num_items = self.system_prior, len(self.catalog)
        return None if prior is None else lambda queries: prior.build(queries, num_items)

    @cached_property
    def trie(self) -> Trie:
        """All SIDs that exist."""
        return Trie.from_codes(self.sids.codes_NL)

    @cached_property
    def backbone(self) -> Backbone:
        """The trained model."""
        import torch

        from trialigngr.models.backbone import load_backbone, load_items

        folder = self.seed_folder / self.recipe.model_stage
        backbone = load_backbone(folder, list_sid_tokens(self.sids.codebook_sizes))
        if not self.recipe.model.items.hidden_size:
            return backbone
        with torch.device("meta"):  # what is read takes its place
            items = self.build_item_layer(backbone)
        return replace(backbone, items=load_items(folder, items))

    @cached_property
    def item_features(self) -> Float32Array:
        """The items' embeddings, which vectors of items are made from."""
        from trialigngr.embed.embeddings import load_embeddings

        return load_embeddings(self.run_folder / "embeddings")

    def build_item_layer(self, backbone: Backbone) -> ItemLayer:
        """Return untrained vectors of this catalogue's items, as the recipe has them."""
        from trialigngr.models.item_layer import ItemLayer

        settings, size = self.recipe.model.items, backbone.model.config.hidden_size
        return ItemLayer(settings, size, len(self.catalog), *self.list_item_inputs(backbone))

    def list_item_inputs(self, backbone: Backbone) -> tuple[Tensor, Tensor]:
        """Return what vectors of items are made from: embeddings [N, D], and the last token of each item's SID [N]."""
        import torch

        codes_NL, first_L = self.sids.codes_NL, np.cumsum([0, *self.sids.codebook_sizes[:-1]])
        last_N = (codes_NL != END_CODE).sum(1) - 1
        place_N = first_L[last_N] + codes_NL[np.arange(len(codes_NL)), last_N]
        return torch.from_numpy(self.item_features), torch.from_numpy(np.array(backbone.sid_token_ids)[place_N])

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The trained model's chat template."""
        from trialigngr.tasks.chat_template import ChatTemplate

        return ChatTemplate(self.backbone.tokenizer)

    def tokenizer_texts(self) -> Iterator[str]:
        """Iterate over what a tokenizer from scratch learns from: the catalogue's text and the tasks' wording."""
        from trialigngr.tasks.item_views import collapse_whitespace

        for item, caption in zip(self.catalog, self.captions, strict=True):
            yield from (collapse_whitespace(text) for text in (item.title, caption) if text)
        for task in TASKS.values():
            # Often enough that the wording, which every example repeats, becomes few tokens.
            yield from [task.system, task.instruction] * 200

    def encode_views(self, chat_template: ChatTemplate) -> ItemViews:
        """Return the items in every view, encoded."""
        from trialigngr.tasks.item_views import encode_views

        limits = {View.TITLE: self.recipe.prompt.max_title_tokens, View.VISUAL: self.recipe.prompt.max_visual_tokens}
        return encode_views(self.catalog, self.sids, self.captions, chat_template, limits)

    def build_examples(
        self, task: Task, views: ItemViews, chat_template: ChatTemplate, *, as_text: bool = False
    ) -> TaskExamples:
        """Return a task's examples on this data; ``as_text``: of tokens that a tokenizer knows alone."""
        from trialigngr.tasks.examples import TaskExamples

        items = self.recipe.model.items
        shows_items = items.hidden_size > 0 and items.is_shown and not as_text
        return TaskExamples(task, views, self.histories, chat_template, self.recipe.prompt, names_items=shows_items)

    @cached_property
    def sid_recommender(self) -> GenerativeRecommender:
        """Beam search with the trained model, on its device."""
        from trialigngr.foundation.device import pick_device

        self.backbone.prepare_inference(pick_device(self.device))
        return self.build_recommender(self.backbone, self.chat_template, self.encode_views(self.chat_template))

    @cached_property
    def mixed_recommender(self) -> GenerativeRecommender:
        """The same with the model's item head, where the recipe mixes it in."""
        return self.mix_item_head(self.sid_recommender)

    def mix_item_head(self, recommender: GenerativeRecommender) -> GenerativeRecommender:
        """Return beam search with the model's item head, as it is now, where the recipe mixes it in."""
        items, weight = self.backbone.items, self.recipe.prior.items_weight
        if items is None or not weight:
            return recommender
        return recommender.with_item_head(items.build_head(), weight)

    def build_recommender(
        self, backbone: Backbone, chat_template: ChatTemplate, views: ItemViews
    ) -> GenerativeRecommender:
        """Return beam search with a backbone over this run's trie."""
        from trialigngr.decode.beam import BeamSearch
        from trialigngr.decode.causal_model import CausalModel
        from trialigngr.decode.generative_recommender import GenerativeRecommender

        bounds = np.cumsum([0, *self.sids.codebook_sizes])
        tokens_LK = [backbone.sid_token_ids[first:last] for first, last in pairwise(bounds)]
        settings = self.recipe.decode
        search = BeamSearch(
            CausalModel(backbone.model, backbone.items),
            self.trie,
            tokens_LK,
            chat_template.assistant_suffix[0],
            settings.score_softmax,
            settings.precision,
        )
        return GenerativeRecommender(
            search,
            self.build_examples(self.recipe.tasks.find_recommendation_task(), views, chat_template).build_prompt,
            settings,
        )

    def prompt_histories(self, targets: Targets) -> list[Rows]:
        """Return what each target's prompt may show."""
        cap = self.recipe.prompt.max_history
        return [
            self.histories.history_before(user, place, cap)
            for user, place in zip(targets.users, targets.positions, strict=True)
        ]

    def sample_targets(self, part: Split, num_users: int) -> Targets:
        """Return the targets of a fixed sample of a part's users."""
        targets = self.histories.list_targets(part)
        everyone = np.unique(targets.users)
        random = np.random.default_rng(derive_seed(0, "sample", part))
        chosen = random.choice(everyone, min(num_users, len(everyone)), replace=False)
        inside = np.isin(targets.users, chosen)
        return Targets(targets.users[inside], targets.positions[inside])
