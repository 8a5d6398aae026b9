"""The house keeps its rules: quick to open, every room says what it is, one direction of imports, one honest lock."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trialigngr.cli.main import COMMANDS

MAX_LOG_LINES = 15
PLACEHOLDERS = {"runs/", "benchmarks/x.py", "benchmarks/NAME.py"}
HEAVY = {"torch", "transformers", "sentence_transformers", "sklearn", "scipy", "matplotlib", "faiss", "peft"}
BESIDE_SETTINGS = {"trialigngr.tasks.task", "trialigngr.llm.api_keys"}
"""What files of settings import beside each other and the foundation: data, and which variables may hold a key."""
SLOW_TO_HELP = HEAVY | {"numpy", "polars", "pydantic", "rich", "PIL", "tomli_w"}
PROBE = """
import sys
sys.argv[1:] = {arguments!r}
try:
    {call}
except SystemExit as stop:
    assert not stop.code, stop.code
print("\\n" + " ".join({{name.partition(".")[0] for name in sys.modules}}))
"""


def loaded_by(call: str, *arguments: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after ``call``."""
    code = PROBE.format(call=call, arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def packages(root: Path) -> list[Path]:
    return sorted(path.parent for path in (root / "src" / "trialigngr").rglob("__init__.py"))


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_by("import trialigngr")
    assert "trialigngr" in loaded
    assert not HEAVY & loaded


def test_help_loads_nothing_heavy():
    loaded = loaded_by("from trialigngr.cli.main import main; main()", "--help")
    assert "click" in loaded
    assert not SLOW_TO_HELP & loaded


def test_reading_a_recipe_loads_nothing_heavy():
    loaded = loaded_by("from trialigngr.recipes.recipe import read_recipe; read_recipe('trialigngr')")
    assert "pydantic" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("words", [["show", "trialigngr"], ["plan", "trialigngr", "--out", "none"]])
def test_show_and_plan_load_nothing_heavy(words: list[str]):
    loaded = loaded_by("from trialigngr.cli.main import main; main()", *words)
    assert "pydantic" in loaded
    assert not HEAVY & loaded


def test_opening_a_run_loads_no_training_and_no_report():
    code = "import sys, trialigngr.runs.run; print(*(name for name in sys.modules if name.startswith('trialigngr')))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    own = set(done.stdout.split())
    assert "trialigngr.runs.run" in own
    assert len(own) <= 80
    settings = {name for name in own if name.endswith(".settings")}
    rooms = {
        "train",
        "report",
        "pipeline",
        "studies",
        "evaluate",
        "sequential",
        "seq2seq",
        "datasets",
        "embed",
        "enrich",
    }
    strangers = {name for name in own - settings if set(name.split(".")[1:2]) & rooms and name.count(".") > 1}
    assert strangers - {"trialigngr.datasets.synthetic", "trialigngr.train.phases"} == set(), (
        "but for what recipes name"
    )


def test_settings_import_settings_alone():
    graph = grimp.build_graph("trialigngr", cache_dir=None)
    files = {module for module in graph.modules if module.endswith(".settings")}
    assert len(files) > 10
    strays = {
        (module, other)
        for module in files
        for other in graph.find_modules_directly_imported_by(module) - files - BESIDE_SETTINGS
        if not other.startswith("trialigngr.foundation.")
    }
    assert strays == set()


def test_python_runs_the_package_as_the_command(root: Path):
    command = [sys.executable, "-m", "trialigngr", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(root / "src")})
    assert done.returncode == 2
    assert "Usage: trialigngr" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_loads_nothing_heavy(command: str):
    assert not SLOW_TO_HELP & loaded_by("from trialigngr.cli.main import main; main()", command, "--help")


def test_every_package_says_what_it_is(root: Path):
    found = packages(root)
    silent = [path for path in found if not ast.get_docstring(ast.parse((path / "__init__.py").read_text("utf-8")))]
    assert len(found) > 2
    assert silent == []


def test_every_python_file_lies_in_a_package(root: Path):
    homes = set(packages(root))
    stray = [path for path in (root / "src").rglob("*.py") if path.parent not in homes]
    assert stray == []


def test_check_runs_the_import_contract(root: Path):
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe is not None
    assert "lint-imports" in recipe[1]


def imported_by(file: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {
        node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }


def test_every_import_is_declared(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for extra, lines in project["optional-dependencies"].items() if extra != "dev" for line in lines]
    declared = {canonicalize_name(Requirement(line).name) for line in [*project["dependencies"], *extras]}
    installed = packages_distributions()
    provided = {module for module, names in installed.items() if declared & set(map(canonicalize_name, names))}
    present = {canonicalize_name(name) for names in installed.values() for name in names}
    provided |= {name.replace("-", "_") for name in declared - present}  # an extra that is not installed here
    foreign = {
        (module, file.relative_to(root).as_posix())
        for file in (root / "src").rglob("*.py")
        for module in {name.partition(".")[0] for name in imported_by(file)}
        if module not in sys.stdlib_module_names | {"trialigngr"}
    }
    assert ("pydantic", "src/trialigngr/foundation/config.py") in foreign
    assert {(module, file) for module, file in foreign if module not in provided} == set()


PINNED = (
    "requirements.lock",
    "requirements-cuda.lock",
    "tests/servers/requirements.txt",
    "tests/pipeline/ray.txt",
    "scripts/site.txt",
)


def pins(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Return name → version and hashes of a file whose every line is a comment or part of an exact pin with hashes."""
    text = re.sub(r"^#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE).replace(" \\\n", "")
    found = [
        re.fullmatch(r"([\w.-]+)==([\w.]+)((?: +--hash=sha256:[0-9a-f]{64})+)", line) for line in text.splitlines()
    ]
    assert None not in found, path
    return {canonicalize_name(pin[1]): (pin[2], pin[3].split()) for pin in found if pin}


@pytest.mark.parametrize("extra", ["", "dev", "weights"])
def test_the_lock_holds_every_declared_dependency(root: Path, extra: str):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    declared = project["optional-dependencies"][extra] if extra else project["dependencies"]
    locked = pins(root / "requirements.lock")
    for requirement in map(Requirement, declared):
        version, _ = locked.get(canonicalize_name(requirement.name), (None, []))
        assert version is not None, f"{requirement.name} is not locked; run make lock"
        assert requirement.specifier.contains(version), f"the lock has {requirement.name} {version}; run make lock"


@pytest.mark.parametrize("name", PINNED)
def test_every_lock_is_exact_and_knows_the_hashes(root: Path, name: str):
    locked = pins(root / name)
    assert locked
    assert all(len(set(hashes)) == len(hashes) for _, hashes in locked.values())


def test_what_cuda_needs_is_no_part_of_the_lock(root: Path):
    whole, more = (pins(root / f"requirements{name}.lock") for name in ("", "-cuda"))
    assert not set(whole) & set(more)
    assert "nvidia-cublas" in more


def test_make_installs_nothing_without_a_hash_but_the_project(root: Path):
    makefile = (root / "Makefile").read_text("utf-8")
    assert "--require-hashes" in re.search(r"^INSTALL = (.*)", makefile, re.MULTILINE)[1]
    others = [line for line in makefile.splitlines() if "pip install" in line and not line.startswith("INSTALL")]
    assert [line.split()[-1] for line in others] == ["."]


def test_contributing_names_places_that_exist(root: Path):
    named = set(re.findall(r"`([\w.]+/[\w./]*)`", (root / "CONTRIBUTING.md").read_text("utf-8")))
    missing = {name for name in named if not ((root / name).exists() or (root / "src" / "trialigngr" / name).exists())}
    assert "sids/quantizers/" in named
    assert missing - PLACEHOLDERS == set()


def test_the_places_that_docs_name_are_there(root: Path):
    """``path.py: name`` in ARCHITECTURE.md and the docs is a definition in that file."""
    named = [
        (page.name, path, name)
        for page in (root / "ARCHITECTURE.md", *sorted((root / "docs").rglob("*.md")))
        for path, name in re.findall(r"`([\w/]+\.py): (\w+)", page.read_text("utf-8"))
    ]
    assert len(named) > 20
    for page, path, name in named:
        text = (root / "src" / "trialigngr" / path).read_text("utf-8")
        assert re.search(rf"\b(?:def|class) {name}\b|^{name}\b", text, re.MULTILINE), f"{page}: {path} has no {name}"


def test_no_two_modules_lean_on_each_other():
    """Imports within functions and for types alone count too: the contract of the layers does not see them."""
    graph = grimp.build_graph("trialigngr", exclude_type_checking_imports=False, cache_dir=None)
    below = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(below) > 200
    list(graphlib.TopologicalSorter(below).static_order())


def test_what_tests_share_lies_in_support(root: Path):
    """No test leans on the file of another, and benchmarks, which tests try, lean on no test."""
    files = [file for folder in ("tests", "benchmarks") for file in (root / folder).rglob("*.py")]
    leaning = {
        (file.relative_to(root).as_posix(), module)
        for file in files
        for module in imported_by(file)
        if module.split(".")[0] == "tests"
    }
    assert ("tests/conftest.py", "tests.support.commands") in leaning
    assert [
        (file, module)
        for file, module in sorted(leaning)
        if not f"{module}.".startswith("tests.support.") or not file.startswith("tests/")
    ] == []


def test_tests_lie_in_the_rooms_of_what_they_test(root: Path):
    rooms = {path.name for path in (root / "src" / "trialigngr").iterdir() if path.is_dir()}
    folders = {path.name for path in (root / "tests").iterdir() if list(path.glob("*.py"))}
    assert folders - rooms == {"support", "servers"}


def test_every_measurement_has_a_short_page_and_a_line_in_the_index(root: Path):
    index, *pages = [root / "docs/log/README.md", *sorted((root / "docs/log").glob("2*.md"))]
    assert len(re.findall(r"\]\((2.*?)\)", index.read_text("utf-8"))) == len(pages) > 0
    for page in pages:
        text = page.read_text("utf-8")
        assert f"]({page.name})" in index.read_text("utf-8"), page
        assert re.findall(r"^\*\*(.*?)\.\*\*", text, re.MULTILINE) == ["Question", "Setup", "Result", "What follows"], (
            page
        )
        assert sum(map(bool, text.splitlines())) <= MAX_LOG_LINES, page
