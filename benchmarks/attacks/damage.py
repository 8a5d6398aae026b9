"""Every file of a finished run, damaged in six ways: what commands make of it, and whether the advice they give works.

A command may give what it gives on the sound run, or refuse in a sentence that names the file or its folder. ``run``
may also mend the damage. What is advised ("delete FOLDER and run again") has to bring all of it back.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attacks.cases import Outcome, count_ends, try_cases
from benchmarks.attacks.small_run import (
    NEW_ITEMS,
    STAGES,
    Said,
    call,
    copy_run,
    differing,
    make_run,
    run_words,
    some_items,
)
from benchmarks.harness import Check, below

SEED = 27
SECONDS = 120.0
GOOD = {"same", "refused", "mended", "works", "works in two steps"}
READING = ("recommend", "recommend for a user", "evaluate", "plan")
COMMANDS = (*READING, "run")
BEFORE_A_RUN = ("delete", "cut", "one byte")
"""Damages that `run` meets, as it takes seconds, and of a run's own files; the commands that only read meet all."""
NOT_MADE_AGAIN = "withdrawn.json"
"""What nothing can make again: after the remedy the withdrawn item is back, and the rest works."""


def _one_byte(body: bytes, draw: random.Random) -> bytes:
    if not body:
        return b"?"
    place = draw.randrange(len(body))
    return body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "delete": lambda body, draw: None,
    "empty": lambda body, draw: b"",
    "cut": lambda body, draw: body[: len(body) // 2],
    "zeros": lambda body, draw: body[: len(body) // 2] + bytes(len(body) - len(body) // 2),
    "one byte": _one_byte,
    "garbage": lambda body, draw: draw.randbytes(max(len(body), 64)),
}
"""Name → what becomes of a file's bytes; None where the file goes."""


@dataclass(frozen=True)
class Damage:
    """A file of the run, how it is damaged, and the command that meets it (for a remedy: what is deleted before it)."""

    run: Path
    file: str
    how: str
    command: str
    deleted: tuple[str, ...] = ()


def measure(folder: Path) -> list[Check]:
    """Return how many commands ended in a way that nobody can live with."""
    run = folder / "run"
    try_cases(_make, {"the run": run}, folder / "made.jsonl", 600)
    cases = {f"{case.file}, {case.how}: {case.command}": case for case in damages(run)}
    outcomes = try_cases(meet, cases, folder / "damage.jsonl", SECONDS)
    ends = count_ends("damaged runs", outcomes, GOOD)
    asked = remedies([(cases[name], outcome) for name, outcome in outcomes.items()])
    remedied = try_cases(follow, asked, folder / "remedies.jsonl", SECONDS)
    followed = count_ends("advice that was followed", remedied, GOOD)
    return [
        below(f"damaged runs ({len(outcomes)} commands): tracebacks, aborts, hangs", _crashes(ends), 1),
        below("… other results, silently", ends["silent"], 1),
        below("… refused without naming the file or its folder", ends["vague"], 1),
        below("… `run` says it is done and leaves the damage", ends["left damaged"], 1),
        below("… refused without advice that can be followed", followed["no advice"], 1),
        below(f"… advice ({len(asked)} kinds) that does not work", _not_working(followed), 1),
    ]


def _not_working(followed: Counter[str]) -> int:
    return sum(n for end, n in followed.items() if end not in GOOD and end != "no advice")


def _crashes(ends: dict[str, int]) -> int:
    return sum(ends.get(end, 0) for end in ("traceback", "abort", "hang", "odd exit"))


def _make(run: Path) -> Outcome:
    """Make the run and write down what the commands say of it."""
    make_run(run)
    told = {command: call(*words_of(command, run)).out for command in READING}
    run.with_name("sound.json").write_text(json.dumps(told), encoding="utf-8")
    return Outcome("same")


def words_of(command: str, run: Path) -> list[str]:
    """Return the words of a command on a run."""
    ids = ",".join(some_items(run))
    after = ["recommend", str(run), "-k", "5", "--json"]
    match command:
        case "recommend":
            return [*after, "--history", ids, "--by", "title"]
        case "recommend for a user":
            return [*after, "--user", "u00003"]
        case "evaluate":
            return ["evaluate", str(run), "--slices"]
        case "append":
            return ["sids", "append", str(run), str(run.with_name(NEW_ITEMS))]
        case "plan":
            return ["plan", *run_words(run)[1:]]
    return run_words(run)


def files_of(run: Path) -> list[str]:
    """Return every file of a run; of the pictures the first."""
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    pictures = [name for name in names if name.startswith("shop/images/")]
    return [name for name in names if name not in pictures[1:]]


def damages(run: Path) -> Iterator[Damage]:
    """Yield every case: file, damage, command."""
    for file in files_of(run):
        for how in DAMAGES:
            commands = COMMANDS if how in BEFORE_A_RUN and not file.startswith("appended/") else READING
            yield from (Damage(run, file, how, command) for command in commands)


def _nobody_knows(case: Damage) -> bool:
    """Say whether a run with this damage is a whole one: nothing was withdrawn, or an append was broken off."""
    gone = case.file == "withdrawn.json" or re.fullmatch(r"appended/[^/]+/sids/manifest\.json", case.file) is not None
    return gone and case.how == "delete"


def damage(case: Damage, copy: Path) -> None:
    """Damage a copy of the run."""
    path = copy / case.file
    body = DAMAGES[case.how](path.read_bytes(), random.Random(f"{SEED} {case.file} {case.how}"))
    if body is None:
        path.unlink()
    else:
        path.write_bytes(body)


def meet(case: Damage) -> Outcome:
    """Return what a command makes of a damaged copy."""
    with tempfile.TemporaryDirectory(dir=case.run.parent) as scratch:
        copy = copy_run(case.run, Path(scratch) / case.run.name)
        damage(case, copy)
        done = call(*_words_on(case, copy, case.command))
        if done.code:
            return _refused(case, copy, done)
        if case.command == "run":
            return _after_run(case, copy)
        return _compared(case, done.out, copy)


def _sound(case: Damage, command: str) -> str:
    told: dict[str, str] = json.loads(case.run.with_name("sound.json").read_text("utf-8"))
    return told[command]


def _compared(case: Damage, out: str, copy: Path) -> Outcome:
    if out.replace(str(copy), str(case.run)) == _sound(case, case.command):
        return Outcome("same")
    if case.command == "plan" or _nobody_knows(case):
        return Outcome("same", "the plan is to make it again" if case.command == "plan" else "as if it had not been")
    return Outcome("silent", out[:400])


def _refused(case: Damage, copy: Path, done: Said) -> Outcome:
    said = done.error.replace(str(copy), "RUN")
    if done.code != 2 or not said:
        return Outcome("odd exit", f"{done.code}: {done.err[-300:]}")
    places = [f"RUN/{place}" for place in (case.file, *map(str, Path(case.file).parents)) if place != "."]
    named = places if len(places) > 1 else [*places, "RUN "]
    return Outcome("refused" if any(name in said for name in named) else "vague", said)


def _after_run(case: Damage, copy: Path) -> Outcome:
    """Return whether a run that says it is done leaves a run that is sound."""
    for command in READING[:-1]:
        done = call(*_words_on(case, copy, command))
        if done.code:
            return Outcome("left damaged", done.error)
        if (verdict := _compared(Damage(case.run, case.file, case.how, command), done.out, copy)).end != "same":
            return verdict
    stages = tuple(stage for stage in STAGES if case.file.startswith(f"{stage}/"))
    found = [] if _nobody_knows(case) else differing(copy, case.run, stages)
    return Outcome("left damaged", f"others than before: {', '.join(found)}") if found else Outcome("mended")


def _words_on(case: Damage, copy: Path, command: str) -> list[str]:
    """Return the words of a command on the copy; the sound run tells them, as the catalogue may be what is damaged."""
    return [word.replace(str(case.run), str(copy)) for word in words_of(command, case.run)]


def remedies(met: list[tuple[Damage, Outcome]]) -> dict[str, Damage]:
    """Return each kind of advice once: what is deleted, and the damage if that is elsewhere."""
    found: dict[str, Damage] = {}
    for case, outcome in met:
        if outcome.end not in ("refused", "vague"):
            continue
        deleted = what_to_delete(outcome.said)
        again = bool(deleted) or re.search(r"\brun\b.*\b(again|first|recipe|RECIPE)\b", outcome.said) is not None
        append = re.search(r"append .*again|again .*append", outcome.said) is not None
        gone = any(f"RUN/{case.file}/".startswith(f"{name}/") for name in deleted)
        what = " and ".join(deleted) or ("run again" if again else "no advice")
        name = f"{what}{'' if gone else f' ({case.file}, {case.how})'}"
        command = "append" if append else "run" if again else "none"
        found.setdefault(name, Damage(case.run, case.file, case.how, command, deleted))
    return found


def what_to_delete(said: str) -> tuple[str, ...]:
    """Return the paths that a sentence says to delete; ``it`` is the one that the sentence begins with."""
    paths = r"(?:it|RUN\S*)"
    found = re.search(rf"[Dd]elete ({paths}(?: and {paths})*)", said)
    if found is None:
        return ()
    about = re.search(r"RUN\S*", said)
    names = [about[0] if name == "it" and about else name for name in found[1].split(" and ")]
    return tuple(name.rstrip(".,;:") for name in names)


def follow(case: Damage) -> Outcome:
    """Return whether what was advised brings back what was there."""
    if case.command == "none":
        return Outcome("no advice", f"{case.file}, {case.how}")
    with tempfile.TemporaryDirectory(dir=case.run.parent) as scratch:
        copy = copy_run(case.run, Path(scratch) / case.run.name)
        damage(case, copy)
        _delete(case.deleted, copy)
        done, end = call(*_words_on(case, copy, case.command)), "works"
        if done.code and (more := what_to_delete(done.error.replace(str(copy), "RUN"))):
            _delete(more, copy)
            done, end = call(*_words_on(case, copy, case.command)), "works in two steps"
        if done.code:
            return Outcome("does not work", done.error.replace(str(copy), "RUN"))
        outcome = _after_run(Damage(case.run, case.file, case.how, "run"), copy)
        lost = case.file == NOT_MADE_AGAIN and outcome.end == "silent"
        return Outcome(end) if outcome.end == "mended" or lost else Outcome("does not work", outcome.said)


def _delete(names: tuple[str, ...], copy: Path) -> None:
    for name in names:
        path = copy.parent / name.replace("RUN", copy.name, 1)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
