"""Takes secrets out of what goes into a bundle: it is sent to people who must not have them.

Kubernetes' Secrets are never asked for. What else may hold one: the environment of a Pod written as a plain value, a
data source name with a password, a line of a log that repeats either.
"""

from __future__ import annotations

import re
from typing import Any, cast

HIDDEN = "<hidden>"

_NAME = re.compile(r"(?i)pass(word|wd|phrase)?|secret|token|credential|api_?key|private")
_FILE = re.compile(r"(?i)(_file|secretname|secretkeyref|_?secret_?name)$")
_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.\-]*://[^\s/:@]*):(?P<word>[^\s@/]+)@")
_PAIR = re.compile(
    r"(?i)(?P<head>[\"']?[\w.\-]*(?:password|passwd|secret|token|api_?key)[\"']?\s*[=:]\s*)(?P<quote>[\"']?)(?P<word>[^\s\"',}&]+)"
)
_BEARER = re.compile(r"(?i)\b(?P<head>bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)


def of_text(text: str) -> str:
    """Return a text without passwords, tokens and private keys."""
    text = _KEY.sub(HIDDEN, text)
    text = _URL.sub(rf"\g<head>:{HIDDEN}@", text)
    text = _BEARER.sub(rf"\g<head> {HIDDEN}", text)
    return _PAIR.sub(_pair, text)


def _pair(match: re.Match[str]) -> str:
    word = match["word"]
    return (
        match[0]
        if word in ("null", "{", "[", HIDDEN) or word.startswith("/")
        else f"{match['head']}{match['quote']}{HIDDEN}"
    )


def of_document(value: Any) -> Any:
    """Return JSON values without secrets: environment by its name, everything else by its text."""
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value)
        if _is_variable(value) and _NAME.search(str(value["name"])) and not _FILE.search(str(value["name"])):
            return {**value, "value": HIDDEN}
        return {
            name: HIDDEN if isinstance(inner, str) and inner and _hides(name, inner) else of_document(inner)
            for name, inner in value.items()
            if name not in {"managedFields", "kubectl.kubernetes.io/last-applied-configuration"}
        }
    if isinstance(value, list):
        return [of_document(inner) for inner in cast("list[object]", value)]
    return of_text(value) if isinstance(value, str) else value


def _is_variable(value: dict[str, Any]) -> bool:
    return "name" in value and isinstance(value.get("value"), str)


def _hides(name: str, inner: str) -> bool:
    """Tell a secret from the name of one: of Kubernetes' own fields only `value` and free maps hold secrets."""
    return bool(_NAME.search(name)) and not _FILE.search(name) and not inner.startswith("/") and name.islower()
