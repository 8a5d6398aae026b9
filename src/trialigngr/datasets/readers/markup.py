"""HTML as shops' pages leave it in texts: tags, entities, scripts."""

from __future__ import annotations

import html
import re

INLINE = "a|abbr|b|big|em|font|i|s|small|span|strong|sub|sup|tt|u"
"""Tags that stand within a word; all others end one."""
BLOCKS = (
    "area|article|aside|blockquote|body|br|button|center|code|dd|div|dl|dt|fieldset|footer|form|h1|h2|h3|h4|h5|h6|head"
    "|header|hr|html|iframe|img|input|label|li|link|main|map|meta|nav|noscript|object|ol|option|p|param|pre|script"
    "|section|select|style|table|tbody|td|textarea|tfoot|th|thead|title|tr|ul|video"
)
UNSEEN = {"<script": "</script", "<style": "</style", "<!--": "-->"}
"""What opens a part that is no text → what closes it."""
_ATTRIBUTE = r"""\s++[\w:@.-]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'<>]++))"""
_TAG = re.compile(
    rf"<(?P<close>/?)(?P<name>{INLINE}|{BLOCKS})(?:{_ATTRIBUTE})*+\s*+/?>"
    r"|<!--|-->",
    re.IGNORECASE,
)
"""A tag of HTML. Other text in angle brackets (``<3``, ``<Untitled>``, ``a<b and c>d``) is text."""


def plain_text(text: str) -> str:
    """Return text without tags, comments and scripts, entities resolved; a tag written as entities goes too."""
    if "<" not in text and "&" not in text:
        return text
    return _without_tags(html.unescape(_without_tags(text)))


def _without_tags(text: str) -> str:
    if "<" not in text:
        return text
    parts: list[str] = []
    place, until = 0, ""
    for tag in _TAG.finditer(text):
        written = tag[0].lower()
        if until:
            if written.startswith(until):
                place, until = tag.end(), ""
        elif written != "-->":
            name = (tag["name"] or "").lower()
            parts += [text[place : tag.start()], "" if name in INLINE.split("|") else " "]
            place, until = tag.end(), UNSEEN.get(written[: 1 + len(name)] if name else written, "")
    return "".join(parts) + ("" if until else text[place:])
