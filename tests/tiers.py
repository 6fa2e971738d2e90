"""The tiers of the tests, and the guard that keeps processes out of the quick one.

Each test is in one tier:

- *quick*: rules, contracts, the simulation, gates and nodes inside the test process, and pages without a shell.
  ``make test`` runs it. It starts no process (but those of ``ALLOWED_COMMANDS``), so it needs no server and no browser.
- *system*: the marker ``system``. Real processes, etcd, PostgreSQL, browsers, clients in other languages, and pages
  with their commands. ``make test-system`` runs it.
- *deploy*: the marker ``deploy``. It needs the tools of the chart. ``make verify-deploy`` runs it.

A test is in the system tier if it is below one of ``SYSTEM_PATHS``, if it uses one of ``SYSTEM_FIXTURES``, or if it has
the marker itself. A quick test that starts a process fails: an audit hook refuses the start and names the command. Code
that starts processes without Python's functions, such as uvloop, is found by the kernel's account of ended children.

A property (a test with examples of Hypothesis) tries ``EXAMPLES`` in the quick tier. ``make test-system`` runs all
properties once more with the profile *thorough*, which tries ``THOROUGH`` times as many. A property that needs another
number scales it by ``examples``. Another test with a long form gets its length as a parameter from ``forms``.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings

ROOT: Final = Path(__file__).resolve().parent.parent

QUICK_SELECTION: Final = "not system and not deploy"
SYSTEM_SELECTION: Final = "(system or hypothesis) and not deploy"

SYSTEM_PATHS: Final = (
    "tests/acceptance/test_auction_page.py",
    "tests/acceptance/test_container_limits.py",
    "tests/acceptance/test_memory_bound.py",
    "tests/chaos",
    "tests/deploy",
    "tests/docs/test_asynchronous_page.py",
    "tests/docs/test_fastapi_page.py",
    "tests/docs/test_own_project_page.py",
    "tests/docs/test_restore_by_hand.py",
    "tests/docs/test_security_page.py",
    "tests/docs/test_to_a_cluster.py",
    "tests/docs/test_walkthrough.py",
    "tests/house/test_distribution.py",
    "tests/house/test_protobuf.py",
    "tests/house/test_release.py",
    "tests/integration/cli",
    "tests/integration/cluster/test_pre_stop.py",
    "tests/integration/cluster/test_tls.py",
    "tests/integration/etcd",
    "tests/integration/gate/test_docs_in_a_browser.py",
    "tests/integration/gate/test_document_against_answers.py",
    "tests/integration/gate/test_frames_in_a_browser.py",
    "tests/integration/postgres",
    "tests/integration/project",
    "tests/integration/stores/test_load.py",
    "tests/integration/stores/test_lock.py",
    "tests/integration/stores/test_restore_object.py",
    "tests/integration/stores/test_running_time.py",
    "tests/integration/wire/test_broken_connections.py",
    "tests/kind/test_end_to_end.py",
    "tests/planted",
    "tests/sdk/test_generated.py",
    "tests/sdk/test_guide.py",
    "tests/sdk/test_live.py",
    "tests/sdk/test_typescript.py",
    "tests/unit/cli/test_images.py",
    "tests/unit/operate/test_recovery.py",
)
"""Folders and files without a quick test. ``make test`` does not import them."""
_OF_SYSTEM_ONLY: Final = frozenset(ROOT / name for name in SYSTEM_PATHS)

SYSTEM_FIXTURES: Final = frozenset({"etcd_server", "postgres_server"})
"""Fixtures that start a server, directly or through another fixture."""

ALLOWED_COMMANDS: Final = frozenset(
    {
        "git",  # lists the files of the repository for tests about the source, once per test process
        "uname",  # `platform` asks it for the processor, once per test process
        "goverse_node.stores.wal.compact",  # the WAL store writes its snapshots in a child process
    }
)

EXAMPLES: Final = 25
THOROUGH: Final = 8

_STARTS: Final = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system"})


def examples(quick: int) -> int:
    """Return the number of examples of a property that tries ``quick`` of them in the quick tier."""
    return quick * THOROUGH if settings.get_current_profile_name().startswith("thorough") else quick


def forms(*, quick: object, system: object) -> list[Any]:
    """Return the values of a parameter that makes a test short in the quick tier and long in the system tier."""
    return [pytest.param(quick, id="short"), pytest.param(system, id="long", marks=pytest.mark.system)]


def tier_of(item: pytest.Item) -> str:
    """Return the tier of a test by its markers."""
    return next((name for name in ("deploy", "system") if item.get_closest_marker(name)), "quick")


@cache
def of_system_only(path: Path) -> bool:
    """Return True if ``path`` is one of ``SYSTEM_PATHS`` or below one."""
    return not _OF_SYSTEM_ONLY.isdisjoint((path, *path.parents))


def is_system(item: pytest.Item) -> bool:
    """Return True if a test without the marker belongs to the system tier."""
    return of_system_only(item.path) or not SYSTEM_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def selects_quick(config: pytest.Config) -> bool:
    """Return True if this run selects what ``make test`` selects."""
    return bool(config.getoption("markexpr") == QUICK_SELECTION)


class ProcessGuard:
    """Refuses the start of processes while a quick test runs."""

    def __init__(self) -> None:
        self._watching = False
        self._allowed = False
        self._faults_before = 0
        sys.addaudithook(self._audit)

    def begin(self) -> None:
        """Watch from now on."""
        self._allowed = False
        self._faults_before = _faults_of_children()
        self._watching = True

    def end(self) -> None:
        """Watch no longer. Fails if a child process ended meanwhile, however it was started."""
        self._watching = False
        if not self._allowed and _faults_of_children() != self._faults_before:
            pytest.fail(f"a child process of this test has ended. {_ADVICE}", pytrace=False)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching or event not in _STARTS:
            return
        command = _command(event, arguments)
        if not ALLOWED_COMMANDS.isdisjoint((*command[1:], *(Path(word).name for word in command[:1]))):
            self._allowed = True
        else:
            pytest.fail(f"this test starts a process: {' '.join(command) or event}. {_ADVICE}", pytrace=False)


_ADVICE: Final = "Tests of `make test` start none: use a twin, or mark the test with `system` (tests/tiers.py)"


def _command(event: str, arguments: Sequence[Any]) -> list[str]:
    words = arguments[1] if event in ("subprocess.Popen", "os.posix_spawn", "os.exec") else arguments[:1]
    return [str(word) for word in ([words] if isinstance(words, str | bytes) else words or ())]


def _faults_of_children() -> int:
    """Return the page faults of all children that ended: each process causes some."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
