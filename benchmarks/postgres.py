"""A PostgreSQL of the benchmark's own: Debian's server, default settings, in a folder that goes away."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as_postgres(*command: str) -> str:
    """Run a server command as the user who may: PostgreSQL refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *command], check=True, capture_output=True, text=True, cwd="/")
    return done.stdout


@contextmanager
def postgres(parent: Path) -> Iterator[tuple[str, str]]:
    """Run a server whose data is under ``parent``; give its DSN and version."""
    if not BINARIES:
        raise SystemExit("PostgreSQL is not installed: scripts/install_system.sh postgresql")
    binaries = BINARIES[-1]
    folder = Path(tempfile.mkdtemp(prefix="goverse-postgres-", dir=parent))
    data, port = folder / "data", free_port()
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        _as_postgres(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        _as_postgres(str(binaries / "pg_ctl"), "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            version = _as_postgres(str(binaries / "postgres"), "--version").strip()
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres", version
        finally:
            _as_postgres(str(binaries / "pg_ctl"), "-D", str(data), "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
