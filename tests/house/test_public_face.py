"""The public API of `goverse` is small, sorted, complete and documented."""

import re
from types import ModuleType

import goverse
from goverse import errors
from goverse.errors import GoverseError
from tests.tree import ROOT, repository_files

NAMES_MAX = 50


def _order(name: str) -> tuple[int, str]:
    """Return the sort key of a name: constants, then classes, then the rest, as the linter sorts them."""
    if name.isupper():
        return 0, name
    return (1, name) if name[0].isupper() else (2, name)


def test_names_are_few_and_sorted() -> None:
    names = list(goverse.__all__)

    assert names == sorted(names, key=_order)
    assert 0 < len(names) <= NAMES_MAX
    assert len(names) == len(set(names))


def test_visible_names_equal_the_exports() -> None:
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


def _errors() -> dict[str, type[GoverseError]]:
    """Return every error class that `goverse.errors` defines, by name."""
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, GoverseError) and value.__module__ == errors.__name__
    }


def test_every_error_is_public_and_documented_with_its_code_and_where_it_is_imported_from() -> None:
    page = (ROOT / "docs" / "guide" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \**`(\w+)`\** (● )?\| `(\w+)` \|", page, re.MULTILINE)

    assert {name: code for name, _, code in rows} == {name: error.code for name, error in _errors().items()}
    assert {name for name, exported, _ in rows if exported} == _errors().keys() & set(goverse.__all__)
    assert not any(name.startswith("_") for name in _errors())


def test_the_page_of_compatibility_names_what_is_public() -> None:
    page = (ROOT / "docs" / "guide" / "compatibility.md").read_text(encoding="utf-8")

    assert "the names that `goverse` and `goverse.testing` export, and every class in `goverse.errors`" in page
