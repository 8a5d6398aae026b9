"""Whether a recipe's backbone can read its prompts: asked before anything is made or paid for."""

from __future__ import annotations

from trialigngr.foundation.errors import RecipeError
from trialigngr.models.build import read_shape, refuse_settings
from trialigngr.models.compatibility import positions_of, refuse_narrow_shape
from trialigngr.pretrained import smollm2
from trialigngr.recipes.recipe import Recipe
from trialigngr.tasks.chat_template import ChatTemplate
from trialigngr.tasks.task import Task, View


def check_backbone(recipe: Recipe) -> None:
    """Raise `RecipeError` where the model to be trained has no room for the recipe's prompts, cannot be opened, or has
    no chat template to ask it by. No weights are read."""
    name, most = recipe.model.name_or_path, recipe.prompt.max_length
    refuse_settings(recipe.model)
    if name in ("scratch", smollm2.MODEL_NAME):
        return
    config, tokenizer = read_shape(name)
    chat = ChatTemplate(tokenizer)
    least = max(_least_tokens(recipe, task, chat) for task in recipe.tasks.list_tasks())
    if (positions := positions_of(config)) and positions < least:
        raise RecipeError(
            f"model.name_or_path = {name!r} has {positions} positions, and the shortest prompt and its answer take "
            f"{least} tokens; take a model with more."
        )
    refuse_narrow_shape(config, most)
    if most < least:
        raise RecipeError(
            f"prompt.max_length = {most} leaves no room for an item: the shortest prompt and its answer take {least} "
            f"tokens of {name!r}. Give at least {least}, better much more."
        )


def _least_tokens(recipe: Recipe, task: Task, chat: ChatTemplate) -> int:
    """Return what a task's prompt of one item and its answer take at least; a text is one token or more."""
    levels = len(recipe.sids.codebook_sizes)
    shown, asked = (levels if view is View.SID else 1 for view in (task.source, task.target))
    end = 0 if recipe.prompt.history_in_completion and task.continues_history else len(chat.assistant_suffix)
    return len(chat.build_header(task.system, task.instruction)) + shown + len(chat.assistant_prefix) + asked + end
