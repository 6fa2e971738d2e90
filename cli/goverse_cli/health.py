"""``python -m goverse_cli.health gate|node [PATH]``: health check of the process in the same container.

The images use it as their HEALTHCHECK. It finds the address of the process in the same settings that the process reads,
and exits with 0 if the process is alive and with 1 if it is not.

With a path, such as ``/readyz`` or ``/metrics``, it prints the response, whatever its status. Operators need this where
network policies block requests from outside and the image has no shell.

A container runs it every few seconds, so it must be cheap: it reads the few settings that it needs from the environment
and the file itself. Importing all settings costs more processor time than everything else. They are imported only if
one of those few is set in another spelling.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

_TIMEOUT_S: Final = 3.0
_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - connected to, not bound
_VARIABLES: Final = {
    "GOVERSE_GATE__HOST": ("gate", "host"),
    "GOVERSE_GATE__PORT": ("gate", "port"),
    "GOVERSE_GATE__TLS_CERT": ("gate", "tls_cert"),
    "GOVERSE_GATE__TLS_CLIENT_CA": ("gate", "tls_client_ca"),
    "GOVERSE_CLUSTER__ADMIN_LISTEN": ("cluster", "admin_listen"),
}
_DEFAULTS: Final = {("gate", "host"): "127.0.0.1", ("gate", "port"): "8000"}
_NODE: Final = "127.0.0.1:7480"


class Address(NamedTuple):
    """The address of a process.

    Attributes:
        host, port: the listen address; one that stands for all addresses is replaced by loopback.
        is_tls: True if the process speaks TLS there.
        wants_certificate: True if clients must show a certificate.
    """

    host: str
    port: int
    is_tls: bool = False
    wants_certificate: bool = False


def address_of(kind: str, environ: Mapping[str, str]) -> Address:
    """Return the address at which a gate or node with these variables serves ``/healthz``."""
    found = _settings(environ)
    if kind == "node":
        host, _, port = (found["cluster", "admin_listen"] or _NODE).rpartition(":")
    else:
        host, port = found["gate", "host"], found["gate", "port"]
    host = host.strip("[]")
    is_tls = kind == "gate" and bool(found["gate", "tls_cert"])
    return Address(_EVERY_ADDRESS.get(host, host), int(port), is_tls, is_tls and bool(found["gate", "tls_client_ca"]))


def _settings(environ: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return the settings of ``_VARIABLES``, empty if they have no value."""
    if any(_is_other_spelling(variable) for variable in environ):
        return _all_settings(environ)
    file = _file(environ.get("GOVERSE_CONFIG", ""))
    found: dict[tuple[str, str], str] = {}
    for variable, (section, name) in _VARIABLES.items():
        value: Any = environ.get(variable) or cast("dict[str, Any]", file.get(section) or {}).get(name)
        found[section, name] = _DEFAULTS.get((section, name), "") if value is None else str(value)
    return found


def _is_other_spelling(variable: str) -> bool:
    """True for ``GOVERSE_gate__port`` and ``GOVERSE_GATE__PORT_FILE``, for example."""
    return variable not in _VARIABLES and variable.upper().removesuffix("_FILE") in _VARIABLES


def _file(path: str) -> dict[str, Any]:
    if not path:
        return {}
    import yaml  # noqa: PLC0415 - only with a file

    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs more than the rest of this module
        return yaml.safe_load(file) or {}


def _all_settings(environ: Mapping[str, str]) -> dict[tuple[str, str], str]:
    from goverse.settings import load_settings  # noqa: PLC0415 - costs a second

    values = load_settings(environ=environ).values
    sections: dict[str, Any] = {"gate": values.gate, "cluster": values.cluster}
    read = {(section, name): getattr(sections[section], name) for section, name in _VARIABLES.values()}
    return {setting: "" if value is None else str(value) for setting, value in read.items()}


def _connection(address: Address) -> http.client.HTTPConnection:
    if address.is_tls:
        import ssl  # noqa: PLC0415 - only with TLS

        # A loopback connection to the same container: the certificate is for the name that callers use, not for it.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(address.host, address.port, timeout=_TIMEOUT_S, context=context)
    return http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)


def lives(address: Address) -> bool:
    """Return True if the process responds to ``/healthz`` with 200 in time."""
    connection = _connection(address)
    try:
        connection.connect()
        if address.wants_certificate:
            return True  # a completed handshake has to suffice
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def served(address: Address, path: str) -> str | None:
    """Return the response body of a path, or None if the process does not respond in time."""
    connection = _connection(address)
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
    address = address_of(kind, os.environ)
    if not path:
        return 0 if lives(address) else 1
    answer = served(address, path[0])
    sys.stdout.write(answer or "")
    return 1 if answer is None else 0


if __name__ == "__main__":
    sys.exit(main())
