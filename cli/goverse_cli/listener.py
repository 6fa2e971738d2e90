"""The listening socket of a server. It is opened first, so that a port conflict is reported before anything starts."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address

from goverse.errors import ConfigError
from goverse.limits import LISTEN_BACKLOG
from goverse_cli.failure import ExitCode, Failure


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to ``gate.host`` and ``gate.port``; the server starts to listen on it later.

    If the name has several addresses, the first one is used, IPv4 before IPv6.

    Raises:
        Failure: the name cannot be resolved, or the address is in use, not permitted or not local to this machine.
    """
    try:
        return _bound(host, port)
    except socket.gaierror as error:
        raise Failure(
            f"cannot resolve gate.host {host!r}: {error.strerror}",
            hint="to serve this machine only, listen on 127.0.0.1",
            exit_code=ExitCode.USAGE,
        ) from error
    except OSError as error:
        raise _refused(host, port, error) from error


def open_listener(host: str, port: int, *, setting: str = "gate.port") -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the name cannot be resolved, or the address is in use or does not belong to this machine.
    """
    listener = None
    try:
        listener = _bound(host, port)
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}", setting=setting) from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the URL of the server for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _refused(host: str, port: int, error: OSError) -> Failure:
    if error.errno == errno.EADDRINUSE:
        return Failure(
            f"port {port} of {host} is in use by another program",
            hint="stop that program, or choose another port: --port 9000, with make PORT=9000 (0 takes any free one)",
            exit_code=ExitCode.UNAVAILABLE,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(
            f"cannot listen on port {port}: permission denied",
            hint="choose a port above 1023 with --port",
            exit_code=ExitCode.USAGE,
        )
    return Failure(
        f"cannot listen on {host}:{port}: {error.strerror}",
        hint="to serve this machine only, listen on 127.0.0.1",
        exit_code=ExitCode.USAGE,
    )
