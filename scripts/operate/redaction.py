"""Redaction of secrets in a support bundle, which may be sent to people who must not see them.

Secret objects of Kubernetes are never read. A secret may also be in the environment of a Pod as a plain value, in its
arguments, in a data source name with a password, or in a log line that repeats any of these. When in doubt, a value is
hidden: of the environment, only variables known to be harmless are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

HIDDEN = "<hidden>"

HARMLESS_VARIABLES = frozenset(
    (
        *("POD_NAME", "POD_NAMESPACE", "POD_IP", "LOG_FORMAT", "LOG_LEVEL", "HOME", "LANG", "PATH", "TZ", "Host"),
        *("GOVERSE_CONFIG", "GOVERSE_GATE__ALLOWED_HOSTS", "GOVERSE_POSTGRES__DSN", "DSN", "FOLDER", "DUMP"),
        *("GOVERSE_ETCD__PASSWORD_FILE", "GOVERSE_POSTGRES__PASSWORD_FILE", "GOVERSE_ADMIN_PASSWORD_FILE"),
        *("GOVERSE_ADMIN_DSN", "PGDATA", "POSTGRES_INITDB_ARGS", "POSTGRES_PASSWORD_FILE"),
    )
)
"""Variables of GoVerse's own Pods. A password inside one of them is still hidden."""

_NAMES_OF_SECRETS = frozenset(
    (
        *("secretName", "secretRef", "imagePullSecrets", "topologyKey", "automountServiceAccountToken"),
        *("serviceAccountToken", "existingSecret", "passwordSecret", "tlsSecret", "caSecret", "pullSecrets"),
    )
)
"""Fields of Kubernetes and of the chart that contain the name of a secret, not the secret."""

_REFERENCES = frozenset(("secretKeyRef", "configMapKeyRef"))
_WORDS = frozenset(
    (
        *("key", "keys", "pwd", "pw", "pass", "auth", "authorization", "cookie", "cookies", "bearer", "salt", "seed"),
        *("signature", "webhook", "otp", "jwt", "passcode", "creds", "cred"),
    )
)
_INSIDE = re.compile(r"pass(word|wd|phrase)|secret|token|credential|(api|access|private|signing|encryption)key|cookie")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HEAD = re.compile(r"(?P<name>[\w.\-]+)(?:\\*[\"'])?[ \t]*(?P<sign>[=:])>?[ \t]*|(?P<option>--?[\w\-]+)[ \t]+(?=\S)")
_QUOTE = re.compile(r"(?P<escape>\\*)(?P<mark>[\"'])")
_BLOCK = re.compile(r"[|>][^\n]*\n(?:[ \t]+[^\n]*(?:\n|$)|\n)+")
_NOTHING = re.compile(r"(?:null|true|false)(?=[,}\]]|[ \t]*$)|<hidden>", re.MULTILINE)
_NUMBER = re.compile(r"-?[\d.]+(?=[,}\]]|[ \t]*$)", re.MULTILINE)
_LINE = re.compile(r"[^\n]*")
_WORD = re.compile(r"\S*")
_URL = re.compile(r"\b(?P<scheme>[a-z][a-z0-9+.\-]*)://(?P<user>[^\s\"'<>]*)@", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\b(?P<head>bearer|basic|digest|negotiate)\s+[A-Za-z0-9._~+/=\-]{8,}")
_JWT = re.compile(r"\beyJ[\w\-]{8,}\.[\w\-]+\.[\w\-]*")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def is_secret(name: str) -> bool:
    """Return True if the words of a name suggest that its value is a secret."""
    words = [part.lower() for part in _PARTS.findall(name)]
    return not _WORDS.isdisjoint(words) or bool(_INSIDE.search("".join(words)))


def of_text(text: str) -> str:
    """Return a text without passwords, tokens and private keys."""
    text = _KEY.sub(HIDDEN, text)
    text = _URL.sub(_url, text)
    text = _BEARER.sub(rf"\g<head> {HIDDEN}", text)
    return "".join(_without_pairs(_JWT.sub(HIDDEN, text)))


def _url(match: re.Match[str]) -> str:
    """Hide everything before the last `@`: a password that is not URL-encoded may contain `/` and `@`."""
    user, colon, _ = match["user"].partition(":")
    if not colon and not match["scheme"].lower().startswith("http"):
        return match[0]
    return f"{match['scheme']}://{user}:{HIDDEN}@" if colon else f"{match['scheme']}://{HIDDEN}@"


def _without_pairs(text: str) -> Iterator[str]:
    """Yield the pieces of a text with the values after names of secrets hidden."""
    done = at = 0
    while head := _HEAD.search(text, at):
        at = head.end()
        name = head["name"] or head["option"]
        if not is_secret(name) or name in HARMLESS_VARIABLES or _NOTHING.match(text, at) or at == len(text):
            continue
        mark, end = _value(text, at, head["sign"])
        yield text[done:at] + mark + HIDDEN + mark
        done = at = end
    yield text[done:]


def _value(text: str, at: int, sign: str | None) -> tuple[str, int]:
    """Return the quotes and the end of a value: a quoted string, a block, a word, or the rest of the line."""
    if quote := _QUOTE.match(text, at):
        closing = re.compile(rf"(?<!\\){re.escape(quote[0])}")
        closed = closing.search(text, quote.end())
        return quote[0], closed.end() if closed else len(text)
    if block := _BLOCK.match(text, at):
        return "", block.end()
    form = _NUMBER.match(text, at) or (_LINE if sign == ":" else _WORD).match(text, at)
    return "", form.end() if form else len(text)


def of_document(value: Any) -> Any:
    """Return JSON values without secrets. Variables and fields are judged by name, other values by their text."""
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value)
        if "name" in value and "value" in value and value["name"] not in HARMLESS_VARIABLES:
            return {**value, "value": HIDDEN}
        return {
            name: inner if name in _REFERENCES else of_document(inner) if _is_open(name, inner, value) else HIDDEN
            for name, inner in value.items()
            if name not in {"managedFields", "kubectl.kubernetes.io/last-applied-configuration"}
        }
    if isinstance(value, list):
        return list(_of_list(cast("list[object]", value)))
    return of_text(value) if isinstance(value, str) else value


def _of_list(values: list[object]) -> Iterator[object]:
    """Yield the items of a list, hiding an item that follows a command-line option with the name of a secret."""
    hides = False
    for value in values:
        yield HIDDEN if hides and isinstance(value, str) else of_document(value)
        option = isinstance(value, str) and value.startswith("-") and "=" not in value and " " not in value
        hides = option and is_secret(str(value))


def _is_open(name: str, inner: Any, around: dict[str, Any]) -> bool:
    """Return True if a field may be shown: its name does not suggest a secret, or it only refers to one by name."""
    if inner is None or isinstance(inner, bool) or inner in ("", [], {}) or name in _NAMES_OF_SECRETS:
        return True
    if name == "key":  # of a volume's item, of a toleration, of a selector
        return "operator" in around or ("path" in around and around.keys() <= {"key", "path", "mode"})
    if name == "secret" and isinstance(inner, dict):  # a volume
        return cast("dict[str, Any]", inner).keys() <= {"secretName", "name", "defaultMode", "items", "optional"}
    return not is_secret(name)
