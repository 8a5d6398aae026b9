"""Events: written once each, acknowledged when they are on the disk, and whole after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trialigngr.foundation.errors import ArtifactError
from trialigngr.serve.errors import ServiceError
from trialigngr.serve.events import EventLog

OpenLog = Callable[[Path], EventLog]
WRITER = """
import sys
from pathlib import Path
from trialigngr.serve.events import EventLog
events = EventLog(Path(sys.argv[1]))
number = 0
while True:
    ids = [f"{number}-{place}" for place in range(3)]
    events.append_events([{"event_id": event_id, "text": "x" * 500} for event_id in ids])
    print(*ids, sep="\\n", flush=True)
    number += 1
"""


@pytest.fixture
def open_log() -> Iterator[OpenLog]:
    """Return a call that opens a log, closed at the end or before the next is opened."""
    opened = list[EventLog]()

    def open_next(path: Path) -> EventLog:
        for log in opened:
            log.close()
        opened.append(EventLog(path))
        return opened[-1]

    yield open_next
    for log in opened:
        log.close()


def event(event_id: str) -> dict[str, str]:
    return {"event_id": event_id, "type": "click", "note": "ü\n"}


def read_ids(path: Path) -> list[str]:
    return [json.loads(line)["event_id"] for line in path.read_bytes().splitlines()]


def test_an_event_is_written_once(open_log: OpenLog, tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    log = open_log(path)
    assert log.append_events([event("a"), event("b"), event("a")]) == 2
    assert log.append_events([event("b"), event("c")]) == 1
    log = open_log(path)
    assert log.append_events([event("a"), event("d")]) == 1
    assert read_ids(path) == ["a", "b", "c", "d"]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("torn", [b"{", b'{"event_id": "c"}', b"\xff", b"x" * 3_000_000])
def test_a_torn_last_line_is_cut_off(open_log: OpenLog, tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "events.jsonl"
    open_log(path).append_events([event("a"), event("b")])
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    log = open_log(path)
    assert path.read_bytes() == whole
    assert log.append_events([event("c")]) == 1
    assert read_ids(path) == ["a", "b", "c"]


def test_a_file_of_nothing_but_a_torn_line(open_log: OpenLog, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event_id"')
    assert open_log(path).append_events([event("a")]) == 1
    assert read_ids(path) == ["a"]


@pytest.mark.parametrize("text", ["buy milk\n", "buy milk", '{"notes": 1}', '{"event_id": "a"}', "[" * 100_000 + "\n"])
def test_other_files_stay_as_they_are(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes").write_text(text)
    (tmp_path / "notes").chmod(0o644)
    with pytest.raises(ArtifactError, match="line 1 is no event"):
        EventLog(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == text
    assert (tmp_path / "notes").stat().st_mode & 0o777 == 0o644


def test_files_of_others_are_refused(open_log: OpenLog, tmp_path: Path) -> None:
    open_log(tmp_path / "events.jsonl")
    with pytest.raises(ArtifactError, match="Another process writes events"):
        EventLog(tmp_path / "events.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "events.jsonl")
    with pytest.raises(ArtifactError, match="link"):
        EventLog(tmp_path / "link")


def test_what_a_full_disk_left_is_taken_back(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    log = open_log(path)
    log.append_events([event("a")])
    write = os.write

    def write_a_little(descriptor: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_a_little)
        with pytest.raises(ServiceError, match="No space left") as raised:
            log.append_events([event("b")])
    assert raised.value.code == "disk"
    assert read_ids(path) == ["a"]
    assert log.append_events([event("b")]) == 1
    assert read_ids(path) == ["a", "b"]


def test_what_cannot_be_taken_back_at_once_is_later(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    log, truncate, write = open_log(path), os.ftruncate, os.write
    log.append_events([event("a")])

    def write_and_break(descriptor: int, data: bytes) -> int:
        write(descriptor, data[: len(data) // 2])
        broken.setattr(os, "ftruncate", fail)
        raise OSError(5, "Input/output error")

    def fail(*_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", write_and_break)
        with pytest.raises(ServiceError):
            log.append_events([event("b")])
    assert os.ftruncate is truncate
    assert log.append_events([event("c")]) == 1
    assert read_ids(path) == ["a", "c"]


def test_no_acknowledged_event_is_lost_by_a_kill(open_log: OpenLog, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(60)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split()
    log = open_log(path)
    kept = read_ids(path)
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept)) <= len(acknowledged) + 6
    assert log.append_events([event(event_id) for event_id in acknowledged]) == 0
