"""Check that every link of the project's pages leads somewhere: to a file, and to a heading or anchor in it.

Prints each link that does not, and exits with 1 if there is one. Addresses of the web are not asked. Headings get the
anchors that GitHub and the site give them; a link to a heading that stands twice on a page is refused, because the two
number them in different ways.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_ID = re.compile(r'<a id="([^"]+)">')


def list_pages() -> list[Path]:
    """Return the pages that people read, at the top and below docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def slugify(heading: str) -> str:
    """Return the anchor of a heading: lower case, without punctuation, with hyphens for spaces."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@cache
def find_anchors(page: Path) -> Counter[str]:
    """Return how often each anchor stands on a page."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return Counter([*map(slugify, _HEADING.findall(text)), *_ID.findall(text)])


def find_broken_links(page: Path) -> Iterator[str]:
    """Yield a sentence for each link of a page that leads nowhere."""
    for link in _LINK.findall(_CODE.sub("", _FENCE.sub("", page.read_text("utf-8")))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists():
            yield f"{page.relative_to(ROOT)}: there is no {link}"
        elif anchor and (count := find_anchors(target)[anchor]) != 1:
            yield f"{page.relative_to(ROOT)}: {link} stands {count} times"


def main() -> int:
    """Print what is broken; return 1 when something is."""
    broken = [sentence for page in list_pages() for sentence in find_broken_links(page)]
    print("\n".join(broken) or f"{len(list_pages())} pages: every link leads somewhere")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
