"""``python -m trialigngr.cli.docs [--check]``: docs/cli.md and docs/settings.md, written from the code itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trialigngr.cli.main import trialigngr

GENERATED_NOTE = "<!-- Written by `python -m trialigngr.cli.docs`; do not edit by hand. -->"
TERMINAL_WIDTH = 100
COMPLETION = """The Tab key completes commands and options once the shell is told so, for example in `~/.bashrc`
(zsh: `zsh_source`, fish: `fish_source`):

```sh
eval "$(_TRIALIGNGR_COMPLETE=bash_source trialigngr)"
```"""
HELP_OPTIONS = ["-h", "--help"]
TYPE_NAMES: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "none",
}
FIRST_SETTINGS = {
    "seed": "Train the same model from other random numbers.",
    "catalog.column_map": "Read a data folder whose columns have other names.",
    "catalog.k_core": "Keep fewer or more of the users and items that have little history.",
    "catalog.split": "Test on each user's last interactions, or on all after one moment.",
    "captions.generator": "Have pictures described by a vision model; `captions.model` names it.",
    "interests.generator": "Have interests mined by a language model; `interests.model` names it.",
    "embeddings.encoder": "Embed by a larger encoder, such as the paper's `gme`.",
    "embeddings.model": "Which model that is.",
    "embeddings.collaborative_weight": "Let the SIDs know who takes what with what.",
    "sids.quantizer": "Make the SIDs by another method.",
    "sids.codebook_sizes": "Use more or fewer codes, and levels.",
    "sids.collision_policy": "What becomes of items that share a SID.",
    "tasks.use": "Train on fewer of the eight tasks.",
    "prompt.max_history": "Show more or less of a history.",
    "model.name_or_path": "Start from a language model of the hub instead of from scratch.",
    "model.num_layers": "Make a model from scratch deeper or flatter.",
    "model.hidden_size": "Make it wider or narrower.",
    "model.lora.rank": "Train small added matrices where the whole model is too large.",
    "train.epochs": "Train longer.",
    "train.batch_size": "Take more examples a step.",
    "train.learning_rate": "Take larger or smaller steps; try this one first when the loss does not fall.",
    "train.micro_batch_tokens": "Send fewer tokens through the model at once when memory runs out.",
    "train.device": "Train on this device.",
    "decode.num_beams": "Search wider, for longer lists, or narrower, for speed.",
    "evaluate.systems": "Which systems stand beside the model.",
}
"""Settings that people turn first, by what for: the head of docs/settings.md."""


def render_command_page() -> str:
    """Return docs/cli.md: the help of the program and of every command."""
    return (
        "\n\n".join([GENERATED_NOTE, "# The command line", COMPLETION, *_render_help(trialigngr, "trialigngr", None)])
        + "\n"
    )


def _render_help(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    """Yield a command's help, and below it a heading and the help of each command in it."""
    context = click.Context(
        command, parent=parent, info_name=name, terminal_width=TERMINAL_WIDTH, help_option_names=HELP_OPTIONS
    )
    yield _fence_code(command.get_help(context))
    for inner in command.list_commands(context) if isinstance(command, click.Group) else ():
        found = command.get_command(context, inner) if isinstance(command, click.Group) else None
        if found is not None:
            yield f"## {context.command_path} {inner}"
            yield from _render_help(found, inner, context)


def _fence_code(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def render_settings_page() -> str:
    """Return docs/settings.md: every setting of a recipe with its type, its default and what it means."""
    from trialigngr.recipes.recipe import Recipe

    head = (
        "A recipe is the settings of every stage. Set one with `--set stage.name=value`, or write a TOML file that "
        "`extends` another recipe; `trialigngr show RECIPE` prints the whole."
    )
    first = [f"- [`{name}`](#{name}): {use}" for name, use in FIRST_SETTINGS.items()]
    top = [GENERATED_NOTE, "# Settings", head, "## The settings that people turn first", "\n".join(first)]
    return "\n\n".join([*top, "## All settings", *_render_tables(Recipe, "")]) + "\n"


def _render_tables(model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the table of a model's own settings, then a heading and the tables of each model in it."""
    fields = model.model_fields
    inner = {name: found for name, field in fields.items() if (found := _nested_settings(field)) is not None}
    own = {name: field for name, field in fields.items() if name not in inner}
    if own:
        rows = [_render_row(f"{path}{name}", field) for name, field in own.items()]
        yield "\n".join(["| setting | type | default | |", "|---|---|---|---|", *rows])
    for name, found in inner.items():
        where = f"{path}{name}"
        yield f"{'#' * (2 + path.count('.'))} `{where}`"
        yield _join_lines(fields[name].description or found.__doc__)
        yield from _render_tables(found, f"{where}.")


def _nested_settings(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _render_row(name: str, field: FieldInfo) -> str:
    anchor = f' <a id="{name}"></a>' if name in FIRST_SETTINGS else ""
    text = _join_lines(field.description) + anchor
    cells = (f"`{name}`", _describe_field_type(field), _describe_default(field), text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _describe_field_type(field: FieldInfo) -> str:
    return _describe_type(field.annotation) + _describe_bounds(field.metadata)


def _describe_type(annotation: Any) -> str:
    """Return a type in words, as TOML has it."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        rules = [rule for given in inner[1:] for rule in getattr(given, "metadata", [given])]
        return _describe_type(inner[0]) + _describe_bounds(rules)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{json.dumps(value)}`" for value in inner)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_describe_type(part) for part in inner)
    if get_origin(annotation) is tuple:
        return f"list of {_describe_type(inner[0])}"
    if get_origin(annotation) is dict:
        return f"table of {_describe_type(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table with " + " and ".join(f"`{name}`" for name in annotation.model_fields)
    return TYPE_NAMES.get(annotation, str(annotation))


def _describe_bounds(rules: Iterable[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(rule, name)}" for rule in rules for name, sign in signs.items() if hasattr(rule, name)]
    return f" ({', '.join(found)})" if found else ""


def _describe_default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _join_lines(text: str | None) -> str:
    return " ".join((text or "").replace("``", "`").split())


def render_pages() -> dict[str, str]:
    """Return file name → text of the written pages."""
    return {"cli.md": render_command_page(), "settings.md": render_settings_page()}


def main(arguments: list[str], folder: Path) -> int:
    """Write the pages into ``folder``, or with ``--check`` say which are not current; return the exit code."""
    current = {name: (folder / name).read_text("utf-8") if (folder / name).is_file() else "" for name in render_pages()}
    stale = [name for name, text in render_pages().items() if current[name] != text]
    if "--check" in arguments:
        if stale:
            names = " and ".join(f"docs/{name}" for name in stale)
            click.echo(f"{names}: not what the code says; run `python -m trialigngr.cli.docs`.", err=True)
        return int(bool(stale))
    for name in stale:
        (folder / name).write_text(render_pages()[name], encoding="utf-8")
        click.echo(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path("docs")))
