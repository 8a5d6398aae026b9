"""``trialigngr``: the entry point, and what becomes of a mistake."""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import TextIO, cast

import click

from trialigngr.foundation.version import __version__

COMMANDS = {
    "run": "trialigngr.cli.runs",
    "plan": "trialigngr.cli.runs",
    "show": "trialigngr.cli.recipes",
    "ls": "trialigngr.cli.runs",
    "recommend": "trialigngr.cli.use",
    "evaluate": "trialigngr.cli.use",
    "push": "trialigngr.cli.use",
    "report": "trialigngr.cli.use",
    "lint-table": "trialigngr.cli.use",
    "diagnose": "trialigngr.cli.studies",
    "tune": "trialigngr.cli.studies",
    "import": "trialigngr.cli.data",
    "draw-shop": "trialigngr.cli.data",
    "sids": "trialigngr.cli.sids",
    "enrich": "trialigngr.cli.enrich",
    "serve": "trialigngr.cli.serve",
    "demo": "trialigngr.cli.serve",
    "explore": "trialigngr.cli.serve",
}
"""Command → the module that holds it, under the same name with ``-`` as ``_`` (``import`` as ``import_``)."""


class _LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name])
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, f"{name}_" if name == "import" else name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="trialigngr")
def trialigngr() -> None:
    """Multimodal generative recommendation with Semantic IDs.

    A catalogue with pictures and a log of who took what go in; recommendations come out, made by a language model that
    writes the next item's Semantic ID.

    Look with `trialigngr demo`, then start with `trialigngr run trialigngr-demo --out runs/demo`.
    """


DISK_ERRORS = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "Your quota is used up",
    errno.EFBIG: "A file grew too large",
    errno.EIO: "A file could not be written, as when the disk is full",
}


def _find_errno(error: BaseException) -> int | None:
    """Return the system's number for what went wrong.

    Polars, safetensors and tokenizers raise errors of their own for a full disk, and tell the number in their text;
    Polars not even that when it is a table's last bytes that cannot be written.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return int(number[1])
    return errno.EIO if "thrift: transport error" in str(error) else None


def _describe_system_error(error: BaseException, number: int) -> str:
    if number in DISK_ERRORS:
        return f"{DISK_ERRORS[number]}. Free some space and run the same command again; finished stages are kept."
    named = re.search(r"\(os error \d+\)\S*?: *(.+)", str(error))  # Polars has the path in its text alone
    path = getattr(error, "filename", None) or (named and named[1].strip())
    return f"{os.strerror(number)}{f': {path}' if path else ''}."


def _write_any_letter(stream: TextIO) -> None:
    """Let a stream write every letter: as UTF-8 where it says ASCII, as an escape where it says another encoding.

    Click goes past a stream that says ASCII, and so past what makes the text of strangers visible.
    """
    if isinstance(stream, io.TextIOWrapper):
        plain = codecs.lookup(stream.encoding).name == "ascii"
        stream.reconfigure(encoding="utf-8" if plain else stream.encoding, errors="backslashreplace")


def main() -> None:
    """Run the command line: 0 when all went well, 2 after a user's mistake (a sentence, no traceback), 130 after ^C."""
    from trialigngr.foundation.errors import TriAlignError
    from trialigngr.foundation.visible import VisibleText, escape_controls

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        _write_any_letter(stream)
    try:
        with redirect_stdout(cast(TextIO, VisibleText(sys.stdout))):
            trialigngr(prog_name="trialigngr", standalone_mode=False)
    except click.ClickException as error:
        with redirect_stderr(cast(TextIO, VisibleText(sys.stderr))):
            error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. Run the same command again to go on.", err=True)
        sys.exit(130)
    except TriAlignError as error:
        click.echo(f"Error: {escape_controls(str(error))}", err=True)
        sys.exit(2)
    except Exception as error:
        number = _find_errno(error)
        if number is None:
            raise
        click.echo(f"Error: {escape_controls(_describe_system_error(error, number))}", err=True)
        sys.exit(2)
