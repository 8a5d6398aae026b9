"""Locks between processes: one holder, who loses it by dying; nothing is emptied, no link followed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trialigngr.foundation.errors import ArtifactError
from trialigngr.foundation.locks import lock_file, try_lock_file

HOLDER = """
import sys
from pathlib import Path
from trialigngr.foundation.locks import lock_file

lock = lock_file(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_holder_that_is_killed_holds_no_longer(tmp_path: Path):
    path = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert try_lock_file(path) is None
        holder.kill()
    lock = try_lock_file(path)
    assert lock is not None
    assert try_lock_file(path) is None
    lock.release()
    lock_file(path).release()


@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
def test_a_lock_is_a_file(tmp_path: Path, kind: str):
    path, mine = tmp_path / ".lock", tmp_path / "mine.txt"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(mine)
    if kind == "link":
        mine.write_text("ten years")
    with pytest.raises(ArtifactError, match=rf"{path} is .*; remove it"):
        lock_file(path)
    assert mine.exists() == (kind == "link")
    assert kind != "link" or mine.read_text() == "ten years"


def test_a_lock_empties_nothing(tmp_path: Path):
    (tmp_path / ".lock").write_text("what somebody put there")
    lock_file(tmp_path / ".lock").release()
    assert (tmp_path / ".lock").read_text() == "what somebody put there"
