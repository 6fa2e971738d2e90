"""Modules are named for things of the domain and open with a docstring that states their purpose."""

import ast

from tests.tree import PACKAGES, ROOT, python_files, shown

# Names that fit any content and therefore describe none.
EMPTY_NAMES = {
    *("base", "common", "helper", "helpers", "manager", "managers"),
    *("misc", "util", "utilities", "utils"),
}
ENTRIES_MAX = 18
SOURCE_FOLDERS = (*PACKAGES, "benchmarks", "sample-app", "scripts/operate", "tests")


def test_no_module_has_a_meaningless_name() -> None:
    unnamed = [
        shown(path)
        for path in python_files(*SOURCE_FOLDERS)
        for part in path.with_suffix("").parts[-2:]
        if EMPTY_NAMES & set(part.lower().split("_"))
    ]

    assert unnamed == []


def test_every_module_opens_with_a_docstring() -> None:
    silent: list[str] = []
    for path in python_files(*SOURCE_FOLDERS):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):
            silent.append(shown(path))

    assert silent == []


def test_the_top_of_the_node_fits_on_one_screen() -> None:
    entries = [entry.name for entry in (ROOT / "node" / "goverse_node").iterdir() if entry.name != "__pycache__"]

    assert len(entries) <= ENTRIES_MAX, sorted(entries)
