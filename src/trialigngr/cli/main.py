"""``trialigngr``: the entry point, and what becomes of a mistake."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from trialigngr import __version__

COMMANDS = {
    "run": "trialigngr.cli.runs",
    "plan": "trialigngr.cli.runs",
    "show": "trialigngr.cli.recipes",
    "ls": "trialigngr.cli.runs",
    "recommend": "trialigngr.cli.use",
    "evaluate": "trialigngr.cli.use",
    "report": "trialigngr.cli.use",
    "import": "trialigngr.cli.data",
    "draw-shop": "trialigngr.cli.data",
}
"""Command → the module that holds it, under the same name with ``-`` as ``_`` (``import`` as ``import_``)."""


class _Lazy(click.Group):
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


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="trialigngr")
def trialigngr() -> None:
    """Multimodal generative recommendation with Semantic IDs.

    A catalogue with pictures and a log of who took what go in; recommendations come out, made by a language model that
    writes the next item's Semantic ID.

    Start with `trialigngr run trialigngr-demo --out runs/demo`.
    """


def _complaint(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full. Free some space and run the same command again; finished stages are kept."
    where = f" ({error.filename})" if error.filename else ""
    return f"{os.strerror(error.errno) if error.errno else error}{where}."


def main() -> None:
    """Run the command line: 0 when all went well, 2 after a user's mistake (one sentence, no traceback), 130 after ^C."""
    from trialigngr.foundation.errors import TriAlignError

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        trialigngr(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. Run the same command again to go on.", err=True)
        sys.exit(130)
    except TriAlignError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"Error: {_complaint(error)}", err=True)
        sys.exit(2)
