"""``python -m goverse_cli.health gate|node [PATH]``: asks the process of the same container whether it lives.

The health check of the images. Where the process listens is read from the settings, as the process itself reads them;
the exit code is the answer. With a path, like ``/readyz`` or ``/metrics``, it prints what is served there, whatever the
status: for operators, whom network policies and missing shells keep from asking otherwise.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from typing import Final

from goverse.settings import Settings, load_settings

_PATIENCE_S: Final = 3.0


def place(kind: str, values: Settings) -> tuple[str, int]:
    """Return host and port at which the process answers ``/healthz``; an address for all is asked at loopback."""
    if kind == "node":
        host, _, port = (values.cluster.admin_listen or "127.0.0.1:7480").rpartition(":")
    else:
        host, port = values.gate.host, str(values.gate.port)
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)  # noqa: S104 - asked, not listened on


def _connection(kind: str, values: Settings) -> http.client.HTTPConnection:
    host, port = place(kind, values)
    if kind == "gate" and values.gate.tls_cert is not None:
        # It asks itself, over loopback: whether the certificate fits the name that callers use is not its question.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=_PATIENCE_S, context=context)
    return http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)


def lives(kind: str, values: Settings) -> bool:
    """Tell whether the process answers in time that it lives."""
    connection = _connection(kind, values)
    try:
        connection.connect()
        if kind == "gate" and values.gate.tls_client_ca is not None:
            return True  # it serves who shows a certificate only; that it shows its own has to do
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def served(kind: str, values: Settings, path: str) -> str | None:
    """Return what the process serves under a path, or None where it does not answer in time."""
    connection = _connection(kind, values)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def main() -> int:
    """Return 0 where the process lives, or answers under the path; 1 where it does not."""
    kind, *path = sys.argv[1:]
    values = load_settings(environ=os.environ).values
    if not path:
        return 0 if lives(kind, values) else 1
    answer = served(kind, values, path[0])
    sys.stdout.write(answer or "")
    return 1 if answer is None else 0


if __name__ == "__main__":
    sys.exit(main())
