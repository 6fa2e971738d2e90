"""Location and import of an application, and the errors if that fails."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from goverse.errors import ConfigError
from goverse.objects.application import find_target, load_application

COUNTER = """
from goverse import Object, call


class Counter(Object):
    value: int = 0

    @call
    async def increment(self, by: int = 1) -> int:
        self.value += by
        return self.value
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run the test in an empty folder; remove the modules that it imports from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(dedent(text), encoding="utf-8")


def served(name: str) -> list[str]:
    return [spec.name for spec in load_application(name).registry]


def refused(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_application(name)
    return caught.value.detail


@pytest.mark.requirement("OBJ-1")
def test_a_file_serves_all_object_types_in_it_even_imported_ones(folder: Path) -> None:
    write("counting.py", COUNTER)
    write(
        "app.py",
        """
        from goverse import Object, call
        from counting import Counter

        class Base(Object, abstract=True):
            pass

        class Cart(Base):
            items: list[str] = []

        Alias = Cart
        """,
    )

    assert served("app.py") == ["Cart", "Counter"]
    assert served(str(folder / "app.py")) == ["Cart", "Counter"]
    assert find_target("app.py").folder == folder


def test_a_package_folder_serves_the_types_in_its_init_and_relative_imports_work(folder: Path) -> None:
    write("shops/shop/__init__.py", "from .objects.counter import Counter\n")
    write("shops/shop/objects/__init__.py", "")
    write("shops/shop/objects/counter.py", COUNTER)

    assert served("shops/shop") == ["Counter"]
    assert served("shops/shop/") == ["Counter"]
    target = find_target("shops/shop/objects/counter.py")
    assert (target.module, target.folder) == ("shop.objects.counter", folder / "shops")


def test_a_module_name_and_an_attribute(folder: Path) -> None:
    write("shop/__init__.py", "")
    write(
        "shop/objects.py",
        COUNTER
        + "\nclass Hidden(Object):\n    pass\n\nfrom goverse.objects.registry import Registry\n"
        + "CLASSES = [Counter]\nREGISTRY = Registry([Hidden])\n",
    )

    assert served("shop.objects") == ["Counter", "Hidden"]
    assert served("shop.objects:CLASSES") == ["Counter"]
    assert served("shop/objects.py:REGISTRY") == ["Hidden"]
    assert "did you mean 'CLASSES'" in refused("shop.objects:CLASES")
    assert "neither a list" in refused("shop.objects:__name__") or "not an object type" in refused(
        "shop.objects:__name__"
    )


def test_a_file_may_be_named_like_a_module_of_the_standard_library(folder: Path) -> None:
    write("calendar.py", COUNTER)

    assert served("calendar.py") == ["Counter"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conter.py", "file or folder not found: conter.py; did you mean counter.py?"),
        ("counte", "file, folder or module not found: 'counte'; did you mean counter.py?"),
        ("shp/", "file or folder not found: shp/; did you mean shop?"),
        ("nowhere/app.py", "file or folder not found: nowhere/app.py; the folder nowhere does not exist"),
        (
            "shop.objcts",
            "file, folder or module not found: 'shop.objcts'; did you mean shop/objects.py?",
        ),
        (
            "loose",
            "loose is a folder, not a package: it has no __init__.py; available: loose/a.py",
        ),
        (
            "zzz",
            "file, folder or module not found: 'zzz'; available: counter.py, shop",
        ),
    ],
)
def test_a_missing_target_is_reported_with_the_nearest_name(name: str, said: str) -> None:
    write("counter.py", COUNTER)
    write("shop/__init__.py", "")
    write("shop/objects.py", COUNTER)
    write("loose/a.py", COUNTER)

    assert refused(name) == said


def test_a_file_without_object_types_gets_an_example_of_one() -> None:
    write("empty.py", "x = 1\n")
    write("shop/__init__.py", "")

    assert "empty.py has no object types" in refused("empty.py")
    assert "class Counter(Object):" in refused("empty.py")
    assert "__init__.py has to import the classes" in refused("shop")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f():\n    return 1/0\n\nf()\n", 'broken.py", line 2, in f\n    return 1/0'),
        ("class A(:\n", 'broken.py", line 1\n    class A(:'),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("import absent_package\n", "No module named 'absent_package'"),
        (
            "from goverse import Object\nclass A(Object, colour=1):\n    pass\n",
            "unknown class option 'colour'",
        ),
    ],
)
def test_a_broken_file_is_shown_with_the_users_own_lines_only(text: str, said: str) -> None:
    write("broken.py", text)
    write("app.py", "import broken\n")

    detail = refused("app.py")

    assert detail.startswith("app cannot be imported:\n")
    assert said in detail
    assert 'app.py", line 1' in detail or "SyntaxError" in detail
    assert "importlib" not in detail
    assert "goverse/objects" not in detail


def test_a_class_that_breaks_a_rule_of_the_model_is_named() -> None:
    write("app.py", "from goverse import Object\nclass A(Object):\n    id: str = ''\n")

    assert refused("app.py") == "app: A.id: the name is taken by the object model; choose another"
