"""Who may use ``/admin``: the holder of the process's admin token.

A peer address proves nothing: behind a proxy or a service mesh on the same host every client of the site comes from
this machine, and a proxy need not leave any header that would tell. So the secret is a file that only the user of the
process can read. Remote peers, requests that passed a proxy, and web pages are refused even with the token, unless the
settings let other machines in.
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
LOCAL_SETTING: Final = "gate.allow_local_admin"
TOKEN_SETTING: Final = "gate.admin_token_file"  # noqa: S105 - the name of a setting
TOKEN_FILE: Final = "admin.token"  # noqa: S105 - in the data directory of a server with an embedded store

_TOKEN_CHARACTERS_MIN: Final = 32
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_LOCAL: Final = frozenset({ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")})
"""Only these two: proxies of service meshes connect from others, like 127.0.0.6."""


def token_in(path: Path) -> str:
    """Return the admin token in ``path``; a file that is missing is made, readable for this user alone.

    Raises:
        ConfigError: the file cannot be read or made, or its token is too short to be a secret.
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
            f"the admin token in {path} is not at least {_TOKEN_CHARACTERS_MIN} ASCII characters; delete the file, and "
            "the next start makes a new one",
            setting=TOKEN_SETTING,
        )
    return token


def _make(path: Path) -> None:
    """Make the file, whole and once: where several processes begin together, all read what the first one wrote."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()


def check_administrator(request: Request, options: GateOptions) -> None:
    """Pass a request that may administrate.

    Raises:
        AccessDenied: it comes from another machine, through a proxy or from a web page, or without the token.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower():
        raise AccessDenied(
            "administration is not for web pages of other origins; call it from a program on this machine", rule="admin"
        )
    if not options.allow_remote_admin and not _is_near(request):
        raise AccessDenied(
            "administration is served to this machine only, and not through a proxy; to change that, set "
            f"{REMOTE_SETTING} to true",
            rule="admin",
            setting=REMOTE_SETTING,
        )
    given = request.headers.get("authorization")
    if given is None and options.allow_local_admin and _is_near(request):
        return
    if options.admin_token is None:
        raise AccessDenied(
            f"this process has no admin token; write one into a file and name it in the setting {TOKEN_SETTING}",
            rule="admin",
            setting=TOKEN_SETTING,
        )
    scheme, _, token = (given or "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(token.strip().encode(), options.admin_token.encode()):
        raise AccessDenied(
            "administration needs the admin token, as Authorization: Bearer; it is in the file of the setting "
            f"{TOKEN_SETTING}, or in {TOKEN_FILE} in the data directory",
            rule="admin",
            setting=TOKEN_SETTING,
        )


def _is_near(request: Request) -> bool:
    """Tell whether the request comes from a program on this machine, as far as that can be seen."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address) in _LOCAL
