"""Write docs/api.md: the Python names that programs use, with their signatures and docstrings, from the sources.

``--check`` writes nothing and exits with 1 where the page is not what the sources say.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
HEAD = """<!-- Written by `python scripts/write_api.py`; do not edit by hand. -->

# Python

What programs use, from the docstrings. `import trialigngr` is quick: what is heavy is loaded on first use. Settings are
in [settings](settings.md), and code that runs is in [extend](extend/README.md).
"""
SECTIONS = {
    "From `trialigngr` itself": (
        "pipeline/execute.py: run",
        "runs/run.py: load",
        "runs/request.py: RecommendRequest",
        "recipes/recipe.py: register_system",
        "recipes/recipe.py: register_phase",
    ),
    "What `load` gives": (
        "runs/run.py: Run",
        "runs/request.py: Recommendation",
        "runs/request.py: Recommendations",
        "runs/batch_inference.py: recommend_all",
    ),
    "Data": (
        "catalog/items.py: Item",
        "catalog/items.py: Catalog",
        "catalog/histories.py: Histories",
        "datasets/synthetic/draw.py: draw_shop",
    ),
    "Semantic IDs": (
        "sids/assign.py: assign_sids",
        "sids/semantic_ids.py: SemanticIds",
        "sids/trie.py: Trie",
        "sids/embeddings.py: read_embeddings",
    ),
    "What a newcomer implements": (
        "evaluate/system.py: System",
        "evaluate/system.py: Scorer",
        "train/objective.py: Objective",
        "decode/sequence_model.py: SequenceModel",
        "decode/prior.py: Prior",
        "sids/quantizers/quantizer.py: Quantizer",
        "pipeline/stage_graph.py: StageSpec",
    ),
    "Errors": (
        "foundation/errors.py: TriAlignError",
        "foundation/errors.py: ErrorKind",
    ),
}


def find_definition(path: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """Return the definition of a name at the top of a module."""
    tree = ast.parse((ROOT / "src" / "trialigngr" / path).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise LookupError(f"{path} has no {name}; change SECTIONS in scripts/write_api.py")


def format_signature(node: ast.FunctionDef, name: str = "") -> str:
    """Return ``name(arguments) -> result`` as code: on one line, or on a line an argument where that is too long."""
    arguments = [part for part in re.split(r", (?![^\[\]()]*[\])])", ast.unparse(node.args)) if part != "self"]
    result = "" if name or node.returns is None else f" -> {ast.unparse(node.returns)}"
    line = f"{name or node.name}({', '.join(arguments)}){result}"
    if len(line) > 100:
        line = f"{name or node.name}(\n    " + ",\n    ".join(arguments) + f",\n){result}"
    return f"```python\n{line}\n```"


def format_docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return the docstring with code in single backticks."""
    return (ast.get_docstring(node) or "").replace("``", "`")


def list_fields(node: ast.ClassDef) -> list[str]:
    """Return the annotated public attributes of a class, as they are written."""
    parts = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    return [ast.unparse(part).replace("'", '"') for part in parts if not ast.unparse(part.target).startswith("_")]


def list_methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """Return the public methods of a class."""
    return [part for part in node.body if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")]


def render_entry(path: str, name: str) -> Iterator[str]:
    """Yield the heading of a name, its signature or fields, its docstring, and its methods."""
    node = find_definition(path, name)
    yield f"### `{name}`\n\n*{path.removesuffix('.py').replace('/', '.')}*"
    if isinstance(node, ast.FunctionDef):
        yield format_signature(node)
        yield format_docstring(node)
        return
    yield format_docstring(node)
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            yield format_signature(part, name)
            yield format_docstring(part)
    if fields := list_fields(node):
        yield "```python\n" + "\n".join(fields) + "\n```"
    for method in list_methods(node):
        yield format_signature(method)
        yield format_docstring(method)


def render_page() -> str:
    """Return docs/api.md."""
    parts = [HEAD.strip()]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}")
        for entry in names:
            parts.extend(part for part in render_entry(*entry.split(": ")) if part)
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or say that it is not current; return the exit code."""
    text = render_page()
    current = PAGE.is_file() and PAGE.read_text("utf-8") == text
    if "--check" in arguments:
        if not current:
            print("docs/api.md: not what the sources say; run `python scripts/write_api.py`", file=sys.stderr)
        return int(not current)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
