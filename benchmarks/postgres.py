"""A temporary PostgreSQL server with default settings, for benchmarks, tests and ``make cluster``."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ports import free_port

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def _as_postgres(*command: str) -> str:
    """Run a server command as the user postgres if this process is root: PostgreSQL refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *command], check=True, capture_output=True, text=True, cwd="/")
    return done.stdout


@dataclass(frozen=True)
class Server:
    """A server that can be stopped and started again."""

    dsn: str
    version: str
    _binaries: Path
    _folder: Path
    _options: str

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self._control("-o", self._options, "-l", str(self._folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast`` ends all connections, ``immediate`` is equivalent to a crash."""
        self._control("-m", mode, "stop")

    def promote(self) -> None:
        """Promote a standby to primary."""
        self._control("promote")

    def copy_to(self, folder: Path) -> None:
        """Copy the data of the running server to ``folder``, as the base of a standby."""
        arguments = ["-D", str(folder), "-d", self.dsn, "-R", "--checkpoint=fast", "--no-sync"]
        _as_postgres(str(self._binaries / "pg_basebackup"), *arguments)

    def follow(self, primary: Server) -> None:
        """Replace the data of this stopped server by those of ``primary``, and start it as its standby."""
        shutil.rmtree(self._folder / "data")
        primary.copy_to(self._folder / "data")
        self.start()

    def _control(self, *arguments: str) -> None:
        _as_postgres(str(self._binaries / "pg_ctl"), "-D", str(self._folder / "data"), "-w", *arguments)


def _certify(folder: Path, tls: Mapping[str, Path]) -> str:
    """Configure a server to accept only TLS connections with a client certificate; return its additional options."""
    options = " -c ssl=on"
    for name, path in tls.items():
        copied = folder / name
        shutil.copyfile(path, copied)
        copied.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(copied, "postgres", "postgres")
        options += f" -c {name}={copied}"
    access = folder / "data" / "pg_hba.conf"
    lines = [line.replace("host ", "hostssl ", 1) for line in access.read_text().splitlines() if line[:1] != "#"]
    access.write_text("\n".join(f"{line} clientcert=verify-ca" if "hostssl" in line else line for line in lines) + "\n")
    return options


@contextmanager
def server(
    parent: Path, tls: Mapping[str, Path] | None = None, *, standby_of: Server | None = None
) -> Iterator[Server]:
    """Run a server whose data is under ``parent``.

    ``tls`` has certificate files by the names of PostgreSQL's settings. With ``standby_of`` the server is a standby.
    """
    if not BINARIES:
        raise SystemExit("PostgreSQL is not installed: scripts/install_system.sh postgresql")
    binaries = BINARIES[-1]
    folder = Path(tempfile.mkdtemp(prefix="goverse-postgres-", dir=parent))
    port = free_port()
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        if standby_of is not None:
            standby_of.copy_to(folder / "data")
        else:
            initdb = str(binaries / "initdb")
            _as_postgres(initdb, "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "--no-sync")
        version = _as_postgres(str(binaries / "postgres"), "--version").strip()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}" + (_certify(folder, tls) if tls else "")
        running = Server(f"postgresql://postgres@127.0.0.1:{port}/postgres", version, binaries, folder, options)
        running.start()
        try:
            yield running
        finally:
            with suppress(subprocess.CalledProcessError):  # a test may have stopped it
                running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres(parent: Path) -> Iterator[tuple[str, str]]:
    """Run a server whose data is under ``parent``; yields its data source name and version."""
    with server(parent) as running:
        yield running.dsn, running.version
