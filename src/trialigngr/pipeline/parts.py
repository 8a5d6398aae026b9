"""`Parts`: what the finished stages of a run hold, loaded when asked for; and the two stages that need all of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trialigngr.baselines.popularity import Popularity
from trialigngr.catalog.histories import Histories, Part, Targets
from trialigngr.catalog.items import Catalog
from trialigngr.catalog.prepare import Dataset, load_dataset
from trialigngr.decode.beam import BeamSearch
from trialigngr.decode.recommend import Recommender
from trialigngr.enrich.captions import load_captions
from trialigngr.enrich.interests import Interests, load_interests
from trialigngr.evaluate.targets import ITEM, SID, UNSEEN, TargetRanks
from trialigngr.foundation.console import log
from trialigngr.foundation.device import pick_device
from trialigngr.foundation.errors import RecipeError
from trialigngr.foundation.seeds import child
from trialigngr.metrics.ranks import per_target
from trialigngr.models.backbone import Backbone, build_backbone, load_backbone, parameter_counts
from trialigngr.recipes.recipe import Recipe
from trialigngr.sids.semantic_ids import SemanticIds, all_tokens
from trialigngr.sids.trie import Trie
from trialigngr.tasks.chat import Chat
from trialigngr.tasks.examples import TaskExamples
from trialigngr.tasks.task import TASKS, Scope, Task, View
from trialigngr.tasks.views import ItemViews, encode_views, one_line
from trialigngr.train.loop import Trainer

Rows = npt.NDArray[np.int64]


class Parts:
    """A run folder's stages as objects. ``seed`` 0 stands at the top of the folder, others under ``seeds/``."""

    def __init__(self, recipe: Recipe, out: Path, seed: int = 0) -> None:
        self.recipe, self.out, self.seed = recipe, out, seed
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
        """Iterate over what a tokenizer from scratch learns its words from: the catalogue's text and the tasks' wording."""
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

    @property
    def recommending(self) -> Task:
        """The task whose prompt asks for recommendations: T3, or T4 where T3 is not trained."""
        for task in self.recipe.tasks.tasks():
            if task.scope is Scope.HISTORY and task.target is View.SID:
                return task
        raise RecipeError("tasks.use has no task that recommends SIDs; add sids_to_sid (T3) or titles_to_sid (T4).")

    def recommender(self, backbone: Backbone, chat: Chat, views: ItemViews) -> Recommender:
        """Return beam search with a backbone over this run's trie."""
        bounds = np.cumsum([0, *self.sids.sizes])
        tokens_LK = [backbone.sid_ids[first:last] for first, last in zip(bounds, bounds[1:], strict=False)]
        settings = self.recipe.decode
        search = BeamSearch(
            backbone.model, self.trie, tokens_LK, chat.close[-1], settings.normalisation, settings.precision
        )
        return Recommender(search, self.examples(self.recommending, views, chat).prompt, settings)

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

    def train(self, out: Path) -> dict[str, Any]:
        """Train the model into a folder and return the facts."""
        recipe = self.recipe
        wanted = self._possible()
        backbone = build_backbone(recipe.model, all_tokens(self.sids.sizes), self.texts(), recipe.seed + self.seed)
        chat = Chat(backbone.tokenizer)
        views = self.views(chat)
        tasks = {task.name: self.examples(task, views, chat) for task in wanted}
        counts = {name: len(examples) for name, examples in tasks.items()}
        if empty := [name for name, count in counts.items() if not count]:
            raise RecipeError(f"Task {empty[0]} has no example on this data; leave it out of tasks.use.")
        without = views.missing(View.TITLE)
        if without:
            log(f"  {without:,} items without a title are left out of the tasks that need one")
        log(f"  {parameter_counts(backbone.model)['parameters']:,} parameters; examples by task: {counts}")
        weights = recipe.tasks.weight_of()
        validate = self._validator(backbone, chat, views)
        facts = Trainer(recipe.train, backbone, tasks, weights, validate, recipe.seed + self.seed).fit(out)
        backbone.save(out)
        for leftover in (out / "best.safetensors", *out.glob("checkpoint-*/*")):
            leftover.unlink(missing_ok=True)
        for folder in out.glob("checkpoint-*"):
            folder.rmdir()
        return {**facts, **parameter_counts(backbone.model), "examples": counts, "items_without_title": without}

    def _possible(self) -> list[Task]:
        """Return the wanted tasks that this data can have: without pictures there are no captions, so no T7 and T8."""
        wanted = self.recipe.tasks.tasks()
        lacking = {
            View.VISUAL: not any(self.captions),
            View.TITLE: not any(item.title for item in self.catalog),
        }
        possible = [task for task in wanted if not (lacking.get(task.source) or lacking.get(task.target))]
        for task in wanted:
            if task not in possible:
                what = "captions (no pictures)" if lacking.get(task.source) and task.source is View.VISUAL else "titles"
                log(f"  {task.number} {task.name} is left out: this catalogue has no {what}")
        if not possible:
            raise RecipeError(
                "None of tasks.use is possible on this data; add sids_to_sid (T3), which needs SIDs alone."
            )
        return possible

    def _validator(self, backbone: Backbone, chat: Chat, views: ItemViews) -> Any:
        targets = self.sample("valid", self.recipe.train.validate_users)
        if not len(targets):
            raise RecipeError(
                "No user has a validation item (all histories are shorter than 3); there is nothing to select on."
            )
        backbone.model.to(pick_device(self.recipe.train.device))
        recommender = self.recommender(backbone, chat, views)
        prompts, wanted = self.histories_of(targets), self.histories.target_items(targets)

        def validate(_model: Any) -> dict[str, float]:
            ranks = recommender.ranks(recommender.all_beams(prompts, what="validate"), wanted)
            return {name: float(values.mean()) for name, values in per_target(ranks, (5, 10)).items()}

        return validate

    def test(self, out: Path) -> dict[str, Any]:
        """Rank all test targets, and the validation sample, and write the tables."""
        backbone = self.backbone
        backbone.model.to(pick_device(self.recipe.train.device)).eval()
        recommender = self.recommender(backbone, self.chat, self.views(self.chat))
        baselines = [Popularity(self.histories, len(self.catalog))]
        parts = {
            "valid": self.sample("valid", self.recipe.train.validate_users),
            "test": self.histories.targets("test"),
        }
        for part, targets in parts.items():
            if not len(targets):
                raise RecipeError(f"No user has a {part} item; there is nothing to evaluate.")
            prompts, wanted, seen = (
                self.histories_of(targets),
                self.histories.target_items(targets),
                self.seen_by(targets),
            )
            beams = recommender.all_beams(prompts, what=part)
            unseen = recommender.all_beams(prompts, seen, what=f"{part}, seen masked")
            ranks = {
                "model": {
                    ITEM: recommender.ranks(beams, wanted),
                    UNSEEN: recommender.ranks(unseen, wanted, seen),
                    SID: recommender.sid_ranks(beams, wanted),
                }
            }
            for baseline in baselines:
                ranks[baseline.name] = {
                    ITEM: baseline.ranks(self.histories, targets, unseen=False),
                    UNSEEN: baseline.ranks(self.histories, targets, unseen=True),
                }
            TargetRanks.of(self.histories, targets, self.catalog.ids, ranks).save(out / f"{part}.parquet")
            if part == "test":
                self._recommendations(
                    recommender.rankings(beams, self.recipe.evaluate.recommendations), targets
                ).write_parquet(out / "recommendations.parquet")
        return {"test_targets": len(parts["test"]), "valid_targets": len(parts["valid"])}

    def _recommendations(self, rankings: list[Any], targets: Targets) -> pl.DataFrame:
        ids, users = self.catalog.ids, self.histories.user_ids
        lengths = [len(ranking.rows) for ranking in rankings]
        return pl.DataFrame(
            {
                "user_id": [users[user] for user, n in zip(targets.users, lengths, strict=True) for _ in range(n)],
                "position": np.repeat(targets.positions, lengths),
                "rank": [rank + 1 for n in lengths for rank in range(n)],
                "item_id": [ids[row] for ranking in rankings for row in ranking.rows],
                "score": [float(score) for ranking in rankings for score in ranking.scores],
            }
        )
