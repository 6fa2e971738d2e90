"""``python -m goverse_cli.health gate|node [PATH]``: health check of the process in the same container.

The images use it as their HEALTHCHECK. It finds the address of the process in the same settings that the process reads,
and exits with 0 if the process is alive and with 1 if it is not.

With a path, such as ``/readyz`` or ``/metrics``, it prints the response, whatever its status. Operators need this where
network policies block requests from outside and the image has no shell.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from typing import Final

from goverse.settings import Settings, load_settings

_TIMEOUT_S: Final = 3.0


def place(kind: str, values: Settings) -> tuple[str, int]:
    """Return host and port of the process's ``/healthz``; an unspecified listen address is replaced by loopback."""
    if kind == "node":
        host, _, port = (values.cluster.admin_listen or "127.0.0.1:7480").rpartition(":")
    else:
        host, port = values.gate.host, str(values.gate.port)
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)  # noqa: S104 - connected to, not bound


def _connection(kind: str, values: Settings) -> http.client.HTTPConnection:
    host, port = place(kind, values)
    if kind == "gate" and values.gate.tls_cert is not None:
        # A loopback connection to the same container: the certificate is for the name that callers use, not for it.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
    return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)


def lives(kind: str, values: Settings) -> bool:
    """Return True if the process responds to ``/healthz`` with 200 in time."""
    connection = _connection(kind, values)
    try:
        connection.connect()
        if kind == "gate" and values.gate.tls_client_ca is not None:
            return True  # the gate requires a client certificate, so a completed handshake has to suffice
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def served(kind: str, values: Settings, path: str) -> str | None:
    """Return the response body of a path, or None if the process does not respond in time."""
    connection = _connection(kind, values)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def main() -> int:
    """Return 0 if the process is alive, or responds to the path, and 1 otherwise."""
    kind, *path = sys.argv[1:]
    values = load_settings(environ=os.environ).values
    if not path:
        return 0 if lives(kind, values) else 1
    answer = served(kind, values, path[0])
    sys.stdout.write(answer or "")
    return 1 if answer is None else 0


if __name__ == "__main__":
    sys.exit(main())
