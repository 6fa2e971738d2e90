"""Access control for ``/admin``: the admin token of the process.

A local peer address proves nothing. Behind a proxy or a service mesh on the same host every client has a local address,
and a proxy does not have to add a header that reveals it. The token is therefore kept in a file that only the user of
the process can read.

Remote peers, proxied requests and web pages are denied even with the token, unless a setting allows remote access.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
from hmac import compare_digest
from pathlib import Path
from typing import Final

from fastapi import Request

from goverse.errors import AccessDenied, ConfigError
from goverse_gate.options import GateOptions

REMOTE_SETTING: Final = "gate.allow_remote_admin"
TOKEN_SETTING: Final = "gate.admin_token_file"  # noqa: S105 - the name of a setting
TOKEN_FILE: Final = "admin.token"  # noqa: S105 - a file name, in the data directory of a server with an embedded store

_TOKEN_CHARACTERS_MIN: Final = 32
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_LOCAL: Final = frozenset({ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")})
"""Only these two: the proxies of service meshes connect from other loopback addresses, such as 127.0.0.6."""


def token_in(path: Path) -> str:
    """Return the admin token in ``path``. A missing file is created, readable only by this user.

    Raises:
        ConfigError: the file cannot be read or created, or the token is too short.
    """
    try:
        if not path.exists():
            _make(path)
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"cannot use the admin token file {path}: {reason}", setting=TOKEN_SETTING) from error
    if len(token) < _TOKEN_CHARACTERS_MIN or not token.isascii():
        raise ConfigError(
            f"the admin token in {path} must have at least {_TOKEN_CHARACTERS_MIN} characters, all ASCII; delete the "
            "file to have a new token created at the next start",
            setting=TOKEN_SETTING,
        )
    return token


def _make(path: Path) -> None:
    """Create the file atomically. If several processes start together, the first one wins and all read its token."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()


def check_administrator(request: Request, options: GateOptions, what: str = "/admin") -> None:
    """Check that ``request`` may use ``what``.

    Raises:
        AccessDenied: the request comes from another machine, a proxy or a web page, or has no valid token.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower():
        raise AccessDenied(
            f"web pages of other origins cannot use {what}; call it from a program on this machine", rule="admin"
        )
    if not options.allow_remote_admin and not _is_local(request):
        raise AccessDenied(
            f"{what} accepts only direct connections from this machine; to allow other machines and proxies, set "
            f"{REMOTE_SETTING} to true",
            rule="admin",
            setting=REMOTE_SETTING,
        )
    given = request.headers.get("authorization")
    if given is None and options.allow_local_admin and _is_local(request):
        return
    if options.admin_token is None:
        raise AccessDenied(
            f"this process has no admin token; write one to a file and set {TOKEN_SETTING} to the file's path",
            rule="admin",
            setting=TOKEN_SETTING,
        )
    scheme, _, token = (given or "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(token.strip().encode(), options.admin_token.encode()):
        raise AccessDenied(
            f"{what} requires the header Authorization: Bearer with the admin token; the token is in the file that "
            f"{TOKEN_SETTING} names, or in {TOKEN_FILE} in the data directory",
            rule="admin",
            setting=TOKEN_SETTING,
        )


def _is_local(request: Request) -> bool:
    """True if the request appears to come directly from a program on this machine."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address) in _LOCAL
