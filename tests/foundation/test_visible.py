"""Nothing that a stranger wrote commands a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from tests.support.commands import Done
from trialigngr.foundation.console import log
from trialigngr.foundation.visible import VisibleText, escape_controls, escape_controls_in_lines

Cli = Callable[..., Done]
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r\ud83d\x00\x7f\u2028"
WRITABLE = EVIL.replace("\ud83d", "").replace("\0", "")
HARMLESS = "Ünïcode 中文 شعار 👩‍👩‍👧 ½\t€"


def test_what_commands_is_escaped_and_nothing_else() -> None:
    assert escape_controls(EVIL) == (
        r"\u001b]0;owned\u0007\u001b[2J\u009b31m\u202egnp.exe\u2066\u000d\ud83d\u0000\u007f\u2028"
    )
    assert escape_controls(HARMLESS) == escape_controls_in_lines(HARMLESS) == HARMLESS
    assert (escape_controls("a\nb"), escape_controls_in_lines("a\nb")) == (r"a\u000ab", "a\nb")


def test_json_says_the_same() -> None:
    told = json.dumps({"title": EVIL + HARMLESS}, ensure_ascii=False, indent=2)
    assert json.loads(escape_controls_in_lines(told)) == {"title": EVIL + HARMLESS}


def test_a_stream_is_itself_but_for_what_is_written() -> None:
    held = io.StringIO()
    stream = VisibleText(held)
    assert stream.write(EVIL) == len(EVIL)
    assert held.getvalue() == escape_controls_in_lines(EVIL)
    assert stream.isatty() is False


def test_a_log_line_is_one_line() -> None:
    held = io.StringIO()
    with redirect_stderr(held):
        log(f"read {EVIL}\nError: no such thing [red]x[/red]")
    assert held.getvalue() == f"read {escape_controls(EVIL)}\\u000aError: no such thing [red]x[/red]\n"


def test_names_and_errors_are_printed_without_commands(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f'system,HR@5,HR@10\n"{WRITABLE.replace(chr(13), "")}",0.5,1.4\n', "utf-8")
    done = cli("lint-table", table)
    assert done.code == 1
    assert r"\u001b]0;owned\u0007" in done.out
    assert not set("\x1b\x9b\u202e") & set(done.out)
    done = cli("report", tmp_path / "\x1b[2Jrun")
    assert done.code == 2
    assert r"\u001b[2Jrun is not a run" in done.err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_terminal_of_any_encoding_gets_no_commands(tmp_path: Path, encoding: str) -> None:
    """On a terminal click leaves colours as they are, and goes past a stream that says ASCII."""
    table = tmp_path / "table.csv"
    table.write_text('system,HR@5,HR@10\n"\x1b[31mé…中",0.5,1.4\n', "utf-8")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "trialigngr", "lint-table", str(table)]
    subprocess.run(words, stdout=theirs, stderr=theirs, env=os.environ | {"PYTHONIOENCODING": encoding}, check=False)
    os.close(theirs)
    said = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"\\u001b[31m" in said
    assert b"\x1b" not in said
    assert b"Traceback" not in said
