"""Links between the pages of this repository resolve, and the index lists every design page."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.tree import ROOT, repository_files, shown

FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,}).*?^\1\2[ \t]*$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
INLINE = re.compile(r"\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?\s*$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")


def _pages() -> list[Path]:
    return [path for path in repository_files() if path.suffix == ".md"]


def _links(text: str) -> Iterator[str]:
    prose = CODE.sub("", FENCE.sub("", text))
    yield from INLINE.findall(prose)
    yield from REFERENCE.findall(prose)


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found = set(ANCHOR.findall(text))
    seen: dict[str, int] = {}
    for heading in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def _fault(page: Path, link: str) -> str | None:
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return None
    name, _, anchor = unquote(link).partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return "leads nowhere"
    if anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text(encoding="utf-8")):
        return "has no such heading"
    return None


@pytest.mark.parametrize("page", _pages(), ids=shown)
def test_links_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = [f"{link} {fault}" for link in _links(text) if (fault := _fault(page, link))]

    assert broken == []


def test_every_design_page_is_in_the_index() -> None:
    folder = ROOT / "docs" / "design"
    linked = set(_links((folder / "README.md").read_text(encoding="utf-8")))
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}

    assert pages - linked == set()


def test_links_in_code_are_not_links() -> None:
    text = "[a](one.md) `[b](two.md)`\n\n```text\n[c](three.md)\n```\n\n[d]: four.md\n"

    assert list(_links(text)) == ["one.md", "four.md"]


def test_headings_become_anchors() -> None:
    text = "# The `WAL`, in short\n\n## Again\n\n## Again\n\n```bash\n# not a heading\n```\n"

    assert _anchors(text) == {"the-wal-in-short", "again", "again-1"}
