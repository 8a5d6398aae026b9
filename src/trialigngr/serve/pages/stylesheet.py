"""The one stylesheet of the pages: the report's, and what they have besides."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment

PACKAGE = "trialigngr.serve.pages"
"""Where templates and static files lie."""


def read_stylesheet(environment: Environment) -> str:
    """Return the report's stylesheet with that of the pages behind it."""
    own = (files(PACKAGE) / "static" / "explorer.css").read_text(encoding="utf-8")
    return environment.get_template("page.css").render() + "\n" + own
