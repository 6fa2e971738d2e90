"""The wheel and the source archive contain all packages.

hatchling does not report a package root that it does not find or a file that git ignores. So the wheel is built here,
without a network, and compared with the folders.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.tree import PACKAGES, ROOT


def _build(target: str, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with zipfile.ZipFile(_build("wheel", tmp_path_factory.mktemp("wheel"))) as wheel:
        return set(wheel.namelist())


def _files_of_packages() -> set[str]:
    """Return every file of every package folder. A wheel needs also those that git ignores by mistake."""
    return {
        path.relative_to(ROOT / folder).as_posix()
        for folder, package in PACKAGES.items()
        for path in (ROOT / folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


# The Dockerfile of a part is in the folder of the part.
IMAGES = {"cli", "gate", "node"}


def test_every_root_holds_its_package_and_nothing_loose() -> None:
    for folder, package in PACKAGES.items():
        inside = {path.name for path in (ROOT / folder).iterdir()} - {"__pycache__"}
        assert inside == ({package, "Dockerfile"} if folder in IMAGES else {package})
        assert (ROOT / folder / package / "py.typed").is_file()


def test_no_package_is_outside_the_known_roots() -> None:
    found = {(path.parent.parent.name, path.parent.name) for path in ROOT.glob("*/goverse*/__init__.py")}

    assert found == set(PACKAGES.items())


def test_every_folder_with_modules_is_a_package() -> None:
    for folder, package in PACKAGES.items():
        for module in (ROOT / folder / package).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module.parent} has no __init__.py"


def test_the_wheel_holds_exactly_the_packages(wheel_names: set[str]) -> None:
    packaged = {name for name in wheel_names if ".dist-info/" not in name}

    assert packaged == _files_of_packages()


def test_the_wheel_carries_command_and_licence(wheel_names: set[str]) -> None:
    information = {name.partition(".dist-info/")[2] for name in wheel_names if ".dist-info/" in name}

    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= information


def test_the_source_archive_holds_the_roots_and_no_more(tmp_path: Path) -> None:
    with tarfile.open(_build("sdist", tmp_path)) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}

    expected = {*PACKAGES, "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    # hatchling always adds .gitignore, its list of excluded files.
    assert top - {".gitignore"} == expected
