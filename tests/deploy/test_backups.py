"""Tests of the CronJob's dump and the tool's restore on a real PostgreSQL: concurrent dumps, foreign tables, damage."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.postgres import BINARIES, server
from scripts.operate import restoring
from tests.deploy.rendering import Document, documents, named
from tests.tree import ROOT

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-6")]


def cronjob(kind: str, values: str = "everything") -> Document:
    """Return a CronJob of the chart."""
    return named(documents(values), "CronJob", f"goverse-backup-{kind}")


def dumping(document: Document) -> Document:
    """Return the container that creates the dump."""
    pod = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return next(each for each in pod["initContainers"] if each["name"] == "dump")


@dataclass
class Site:
    """A database with the schema, and the folder of its dumps."""

    dsn: str
    folder: Path
    script: str

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program with the environment variables of the Pods."""
        roots = os.pathsep.join(str(ROOT / root) for root in ("shared", "node", "gate", "cli"))
        path = f"{self.folder.parent / 'bin'}:{BINARIES[-1]}:{os.environ['PATH']}"
        known = {**os.environ, "PATH": path, "PYTHONPATH": roots, "DSN": self.dsn, "FOLDER": str(self.folder)}
        return subprocess.run(words, env=known | variables, capture_output=True, text=True, timeout=120, check=False)

    def well(self, *words: str, **variables: str) -> str:
        """Run a program that must succeed."""
        ran = self.run(*words, **variables)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def dump(self, pod: str) -> subprocess.CompletedProcess[str]:
        """Run the commands of the container that creates the dump."""
        return self.run("bash", "-c", self.script, POD_NAME=pod)

    def keep(self, pod: str, count: int = 1) -> subprocess.CompletedProcess[str]:
        """Run the commands of the container that renames the dump."""
        return self.run(
            sys.executable, "-m", "goverse_cli.backups", "keep", str(self.folder), "postgres", pod, str(count)
        )

    def shim(self, name: str, text: str) -> None:
        """Put another program of this name before the real one on the path."""
        path = self.folder.parent / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def names(self) -> list[str]:
        """Return the names of the complete dumps."""
        return sorted(path.name for path in self.folder.glob("postgres-*Z"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A database with an empty schema of this release."""
    with server(Path(tempfile.gettempdir())) as postgres:
        made = Site(postgres.dsn, tmp_path / "backup" / "goverse", dumping(cronjob("postgres"))["command"][-1])
        made.well(sys.executable, "-m", "goverse_cli", "db", "migrate", GOVERSE_POSTGRES__DSN=postgres.dsn)
        made.well(sys.executable, "-m", "goverse_cli.backups", "prepare", str(made.folder))
        yield made


def test_a_dump_that_cannot_be_read_to_its_end_replaces_nothing(site: Site) -> None:
    assert site.dump("a").returncode == 0
    assert site.keep("a").returncode == 0
    (before,) = site.names()

    real = BINARIES[-1] / "pg_dump"
    site.shim(
        "pg_dump",
        f'{real} "$@" && for word; do case $word in --file=*) truncate -s -300 "${{word#--file=}}";; esac; done',
    )
    assert site.dump("b").returncode != 0
    assert site.names() == [before]


def test_concurrent_backups_are_two_complete_dumps(site: Site) -> None:
    pods = ["a", "b"]
    assert [site.dump(pod).returncode for pod in pods] == [0, 0]
    assert [site.keep(pod, 2).returncode for pod in pods] == [0, 0]

    assert len(site.names()) == 2
    for name in site.names():
        site.well("pg_restore", "--file=/dev/null", str(site.folder / name))


def test_tables_of_others_are_neither_dumped_nor_touched(site: Site) -> None:
    site.well("psql", site.dsn, "-qc", "CREATE TABLE public.invoices (id int); INSERT INTO public.invoices VALUES (1)")
    assert site.dump("a").returncode == 0
    partial = str(site.folder / "postgres.a.partial")
    assert "invoices" not in site.well("pg_restore", "--list", partial)

    whole = str(site.folder / "of-all")  # as an operator's own pg_dump writes it
    site.well("pg_dump", "--format=custom", f"--file={whole}", f"--dbname={site.dsn}")
    for dump in (partial, whole):
        site.well("psql", site.dsn, "-qc", "UPDATE public.invoices SET id = id + 1; DROP TABLE goverse.changes CASCADE")
        site.well("bash", "-c", restoring.RESTORE, DUMP=dump)
        assert site.well("psql", site.dsn, "-Atc", "SELECT to_regclass('goverse.changes')").strip() == "goverse.changes"
    assert site.well("psql", site.dsn, "-Atc", "SELECT id FROM public.invoices").strip() == "3"
    site.well(sys.executable, "-m", "goverse_cli", "db", "verify", GOVERSE_POSTGRES__DSN=site.dsn)


@pytest.mark.parametrize("major", [9, 99])
def test_a_dump_by_another_major_release_is_refused(site: Site, major: int) -> None:
    real = BINARIES[-1] / "pg_dump"
    site.shim("pg_dump", f'[ "$1" = --version ] && echo "pg_dump (PostgreSQL) {major}.1" || exec {real} "$@"')
    ran = site.dump("a")

    assert ran.returncode != 0
    assert f"pg_dump is version {major}" in ran.stderr
    assert list(site.folder.iterdir()) == []


def test_the_way_back_over_a_migration_is_with_the_tools_of_the_old_release(site: Site, tmp_path: Path) -> None:
    migrations = Path("goverse_node/stores/postgres/migrations")
    newer = tmp_path / "newer"
    shutil.copytree(ROOT / "node", newer)
    (newer / migrations / "0099_more.sql").write_text("CREATE TABLE goverse.more (n integer);\n", encoding="utf-8")
    roots = [newer, *(ROOT / root for root in ("shared", "gate", "cli"))]
    new = {"PYTHONPATH": os.pathsep.join(map(str, roots)), "GOVERSE_POSTGRES__DSN": site.dsn}
    old = {"GOVERSE_POSTGRES__DSN": site.dsn}
    cli = (sys.executable, "-m", "goverse_cli", "db")
    assert site.dump("a").returncode == 0
    site.well(*cli, "migrate", **new)
    assert site.run(*cli, "status", **old).returncode != 0, "the old release refuses an unknown migration"

    pod = restoring.after_job(cronjob("postgres"), "of-the-rollback", "now")["spec"]["template"]["spec"]
    steps = [each["args"] for each in (*pod["initContainers"], *pod["containers"])]
    assert steps == [["db", "migrate"], ["db", "verify"]]
    site.well("bash", "-c", restoring.RESTORE, DUMP=str(site.folder / "postgres.a.partial"))
    for _, step in steps:
        site.well(*cli, step, **old)
    site.well(*cli, "status", **old)


def test_releases_on_one_volume_have_folders_of_their_own_which_the_restore_finds() -> None:
    document = cronjob("postgres", "existing-secrets")
    folders = {
        variable["value"]
        for kind in ("postgres", "etcd")
        for variable in dumping(cronjob(kind, "existing-secrets"))["env"]
        if variable["name"] == "FOLDER"
    }
    job = restoring.restore_job(document, "postgres-20260501T021700Z", "now")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (dump,) = [each["value"] for each in container["env"] if each["name"] == "DUMP"]

    assert folders == {"/backup/goverse"}
    assert dump == "/backup/goverse/postgres-20260501T021700Z"
    assert "$(FOLDER)/etcd.$(POD_NAME).partial" in dumping(cronjob("etcd", "existing-secrets"))["command"]
