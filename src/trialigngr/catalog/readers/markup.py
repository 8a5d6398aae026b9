"""HTML as shops' pages leave it in texts: tags, entities, scripts."""

from __future__ import annotations

import html
import re

INLINE = {*"a abbr b big em font i s small span strong sub sup tt u".split()}
"""Tags that stand within a word; all others end one."""
BLOCKS = """area article aside blockquote body br button center code dd div dl dt fieldset footer form h1 h2 h3 h4 h5 h6 head
    header hr html iframe img input label li link main map meta nav noscript object ol option p param pre script section
    select style table tbody td textarea tfoot th thead title tr ul video""".split()  # noqa: SIM905
UNSEEN = {"script", "style"}
"""Tags whose content is no text."""
_ATTRIBUTE = r"""\s++[\w:@.-]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'<>]++))"""
_TAG = re.compile(
    rf"<(?P<close>/?)(?P<name>{'|'.join(sorted([*INLINE, *BLOCKS], key=len, reverse=True))})(?:{_ATTRIBUTE})*+\s*+/?>"
    r"|<!--.{0,2000}?-->",
    re.IGNORECASE | re.DOTALL,
)
"""A tag of HTML. Other text in angle brackets (``<3``, ``<Untitled>``, ``a<b and c>d``) is text."""


def plain_text(text: str) -> str:
    """Return text without tags, comments and scripts, entities resolved; a tag that was written as entities goes too."""
    if "<" not in text and "&" not in text:
        return text
    return _without_tags(html.unescape(_without_tags(text)))


def _without_tags(text: str) -> str:
    if "<" not in text:
        return text
    parts, place, unseen = [], 0, None
    for tag in _TAG.finditer(text):
        name = (tag["name"] or "").lower()
        if unseen is None:
            parts += [text[place : tag.start()], "" if name in INLINE else " "]
            if name in UNSEEN and not tag["close"]:
                unseen = name
        elif tag["close"] and name == unseen:
            unseen = None
        place = tag.end() if unseen is None or tag["name"] == unseen else place
    return "".join(parts) + ("" if unseen else text[place:])
