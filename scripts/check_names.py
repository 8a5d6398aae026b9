"""Measure the names of the package: a reader who knows the field should find a thing under the word he searches for.

Prints the share of function names that are one word, the share that are a bare participle, and class names that stand
in two modules; exits with 1 when one is over its bound. Dunder methods do not count.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

MAX_SINGLE_WORDS = 0.35
MAX_PARTICIPLES = 0.01
IRREGULAR = frozenset(
    [
        "begun",
        "bent",
        "bound",
        "broken",
        "brought",
        "built",
        "chosen",
        "dealt",
        "done",
        "drawn",
        "driven",
        "fed",
        "found",
        "given",
        "gone",
        "grown",
        "heard",
        "held",
        "hidden",
        "kept",
        "known",
        "laid",
        "left",
        "lent",
        "lost",
        "made",
        "meant",
        "met",
        "paid",
        "proven",
        "said",
        "seen",
        "sent",
        "shown",
        "sold",
        "spent",
        "spoken",
        "stood",
        "sworn",
        "taken",
        "taught",
        "thought",
        "thrown",
        "told",
        "torn",
        "understood",
        "woven",
        "won",
        "worn",
        "written",
    ]
)


def is_participle(word: str) -> bool:
    """Return whether a word is a past participle: ``told``, ``placed``; not ``feed`` or ``embed``."""
    return word in IRREGULAR or (re.search(r"[^e]ed$", word) is not None and word not in {"embed", "seed"})


def definitions(package: Path) -> Iterator[tuple[Path, ast.AST]]:
    """Yield each node of each module's syntax tree."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path, node


def measure_names(package: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of all functions but dunders, and class name → modules for names that stand more than once."""
    functions, classes = list[str](), defaultdict[str, list[str]](list)
    for path, node in definitions(package):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__"):
            functions.append(node.name.strip("_"))
        elif isinstance(node, ast.ClassDef):
            classes[node.name.strip("_")].append(str(path.relative_to(package)))
    return functions, {name: paths for name, paths in classes.items() if len(paths) > 1}


def main(package: Path) -> int:
    """Print the figures; return 1 when one is over its bound."""
    functions, twice = measure_names(package)
    single = [name for name in functions if "_" not in name]
    participles = sorted({name for name in single if is_participle(name)})
    share, bare = len(single) / len(functions), sum(map(is_participle, single)) / len(functions)
    print(f"{len(functions)} functions: {share:.1%} of one word, {bare:.2%} bare participles {participles[:20]}")
    for name, paths in twice.items():
        print(f"class {name} stands in {', '.join(paths)}")
    return int(share >= MAX_SINGLE_WORDS or bare >= MAX_PARTICIPLES or bool(twice))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "src/trialigngr")))
