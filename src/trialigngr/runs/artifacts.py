"""`Parts`: what the finished stages of a run hold, loaded when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trialigngr.catalog.histories import Histories, Part, Targets
from trialigngr.catalog.items import Catalog
from trialigngr.catalog.prepare import Dataset, load_dataset
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.recommend import Recommender
from trialigngr.enrich.captions import load_captions
from trialigngr.enrich.interests import Interests, load_interests
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import child
from trialigngr.models.backbone import Backbone, load_backbone
from trialigngr.recipes.recipe import Recipe
from trialigngr.sequential.sasrec import SasRec
from trialigngr.sids.semantic_ids import SemanticIds, all_tokens
from trialigngr.sids.trie import Trie
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.task import TASKS, Scope, Task, View
from trialigngr.tasks.views import ItemViews, encode_views, one_line
from trialigngr.train.workers import Workers

ALONE = Workers()
Rows = npt.NDArray[np.int64]


def recommending_task(recipe: Recipe) -> Task:
    """Return the task whose prompt asks for recommendations: T3, or T4 without it; raise without both."""
    for task in recipe.tasks.tasks():
        if task.scope is Scope.HISTORY and task.target is View.SID:
            return task
    raise RecipeError("tasks.use has no task that recommends SIDs; add sids_to_sid (T3) or titles_to_sid (T4).")


class Parts:
    """A run folder's stages as objects. ``seed`` 0 stands at the top of the folder, others under ``seeds/``."""

    def __init__(self, recipe: Recipe, out: Path, seed: int = 0, workers: Workers = ALONE) -> None:
        self.recipe, self.out, self.seed, self.workers = recipe, out, seed, workers
        self.own = out if seed == 0 else out / "seeds" / str(seed)

    @cached_property
    def dataset(self) -> Dataset:
        """Catalogue and histories."""
        return load_dataset(self.out / "catalog")

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
        return load_captions(self.out / "captions")

    @cached_property
    def interests(self) -> list[Interests]:
        """The interests of each item, in row order."""
        return load_interests(self.out / "interests")

    @property
    def tags(self) -> list[list[str]]:
        """The interest tags of each item."""
        return [[tag.tag for tag in interests.tags] for interests in self.interests]

    @cached_property
    def sids(self) -> SemanticIds:
        """The items' SIDs."""
        return SemanticIds.load(self.out / "sids")

    @cached_property
    def sasrec(self) -> SasRec:
        """The trained SASRec, where the recipe has one."""
        return SasRec.load(self.out / "sasrec")

    @cached_property
    def trie(self) -> Trie:
        """All SIDs that exist."""
        return Trie.from_codes(self.sids.codes_NL)

    @cached_property
    def backbone(self) -> Backbone:
        """The trained model."""
        return load_backbone(self.own / "model", all_tokens(self.sids.sizes))

    @cached_property
    def chat(self) -> Chat:
        """The trained model's chat template."""
        return Chat(self.backbone.tokenizer)

    def texts(self) -> Iterator[str]:
        """Iterate over what a tokenizer from scratch learns from: the catalogue's text and the tasks' wording."""
        for item, caption in zip(self.catalog, self.captions, strict=True):
            yield from (one_line(text) for text in (item.title, caption) if text)
        for task in TASKS.values():
            # Often enough that the wording, which every example repeats, becomes few tokens.
            yield from [task.system, task.instruction] * 200

    def views(self, chat: Chat) -> ItemViews:
        """Return the items in every view, encoded."""
        limits = {View.TITLE: self.recipe.prompt.title_tokens, View.VISUAL: self.recipe.prompt.visual_tokens}
        return encode_views(self.catalog, self.sids, self.captions, chat, limits)

    def examples(self, task: Task, views: ItemViews, chat: Chat) -> TaskExamples:
        """Return a task's examples on this data."""
        return TaskExamples(task, views, self.histories, chat, self.recipe.prompt)

    def recommender(self, backbone: Backbone, chat: Chat, views: ItemViews) -> Recommender:
        """Return beam search with a backbone over this run's trie."""
        bounds = np.cumsum([0, *self.sids.sizes])
        tokens_LK = [backbone.sid_ids[first:last] for first, last in pairwise(bounds)]
        settings = self.recipe.decode
        search = BeamSearch(
            backbone.model, self.trie, tokens_LK, chat.close[0], settings.normalisation, settings.precision
        )
        return Recommender(search, self.examples(recommending_task(self.recipe), views, chat).prompt, settings)

    def histories_of(self, targets: Targets) -> list[Rows]:
        """Return what each target's prompt may show."""
        cap = self.recipe.prompt.history_cap
        return [
            self.histories.before(user, place, cap)
            for user, place in zip(targets.users, targets.positions, strict=True)
        ]

    def seen_by(self, targets: Targets) -> list[Rows]:
        """Return everything each target's user took before it."""
        return [
            self.histories.sequence(user)[:place] for user, place in zip(targets.users, targets.positions, strict=True)
        ]

    def sample(self, part: Part, users: int) -> Targets:
        """Return the targets of a fixed sample of a part's users."""
        targets = self.histories.targets(part)
        everyone = np.unique(targets.users)
        random = np.random.default_rng(child(0, "sample", part))
        chosen = random.choice(everyone, min(users, len(everyone)), replace=False)
        inside = np.isin(targets.users, chosen)
        return Targets(targets.users[inside], targets.positions[inside])
