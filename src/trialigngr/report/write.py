"""`write_page`: a `Page` becomes one HTML file that needs nothing else: no network, no script, no other file.

What comes from data is escaped by Jinja's autoescape; the content-security policy allows the page's own style (by hash)
and data pictures, and nothing more, so that even a hole in the escaping could not run or fetch anything.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trialigngr.foundation.files import write_text_atomically
from trialigngr.metrics.intervals import Estimate
from trialigngr.report import charts, flow, words
from trialigngr.report.page import MetricTable, Page, System
from trialigngr.report.thumbnails import Thumbnails

LONGEST_TEXT = 1200


def write_page(page: Page, out: Path) -> Path:
    """Write the page to the file ``out``, whole or not at all, and return it."""
    write_text_atomically(out, render(page))
    return out


def render(page: Page) -> str:
    """Return the page as HTML. Pictures that cannot be read are left out and counted at its end."""
    environment = _environment()
    style = environment.get_template("page.css").render()
    html = environment.get_template("page.html.jinja").render(
        page=page,
        style=Markup(style),  # noqa: S704  our own file, nothing of it comes from data
        policy=_policy(style),
        layouts=(flow.wide(page.stages), flow.tall(page.stages)),
        thumbnail=Thumbnails(),
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate in a title must not lose the page


def _policy(style: str) -> str:
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trialigngr.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _formats()
    environment.globals |= _questions()
    return environment


def _formats() -> dict[str, Callable[..., Any]]:
    return {
        "count": lambda value: f"{value:,}",
        "percent": percent,
        "figure": lambda value: f"{value:.4f}",
        "share": share,
        "share_of": share_of,
        "signed": lambda value: f"{value:+.4f}".replace("-", "−"),
        "duration": duration,
        "excerpt": excerpt,
        "level": sid_level,
        "flat": flat,
        "wrapped": flow.wrapped,
        "number": charts.number,
        "glossary": words.glossary,
    }


def _questions() -> dict[str, Any]:
    return {
        "task_words": words.TASKS,
        "stage_labels": flow.ROOMS,
        "metric_meaning": words.metric_meaning,
        "protocol_rows": protocol_rows,
        "validation_chart": charts.validation_chart,
        "loss_charts": charts.loss_charts,
        "scatter": charts.scatter,
        "whisker": charts.whisker,
        "reach": charts.reach,
        "metrics_of": metrics_of,
        "figures_of": figures_of,
        "headline": headline,
    }


def percent(share: float, digits: int = 1) -> str:
    """Return ``0.1283`` as ``12.8 %``."""
    return f"{100 * share:.{digits}f} %"


def share(value: float) -> str:
    """Return a value from 0 to 1 with three decimals, or a dash where there is none (NaN)."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def share_of(value: float | None) -> str:
    """Return a share as ``12.8 %``, or a dash where there is nothing to share."""
    return "–" if value is None else percent(value)


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``0.4 s``, ``48 s``, ``3 min 20 s``, ``1 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def excerpt(text: str, most: int = LONGEST_TEXT) -> str:
    """Return the text, cut at ``most`` characters with a word on how many are left out."""
    return text if len(text) <= most else f"{text[:most].rstrip()} … ({len(text) - most:,} more characters)"


def sid_level(token: str) -> int | None:
    """Return the level (0 for ``<a_5>``) of a token's text, or None when it is not a SID token."""
    found = re.fullmatch(r"<([a-z])_\d+>", token)
    return ord(found[1]) - ord("a") if found else None


def flat(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested settings as (dotted name, value as text), in order."""
    return [(name, _plain(value)) for name, value in _leaves(settings)]


def protocol_rows(protocol: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, sentence, value as people read it) for each entry of a protocol, in order."""
    return [(*words.protocol_words(name), _counted(name, value)) for name, value in _leaves(protocol)]


def _counted(name: str, value: Any) -> str:
    if name == "invalid_rate":
        return percent(value, 2)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _plain(value)


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        inner = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + str(name), inner


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None or value == {} else str(value)


def metrics_of(table: MetricTable) -> list[str]:
    """Return the metrics of a table in the order in which they are first met."""
    return list(dict.fromkeys(metric for system in table.systems for metric in system.figures))


def figures_of(systems: Sequence[System], metric: str) -> list[Estimate]:
    """Return the figures of all systems that have the metric."""
    return [system.figures[metric] for system in systems if metric in system.figures]


def headline(page: Page) -> tuple[str, System, list[System]] | None:
    """Return the page's one figure: its metric (HR@10 or the first), our system, and up to three others."""
    table = page.headline
    ours = next((system for system in table.systems if system.ours and system.figures), None) if table else None
    if table is None or ours is None:
        return None
    metric = "HR@10" if "HR@10" in ours.figures else next(iter(ours.figures))
    others = [system for system in table.systems if system is not ours and metric in system.figures]
    return metric, ours, sorted(others, key=lambda system: -system.figures[metric].value)[:3]
