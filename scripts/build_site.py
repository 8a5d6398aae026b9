"""Build the docs as a site into ``site/`` with Zensical: pages of docs/, and those at the top that they link to.

Links are written anew for where pages stand in the site; one to a source file becomes its name. The build fails where
the site would ask another address for a font, a script, a style or a picture.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from os.path import relpath
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SITE = ROOT / "build" / "site", ROOT / "site"
TOP_PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
_CODE_OR_LINK = re.compile(
    r"```.*?^```$|`[^`\n]*`|(?<!!)\[([^]]*)\]\(([^()\s#]+)(#[^()\s]+)?\)", re.MULTILINE | re.DOTALL
)
_TIGHT = re.compile(r"^(?![-*|>#\s]|\d+\. |```)(.*\S.*)\n(?=[-*] |\d+\. |\|)", re.MULTILINE)
_OUTSIDE = re.compile(r'<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)="?((?:https?:)?//[^">\s]+)')


def place_in_site(page: Path) -> Path | None:
    """Return where a file of the project stands in the site; None where it has no place there."""
    if page.is_relative_to(ROOT / "docs"):
        return SOURCE / page.relative_to(ROOT / "docs")
    return SOURCE / page.name if page.parent == ROOT and page.name in TOP_PAGES else None


def rewrite_links(page: Path, text: str) -> str:
    """Return a page's text with links as they are from its place in the site, and code without our word for tests."""
    home = place_in_site(page)

    def rewrite(link: re.Match[str]) -> str:
        if link[2] is None or "://" in link[2]:
            return link[0].replace("```python test\n", "```python\n")
        target = place_in_site((page.parent / link[2]).resolve())
        if target is None or home is None:
            return link[1]
        if not target.suffix:
            target /= "README.md"
        return f"[{link[1]}]({relpath(target, home.parent)}{link[3] or ''})"

    return _CODE_OR_LINK.sub(rewrite, text)


def loosen_lists(text: str) -> str:
    """Return a page's text with an empty line before lists and tables, which GitHub does without."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _TIGHT.sub(r"\1\n\n", part) for part in parts)


def write_sources() -> None:
    """Fill ``build/site`` with the pages and pictures of the site."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE, ignore=shutil.ignore_patterns("*.ipynb"))
    for page in [*(ROOT / name for name in TOP_PAGES), *(ROOT / "docs").rglob("*.md")]:
        home = place_in_site(page)
        assert home is not None
        home.write_text(loosen_lists(rewrite_links(page, page.read_text("utf-8"))), encoding="utf-8")


def find_outside_requests() -> list[str]:
    """Return what pages of the site would ask of other addresses."""
    found = {(page.name, hit) for page in SITE.rglob("*.html") for hit in _OUTSIDE.findall(page.read_text("utf-8"))}
    return [f"{name}: {hit}" for name, hit in sorted(found)]


def main() -> int:
    """Build the site; return 1 where it asks anything of the network."""
    write_sources()
    subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=True)
    outside = find_outside_requests()
    print("\n".join(outside) or f"{SITE.relative_to(ROOT)}/index.html")
    return int(bool(outside))


if __name__ == "__main__":
    sys.exit(main())
