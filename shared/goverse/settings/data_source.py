"""The data source name of PostgreSQL: a URL, validated once, whose secrets never appear in a message.

    postgresql://user:password@host1:5432,host2:5432/database?sslmode=verify-full

Parameters are those of libpq. Each one is passed to the driver, handled here, or refused by name. The driver itself
would send an unknown parameter to the server as a server setting.

An error message quotes a part of the name only after it was validated. An unencoded `/`, `@`, `#` or `?` in a password
would otherwise move the rest of the password into the host, the port, the database or the parameters, and from there
into the message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from goverse.errors import ConfigError

SETTING: Final = "postgres.dsn"
EXAMPLE: Final = "postgresql://goverse@db:5432/goverse"
HIDDEN: Final = "********"

_PASSED_ON: Final = frozenset(
    (
        *("host", "port", "dbname", "database", "user", "password", "passfile", "service", "krbsrvname", "gsslib"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    )
)
_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "primary"),
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "client_encoding": ("auto", "utf8", "utf-8", "unicode"),
}
_WHY: Final = {
    "target_session_attrs": "GoVerse always connects to a server that takes writes",
    "channel_binding": "the driver cannot require it; use sslmode=verify-full instead",
    "gssencmode": "the driver cannot encrypt with GSSAPI; use sslmode instead",
    "client_encoding": "GoVerse always uses UTF-8",
}
_CARRIED_OUT: Final = frozenset(("connect_timeout", "application_name", "options"))
_UNSUPPORTED: Final = frozenset(
    (
        *("hostaddr", "fallback_application_name", "replication", "load_balance_hosts", "requirepeer", "require_auth"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("sslcompression", "sslsni", "sslcertmode", "sslcrldir", "gssdelegation", "min_protocol_version"),
        *("max_protocol_version", "oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"),
    )
)
_SECRETS: Final = frozenset(("password", "sslpassword", "oauth_client_secret"))
_CONNECT_TIMEOUT_S_MAX: Final = 86_400

_KEYWORD_FORM: Final = re.compile(r"\s*\w+\s*=")
_URL_PASSWORD: Final = re.compile(r"(://[^:/@\s]*):.*@", re.DOTALL)
_PARAMETER: Final = re.compile(r"""([\w%.-]+)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&'"]+)""")


def hide_passwords(text: str) -> str:
    """Return ``text`` with the passwords of its data source names hidden, in URL form and in keyword form."""

    def hide(found: re.Match[str]) -> str:
        secret = unquote(found[1]).lower() in _SECRETS
        return f"{found[1]}{found[2]}{HIDDEN}" if secret else found[0]

    return _PARAMETER.sub(hide, _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text))


@dataclass(frozen=True, slots=True)
class DataSource:
    """A validated data source name.

    Attributes:
        url: the URL for the driver, with only those parameters that it supports.
        user, password, database: the parts of the name, or empty.
        parameters: all parameters of the name.
        connect_timeout_s: the parameter ``connect_timeout``, or None.
        startup: server settings sent when a connection opens.
    """

    url: str = field(repr=False)
    user: str
    password: str = field(repr=False)
    database: str
    parameters: dict[str, str] = field(repr=False)
    connect_timeout_s: float | None
    startup: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, setting: str = SETTING) -> DataSource:
        """Parse a data source name.

        Raises:
            ConfigError: it is malformed, or has an unknown or unsupported parameter. The message holds no secret.
        """
        try:
            return _parse(text)
        except _Wrong as wrong:
            raise ConfigError(f"{setting}: {wrong}", setting=setting) from None


class _Wrong(Exception):
    """The reason why a name was refused, without any secrets."""


def _parse(text: str) -> DataSource:
    scheme, separator, rest = text.partition("://")
    if not separator:
        if _KEYWORD_FORM.match(text):
            raise _Wrong(f"the keyword form (host=... dbname=...) is not supported; write a URL like {EXAMPLE}")
        raise _Wrong(f"it is not a URL; write one like {EXAMPLE}")
    if scheme not in ("postgresql", "postgres"):
        if re.fullmatch(r"postgres(ql)?\+\w+", scheme):
            raise _Wrong(f"the scheme {scheme!r} names a driver; write postgresql:// instead")
        raise _Wrong(f"the scheme must be postgresql://; write a URL like {EXAMPLE}")
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise _Wrong("it contains white space or a control character; encode it (a space is %20)")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "#" in rest or rest.count("@") > 1 or rest.count("@") != authority.count("@"):
        raise _Wrong(_ENCODE)
    path, _, query = rest.removeprefix(authority).partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise _Wrong(_ENCODE) from None
    login, _, hosts = authority.rpartition("@")
    _check_hosts(hosts)
    if "/" in path.removeprefix("/"):
        raise _Wrong(_ENCODE)
    parameters = _check_parameters(pairs)
    user, _, password = login.partition(":")
    return DataSource(
        url=_driver_url(authority, path, parameters),
        user=unquote(user) or parameters.get("user", ""),
        password=unquote(password) or parameters.get("password", ""),
        database=unquote(path.removeprefix("/")) or parameters.get("dbname", parameters.get("database", "")),
        parameters=parameters,
        connect_timeout_s=_connect_timeout_s(parameters),
        startup={name: parameters[name] for name in ("application_name", "options") if name in parameters},
    )


def _driver_url(authority: str, path: str, parameters: dict[str, str]) -> str:
    """Return the URL for the driver.

    The driver splits it with `urllib.parse`. Python 3.14, and the newest releases of older versions, refuse an address
    in brackets after another host. A list of hosts with brackets is therefore passed as the parameter `host`. That
    parameter replaces the parameters `host` and `port`, as the list itself does, and the driver splits it without
    `urllib.parse`.
    """
    passed_on = {name: value for name, value in parameters.items() if name in _PASSED_ON}
    login, at, hosts = authority.rpartition("@")
    if "[" in hosts and "," in hosts:
        authority = login + at
        others = {name: value for name, value in passed_on.items() if name not in ("host", "port")}
        passed_on = {"host": unquote(hosts), **others}
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in passed_on.items())
    url = f"postgresql://{authority}{path}" + (f"?{query}" if query else "")
    try:
        urlsplit(url)
    except ValueError:
        raise _Wrong(_ENCODE) from None
    return url


_ENCODE: Final = (
    "it is ambiguous: encode every / @ : # ? and % of the user and the password (/ is %2F, @ is %40, # is %23), or "
    "leave the password out and set postgres.password"
)


def _check_hosts(hosts: str) -> None:
    for host in hosts.split(",") if hosts else ():
        address = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(:(\d{1,5}))?", host)
        if address is None or (address[3] is not None and not 1 <= int(address[3]) <= 65_535):
            raise _Wrong(f"the host or the port is invalid (a port is a number from 1 to 65535). {_ENCODE_TOO}")


_ENCODE_TOO: Final = f"If the password holds one of / @ : # ?, {_ENCODE.partition(': ')[2]}"


def _check_parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    known = _PASSED_ON | _CHOICES.keys() | _CARRIED_OUT
    for name, value in pairs:
        if name in _UNSUPPORTED:
            raise _Wrong(f"the parameter {name} is not supported; remove it")
        if name not in known:
            nearest = get_close_matches(name, known, 1, 0.6)
            hint = f"did you mean {nearest[0]}?" if nearest else "write a server setting as options=-c%20name=value"
            raise _Wrong(f"unknown parameter {name[:40]!r}; {hint}")
        choices = _CHOICES.get(name)
        if choices is not None and value.lower() not in choices:
            why = f" ({_WHY[name]})" if name in _WHY else ""
            raise _Wrong(f"{name} is {value[:40]!r}; it must be {' or '.join(choices)}{why}")
    parameters = dict(pairs)
    if not re.fullmatch(r"[\d,]*", parameters.get("port", "")):
        raise _Wrong("the parameter port is not a number")
    return parameters


def _connect_timeout_s(parameters: dict[str, str]) -> float | None:
    text = parameters.get("connect_timeout")
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,5}", text) or not 1 <= int(text) <= _CONNECT_TIMEOUT_S_MAX:
        raise _Wrong(
            f"connect_timeout is {text[:40]!r}; it must be a number of seconds from 1 to {_CONNECT_TIMEOUT_S_MAX}"
        )
    return float(text)
