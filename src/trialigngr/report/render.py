"""`write_page`: a `ReportPage` becomes one HTML file that needs nothing else: no network, no script, no other file.

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

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trialigngr.evaluate.comparison import SystemRow
from trialigngr.foundation.files import write_text_atomically
from trialigngr.metrics.intervals import Estimate
from trialigngr.report import charts
from trialigngr.report import explanations as words
from trialigngr.report import pipeline_diagram as flow
from trialigngr.report.page import MetricChart, ReportPage
from trialigngr.report.thumbnails import Thumbnails

MAX_TEXT_LENGTH = 1200


def write_page(page: ReportPage, out: Path) -> Path:
    """Write the page to the file ``out``, whole or not at all, and return it."""
    write_text_atomically(out, render_page(page))
    return out


def render_page(page: ReportPage) -> str:
    """Return the page as HTML. Pictures that cannot be read are left out and counted at its end."""
    environment = build_environment()
    style = environment.get_template("page.css").render()
    html = environment.get_template("page.html.jinja").render(
        page=page,
        style=Markup(style),  # noqa: S704  our own file, nothing of it comes from data
        policy=describe_content_policy(style),
        layouts=(flow.wide_layout(page.steps), flow.tall_layout(page.steps)) if page.steps else (),
        thumbnail=Thumbnails(),
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate in a title must not lose the page


def describe_content_policy(style: str) -> str:
    """Return the policy of a page in one file: its own style, pictures inside it, and nothing else."""
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def build_environment(*packages: str) -> Environment:
    """Return what renders the report's templates, and those of other packages before them."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "trialigngr.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _template_filters()
    environment.globals |= _template_globals()
    return environment


def _template_filters() -> dict[str, Callable[..., Any]]:
    return {
        "count": lambda value: f"{value:,}",
        "percent": format_percent,
        "figure": lambda value: f"{value:.4f}",
        "share": format_share,
        "share_of": format_optional_percent,
        "signed": lambda value: f"{value:+.4f}".replace("-", "−"),
        "duration": format_duration,
        "excerpt": truncate_text,
        "level": parse_sid_level,
        "flat": flatten_settings,
        "wrapped": flow.wrap_text,
        "number": charts.format_tick,
        "glossary": words.build_glossary,
    }


def _template_globals() -> dict[str, Any]:
    return {
        "task_words": words.TASK_DESCRIPTIONS,
        "metric_meaning": words.describe_metric,
        "protocol_rows": format_protocol_rows,
        "validation_chart": charts.draw_validation_chart,
        "loss_charts": charts.draw_loss_charts,
        "scatter": charts.scatter_points,
        "whisker": charts.place_interval,
        "reach": charts.compute_scale_reach,
        "metrics_of": list_chart_metrics,
        "figures_of": collect_figures,
        "headline": pick_headline,
    }


def format_percent(share: float, digits: int = 1) -> str:
    """Return ``0.1283`` as ``12.8 %``."""
    return f"{100 * share:.{digits}f} %"


def format_share(value: float) -> str:
    """Return a value from 0 to 1 with three decimals, or a dash where there is none (NaN)."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def format_optional_percent(value: float | None) -> str:
    """Return a share as ``12.8 %``, or a dash where there is nothing to share."""
    return "–" if value is None else format_percent(value)


def format_duration(seconds: float) -> str:
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


def truncate_text(text: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return the text, cut at ``max_length`` characters with a word on how many are left out."""
    return (
        text
        if len(text) <= max_length
        else f"{text[:max_length].rstrip()} … ({len(text) - max_length:,} more characters)"
    )


def parse_sid_level(token: str) -> int | None:
    """Return the level (0 for ``<a_5>``) of a token's text, or None when it is not a SID token."""
    found = re.fullmatch(r"<([a-z])_\d+>", token)
    return ord(found[1]) - ord("a") if found else None


def flatten_settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested settings as (dotted name, value as text), in order."""
    return [(name, _format_value(value)) for name, value in _iterate_leaves(settings)]


def format_protocol_rows(protocol: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, sentence, value as people read it) for each entry of a protocol, in order."""
    return [
        (*words.describe_protocol_entry(name), _format_protocol_value(name, value))
        for name, value in _iterate_leaves(protocol)
    ]


def _format_protocol_value(name: str, value: Any) -> str:
    if name == "invalid_rate":
        return format_percent(value, 2)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _format_value(value)


def _iterate_leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        inner = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(inner, Mapping) and inner:
            yield from _iterate_leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + str(name), inner


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None or value == {} else str(value)


def list_chart_metrics(chart: MetricChart) -> list[str]:
    """Return the metrics of a chart in the order in which they are first met."""
    return list(dict.fromkeys(metric for system in chart.rows for metric in system.figures))


def collect_figures(rows: Sequence[SystemRow], metric: str) -> list[Estimate]:
    """Return the figures of all systems that have the metric."""
    return [system.figures[metric] for system in rows if metric in system.figures]


def pick_headline(page: ReportPage) -> tuple[str, SystemRow, list[SystemRow]] | None:
    """Return the page's one figure: its metric (HR@10 or the first), our system, and up to three others."""
    chart = page.headline_chart
    rows = chart.rows if chart else ()
    ours = next((system for system in rows if chart and system.name == chart.this_run and system.figures), None)
    if ours is None:
        return None
    metric = "HR@10" if "HR@10" in ours.figures else next(iter(ours.figures))
    others = [system for system in rows if system is not ours and metric in system.figures]
    return metric, ours, sorted(others, key=lambda system: -system.figures[metric].value)[:3]
