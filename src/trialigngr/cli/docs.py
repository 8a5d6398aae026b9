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

WRITTEN = "<!-- Written by `python -m trialigngr.cli.docs`; do not edit by hand. -->"
WIDTH = 100
HELP = ["-h", "--help"]
WORDS: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "none",
}


def command_page() -> str:
    """Return docs/cli.md: the help of the program and of every command."""
    return "\n\n".join([WRITTEN, "# The command line", *_help(trialigngr, "trialigngr", None)]) + "\n"


def _help(command: click.Command, name: str, above: click.Context | None) -> Iterator[str]:
    """Yield a command's help, and below it a heading and the help of each command in it."""
    context = click.Context(command, parent=above, info_name=name, terminal_width=WIDTH, help_option_names=HELP)
    yield _fenced(command.get_help(context))
    for inner in command.list_commands(context) if isinstance(command, click.Group) else ():
        found = command.get_command(context, inner) if isinstance(command, click.Group) else None
        if found is not None:
            yield f"## {context.command_path} {inner}"
            yield from _help(found, inner, context)


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def settings_page() -> str:
    """Return docs/settings.md: every setting of a recipe with its type, its default and what it means."""
    from trialigngr.recipes.recipe import Recipe

    head = (
        "A recipe is the settings of every stage. Set one with `--set stage.name=value`, or write a TOML file that "
        "`extends` another recipe; `trialigngr show RECIPE` prints the whole."
    )
    return "\n\n".join([WRITTEN, "# Settings", head, *_tables(Recipe, "")]) + "\n"


def _tables(model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the table of a model's own settings, then a heading and the tables of each model in it."""
    fields = model.model_fields
    inner = {name: found for name, field in fields.items() if (found := _settings_in(field)) is not None}
    own = {name: field for name, field in fields.items() if name not in inner}
    if own:
        rows = [_row(f"{path}{name}", field) for name, field in own.items()]
        yield "\n".join(["| setting | type | default | |", "|---|---|---|---|", *rows])
    for name, found in inner.items():
        where = f"{path}{name}"
        yield f"{'#' * (2 + path.count('.'))} `{where}`"
        yield _one_line(fields[name].description or found.__doc__)
        yield from _tables(found, f"{where}.")


def _settings_in(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _type(field), _default(field), _one_line(field.description))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: FieldInfo) -> str:
    return _kind(field.annotation) + _bounds(field.metadata)


def _kind(kind: Any) -> str:
    """Return a type in words, as TOML has it."""
    inner = get_args(kind)
    if get_origin(kind) is Annotated:
        rules = [rule for given in inner[1:] for rule in getattr(given, "metadata", [given])]
        return _kind(inner[0]) + _bounds(rules)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{json.dumps(value)}`" for value in inner)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_kind(part) for part in inner)
    if get_origin(kind) is tuple:
        return f"list of {_kind(inner[0])}"
    if get_origin(kind) is dict:
        return f"table of {_kind(inner[1])}"
    return WORDS.get(kind, str(kind))


def _bounds(rules: Iterable[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(rule, name)}" for rule in rules for name, sign in signs.items() if hasattr(rule, name)]
    return f" ({', '.join(found)})" if found else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").replace("``", "`").split())


def pages() -> dict[str, str]:
    """Return file name → text of the written pages."""
    return {"cli.md": command_page(), "settings.md": settings_page()}


def main(arguments: list[str], folder: Path) -> int:
    """Write the pages into ``folder``, or with ``--check`` say which are not current; return the exit code."""
    current = {name: (folder / name).read_text("utf-8") if (folder / name).is_file() else "" for name in pages()}
    stale = [name for name, text in pages().items() if current[name] != text]
    if "--check" in arguments:
        if stale:
            names = " and ".join(f"docs/{name}" for name in stale)
            click.echo(f"{names}: not what the code says; run `python -m trialigngr.cli.docs`.", err=True)
        return int(bool(stale))
    for name in stale:
        (folder / name).write_text(pages()[name], encoding="utf-8")
        click.echo(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path("docs")))
