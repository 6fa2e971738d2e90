"""Dependencies: every import is declared, every declared package is used, and each has a documented reason."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions

from tests.tree import PACKAGES, ROOT, python_files

PAGE = ROOT / "docs" / "design" / "dependencies.md"

# Packages that are imported but not declared, with the reason.
BROUGHT_ALONG = {
    "pydantic-core": "pydantic pins it to the one version that it works with; a second opinion could only break that",
    "pytest": "imported by the pytest plugin alone, which pytest loads",
    "pytest-asyncio": "used by the pytest plugin where it is installed",
}

# Packages that are declared but not imported, with the reason.
NOT_IMPORTED = {
    "fastapi-offline": "only its files are used, through importlib.resources",
}


def _normal(name: str) -> str:
    """Return the normalized name of a distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(requirements: Iterable[str]) -> set[str]:
    return {_normal(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


def _project() -> dict[str, list[str]]:
    """Return the declared requirements: those for run time under "", and those of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _distributions_of(folders: Iterable[str]) -> set[str]:
    """Return the distributions whose modules the code in these folders imports."""
    providers = packages_distributions()
    ours = {*PACKAGES.values(), "auction_house", "benchmarks", "tests"}
    modules = {
        module for path in python_files(*folders) for module in _imported(ast.parse(path.read_text(encoding="utf-8")))
    }
    foreign = modules - ours - sys.stdlib_module_names
    return {_normal(name) for module in foreign for name in providers.get(module, [module])}


def test_shipped_code_imports_exactly_what_is_declared() -> None:
    declared, imported = _names(_project()[""]), _distributions_of(PACKAGES)

    assert imported - declared == set(BROUGHT_ALONG)
    assert declared - imported == set(NOT_IMPORTED)


def test_every_declared_package_has_a_row_with_a_reason() -> None:
    tables = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = {_normal(word) for line in tables for word in re.split(r"[|, *`]+", line.split("|")[1]) if word}
    declared = {name for requirements in _project().values() for name in _names(requirements)} - {"goverse"}

    assert declared - rows == set()


def test_every_declared_package_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    declared = {name for requirements in _project().values() for name in _names(requirements)} - {"goverse"}

    assert declared - _names(pin for pin in pins if not pin.startswith("#")) == set()
