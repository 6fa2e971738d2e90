"""A private PgBouncer for one test, in front of one PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.ports import free_port
from benchmarks.postgres import Server

PROGRAM = "/usr/sbin/pgbouncer"
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Pooler:
    """A running PgBouncer."""

    dsn: str
    _folder: Path
    _process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the process and thus every connection."""
        self._process.terminate()
        self._process.wait(_PATIENCE_S)


@contextmanager
def pgbouncer(running: Server, mode: str, *, port: int = 0, pool_size: int = 20, more: str = "") -> Iterator[Pooler]:
    """Run PgBouncer with a pool mode: ``session``, ``transaction`` or ``statement``."""
    target = urlsplit(running.dsn)
    port = port or free_port()
    folder = Path(tempfile.mkdtemp(prefix="goverse-pgbouncer-", dir="/var/tmp"))
    (folder / "users.txt").write_text('"postgres" ""\n', encoding="utf-8")
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
postgres = host={target.hostname} port={target.port} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users.txt
pool_mode = {mode}
default_pool_size = {pool_size}
{more}
""",
        encoding="utf-8",
    )
    command = [PROGRAM, str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:  # PgBouncer refuses to run as root
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres", "postgres")
        command = ["runuser", "-u", "postgres", "--", *command]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    pooler = Pooler(f"postgresql://postgres@127.0.0.1:{port}/postgres", folder, process)
    try:
        _await_listening(port, process, folder / "log")
        yield pooler
    finally:
        if process.poll() is None:
            pooler.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
        if process.returncode is not None or time.monotonic() > end:
            raise RuntimeError(f"PgBouncer does not listen: {log.read_text(encoding='utf-8')}")
