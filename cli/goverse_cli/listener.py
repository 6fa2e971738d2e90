"""The socket that a server listens on, bound before anything else is done."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address

from goverse_cli.failure import ExitCode, Failure


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to ``host`` and ``port``; it listens as soon as a server uses it.

    A name with several addresses is bound at the first one, IPv4 before IPv6.

    Raises:
        Failure: the name is unknown, the address is not of this machine, taken, or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Failure(
            f"gate.host {host!r} is no address of this machine ({error.strerror})",
            hint="listen on 127.0.0.1",
            exit_code=ExitCode.USAGE,
        ) from error
    family, kind, protocol, _, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _refused(host, port, error) from error
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return where a browser on this machine finds the server."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _refused(host: str, port: int, error: OSError) -> Failure:
    if error.errno == errno.EADDRINUSE:
        return Failure(
            f"port {port} of {host} is in use by another program",
            hint="stop that program, or choose another port: --port 9000, with make PORT=9000 (0 takes any free one)",
            exit_code=ExitCode.UNAVAILABLE,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(
            f"port {port} is not for you", hint="choose one above 1023 with --port", exit_code=ExitCode.USAGE
        )
    return Failure(
        f"{host}:{port} cannot be used: {error.strerror}", hint="listen on 127.0.0.1", exit_code=ExitCode.USAGE
    )
