"""What a gate can be told; the defaults suit one developer's machine."""

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
        allowed_origins: web origins other than the gate's own whose pages may call it; ``"*"`` is any.
        allowed_headers: further request headers that pages of allowed origins may send.
        allowed_hosts: values of the Host header that are served, with or without a port; ``"*"`` is any.
        default_namespace: the namespace of requests that name none.
        default_call_timeout_s: deadline of a call that asks for none and whose method declares none.
        default_create_timeout_s: the same for a create.
        call_timeout_s_max: what ``GoVerse-Timeout`` is cut to.
        body_bytes_max: largest request body.
        bodies_bytes_max: all request bodies over 4 KiB whose requests are not answered yet, and pipelined requests that
            wait, together.
        answers_bytes_max: all answers that clients have not taken yet, together.
        body_read_timeout_s: longest time from a request's headers to the end of its body.
        inflight_calls_max: requests to objects inside this gate at one time.
        connections_max: open connections.
        keep_alive_timeout_s: how long a connection may be idle between two requests.
        head_read_timeout_s: longest time for the headers of a request, and for the first byte on a new
            connection.
        write_stall_timeout_s: how long a client may take nothing of an answer.
        drain_timeout_s: how long running calls may go on once the gate was told to stop.
        access_log: which requests leave a line in the log: none, those that fail, or all.
        web_dir: a folder with web pages to serve at ``/``.
        release: the version that the API's documentation names.
        admin_token: the secret that ``/admin`` asks for; without one it is refused, unless ``allow_local_admin``.
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
