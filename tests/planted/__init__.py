"""Planted bugs: each entry breaks one rule of the product, and names a test that must fail because of it.

To add an entry, write a function that breaks the rule and list it in a module of ``tests/planted/bugs`` (one module
per area; modules are discovered, so no other file is edited)::

    # tests/planted/bugs/keys.py
    import pytest

    from goverse_node.runtime.idempotency import Leaders
    from tests.planted import Planted


    def _forget_replies(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Leaders, "deduplicate", lambda *_: False)


    PLANTED = (
        Planted(
            "kept-replies-are-forgotten",
            _forget_replies,
            "tests/unit/node/test_idempotency.py::test_a_repeated_key_gets_the_first_reply",
            complaint="assert 2 == 1",
        ),
    )

``python -m tests.planted`` runs the whole list and prints a line per entry; ``python -m tests.planted NAME ...`` runs
some entries. ``tests/planted/test_planted.py`` runs the list as a test.

Rules:

1. All named tests are collected once. Each then runs in a forked process: without a bug, where it must pass, and
   once per bug, where it must fail in its own body. Processes share no state, so a bug may corrupt anything.
2. The bug is planted after all modules were imported and before the fixtures of the test. Replace attributes of
   classes or of the modules that use a function; a name that another module imported earlier keeps its old value.
3. ``complaint`` is a text that the failure's report must contain: the test has to fail because of the rule, not because
   the planted code does not run. Choose a part of the assertion that fails.
4. Choose a test that fails fast and needs no server: the whole list runs for less than 90 s on an idle machine. Under
   a bug ``tests.nodes.PATIENCE_S`` is reduced to ``PATIENCE_S`` (below), because a condition that a bug prevents never
   becomes true. A parametrised test is named with its parameters.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

PATIENCE_S: Final = 3.0


class Planted(NamedTuple):
    """A planted bug.

    Attributes:
        name: the broken rule, in lower case with hyphens; unique.
        plant: the function that breaks the rule.
        found_by: the node id of the test that must fail.
        complaint: a part of the failure's report.
    """

    name: str
    plant: Callable[[pytest.MonkeyPatch], None]
    found_by: str
    complaint: str


def planted_bugs() -> dict[str, Planted]:
    """Return all entries by name."""
    from tests.planted import bugs

    found: dict[str, Planted] = {}
    for module in sorted(pkgutil.iter_modules(bugs.__path__), key=lambda each: each.name):
        entries: tuple[Planted, ...] = importlib.import_module(f"{bugs.__name__}.{module.name}").PLANTED
        for entry in entries:
            assert entry.name not in found, f"two bugs are named {entry.name!r}"
            found[entry.name] = entry
    return found
