"""The Python code of the guides works: each page is imported, its classes are registered, its tests are run."""

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from goverse import Object
from goverse.objects.registry import Registry
from goverse.testing import ObjectHost
from tests.tree import ROOT, repository_files, shown

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# The files of this page form a package: test_own_project_page.py runs the page.
PACKAGES = {"own-project.md"}
GUIDE = ROOT / "docs" / "guide"
# The class that pages may use without defining it, because the reader knows it from the README.
COUNTER = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0]


def _guides() -> list[Path]:
    pages = [
        path
        for path in repository_files()
        if path.parent == GUIDE and path.suffix == ".md" and path.name not in PACKAGES
    ]
    return [page for page in pages if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.fixture
def guide(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """All Python code of one page, imported as one module."""
    page: Path = request.param
    file = tmp_path / f"{page.stem.replace('-', '_')}_guide.py"
    file.write_text("\n\n".join([COUNTER, *BLOCK.findall(page.read_text(encoding="utf-8"))]), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    return module


def _own(module: ModuleType, kind: type) -> Iterator[type]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__:
            yield value


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize("guide", _guides(), ids=shown, indirect=True)
async def test_the_python_of_a_guide_works(guide: ModuleType, goverse_host: type[ObjectHost]) -> None:
    fixtures = {"goverse_host": goverse_host}
    assert [spec.name for spec in Registry(_own(guide, Object))]
    for name, value in vars(guide).items():
        if name.startswith("test_") and inspect.iscoroutinefunction(value):
            await value(**{each: fixtures[each] for each in inspect.signature(value).parameters})


def test_guides_show_python() -> None:
    assert {"objects.md", "testing.md", "errors.md"} <= {page.name for page in _guides()}
