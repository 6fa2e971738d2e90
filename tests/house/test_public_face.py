"""`goverse` has one public face: small, sorted, complete and documented."""

import re
from types import ModuleType

import goverse
from tests.tree import ROOT, repository_files

NAMES_MAX = 50


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that the linter keeps as well."""
    if name.isupper():
        return 0, name
    return (1, name) if name[0].isupper() else (2, name)


def test_names_are_few_and_sorted() -> None:
    names = list(goverse.__all__)

    assert names == sorted(names, key=_order)
    assert 0 < len(names) <= NAMES_MAX
    assert len(names) == len(set(names))


def test_what_is_visible_is_what_is_exported() -> None:
    visible = {
        name for name, value in vars(goverse).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert visible == {name for name in goverse.__all__ if not name.startswith("_")}
    assert all(hasattr(goverse, name) for name in goverse.__all__)


def test_every_name_is_documented() -> None:
    guide = ROOT / "docs" / "guide"
    pages = [ROOT / "README.md", *(path for path in repository_files() if path.is_relative_to(guide))]
    words = {word for page in pages for word in re.findall(r"\w+", page.read_text(encoding="utf-8"))}

    assert [name for name in goverse.__all__ if name not in words] == []
