"""Tests of the file filter of `goverse dev`: the changes that reload an application."""

from pathlib import Path

import pytest
from watchfiles import Change

from goverse_cli.dev.watch import SourceFilter

FOLDER = Path("/project")


def concerned(filter_: SourceFilter, *names: str) -> list[str]:
    return [name for name in names if filter_(Change.modified, str(FOLDER / name))]


NAMES = ("shop/a.py", "shop/deep/b.py", "tests/test_a.py", "clients/c.py", "lib.py", "other.py", "shop/data.json")


@pytest.mark.parametrize(
    ("imported", "expected"),
    [
        (None, ["shop/a.py", "shop/deep/b.py", "tests/test_a.py", "clients/c.py", "lib.py", "other.py"]),
        ([], ["shop/a.py", "shop/deep/b.py"]),
        (["/project/lib.py"], ["shop/a.py", "shop/deep/b.py", "lib.py"]),
    ],
)
def test_the_package_and_what_it_imported_concern_it_or_all_until_an_import_succeeds(
    imported: list[str] | None, expected: list[str]
) -> None:
    concerns = SourceFilter(FOLDER, FOLDER / "shop", None)
    concerns.imported(["/project/other.py"])
    concerns.imported(imported)

    assert concerned(concerns, *NAMES) == expected


def test_hidden_folders_environments_and_the_rest_of_the_disk_never_do() -> None:
    concerns = SourceFilter(FOLDER, None, FOLDER / "goverse.yaml")

    assert (
        concerned(concerns, ".venv/x.py", "a/.hidden/x.py", "__pycache__/x.py", "node_modules/x.py", "/tmp/x.py") == []
    )
    assert concerned(concerns, "goverse.yaml", "app.py", "other.yaml") == ["goverse.yaml", "app.py"]
