"""The options of a gate. The defaults suit a developer's machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from goverse import limits
from goverse.model.keys import DEFAULT_NAMESPACE

AccessLog = Literal["off", "errors", "all"]

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """Options of a gate.

    Attributes:
        allowed_origins: web origins, besides the gate's own, whose pages may call it; ``"*"`` allows any.
        allowed_headers: additional request headers that pages of allowed origins may send.
        allowed_hosts: accepted values of the Host header, with or without a port; ``"*"`` allows any.
        default_namespace: the namespace of requests that do not name one.
        default_call_timeout_s: timeout of a call if neither the request nor the method sets one.
        default_create_timeout_s: timeout of a create if the request does not set one.
        call_timeout_s_max: upper limit for ``GoVerse-Timeout``; longer values are cut to it.
        body_bytes_max: largest request body.
        bodies_bytes_max: total size of the request bodies over 4 KiB whose requests are not answered yet, and of
            waiting pipelined requests.
        answers_bytes_max: total size of the responses that clients have not read.
        body_read_timeout_s: longest time from the arrival of a request to the end of its body.
        inflight_calls_max: largest number of requests to objects in progress in this gate.
        connections_max: largest number of open connections.
        keep_alive_timeout_s: longest idle time of a connection between two requests.
        head_read_timeout_s: longest time for the headers of a request, and for the first byte on a new
            connection.
        write_stall_timeout_s: longest time in which a client reads nothing of its response.
        drain_timeout_s: longest time for requests in progress to finish after the gate starts to stop.
        access_log: which requests are logged: none, failed ones, or all.
        web_dir: a folder with web pages to serve at ``/``.
        release: the version shown in the API's documentation.
        admin_token: the secret for ``/admin``; without one ``/admin`` is denied, unless ``allow_local_admin``.
        allow_local_admin: serve ``/admin`` to programs on this machine without the token.
        allow_remote_admin: serve ``/admin`` to other machines and through proxies, with the token.
    """

    allowed_origins: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    default_namespace: str = DEFAULT_NAMESPACE
    default_call_timeout_s: float = limits.CALL_TIMEOUT_S
    default_create_timeout_s: float = limits.CREATE_TIMEOUT_S
    call_timeout_s_max: float = limits.CALL_TIMEOUT_S_MAX
    body_bytes_max: int = limits.BODY_BYTES_MAX
    bodies_bytes_max: int = limits.BODIES_BYTES_MAX
    answers_bytes_max: int = limits.ANSWERS_BYTES_MAX
    body_read_timeout_s: float = limits.BODY_READ_TIMEOUT_S
    inflight_calls_max: int = limits.INFLIGHT_CALLS_MAX
    connections_max: int = limits.CONNECTIONS_MAX
    keep_alive_timeout_s: float = limits.KEEP_ALIVE_TIMEOUT_S
    head_read_timeout_s: float = limits.HEAD_READ_TIMEOUT_S
    write_stall_timeout_s: float = limits.WRITE_STALL_TIMEOUT_S
    drain_timeout_s: float = limits.DRAIN_TIMEOUT_S
    access_log: AccessLog = "errors"
    web_dir: Path | None = None
    release: str = "unknown"
    admin_token: str | None = field(default=None, repr=False)
    allow_local_admin: bool = False
    allow_remote_admin: bool = False
