"""``AccessDenied`` errors for requests that a class or the configuration does not allow.

Gates and nodes share these texts. Each error names the rule that refused the request and how to change it.
"""

from __future__ import annotations

from goverse.errors import AccessDenied


def handler_called(type_name: str, method: str) -> AccessDenied:
    """Return the error for a call from outside to a method that is marked with ``@handler``."""
    return AccessDenied(
        f"{type_name}.{method} is a handler: only other objects and GoVerse itself may call it. To open it to requests "
        f"from outside, mark it with @call instead of @handler",
        rule="handler",
    )


def outcome_invented(type_name: str, method: str) -> AccessDenied:
    """Return the error for a call of a method that takes an outcome, from another place than the end of a call."""
    return AccessDenied(
        f"{type_name}.{method} takes the outcome of a reliable call, so only GoVerse calls it, when such a call has "
        f"ended: self.sending(then=self.{method})(...)",
        rule="outcome",
    )


def only_nodes(part: str) -> AccessDenied:
    """Return the error for a request with a part that only a node may send, from a peer with a gate's certificate."""
    return AccessDenied(
        f"the request has {part}, which only nodes send, but the certificate of its sender is not that of a node: it "
        "does not carry the name in wire.tls_name",
        rule="peer",
    )


def not_allowed(type_name: str, verb: str, word: str, *, inside: bool) -> AccessDenied:
    """Return the error for a create or delete (``verb``) that the type limits to ``word``."""
    change = "internal" if inside else "anyone"
    subject = "no caller may" if word == "nobody" else "requests from outside may not"
    return AccessDenied(
        f"{subject} {verb} {type_name} objects: {verb} is {word!r} for this type. To allow it, add "
        f"{verb}={change!r} to the options of class {type_name}, or set objects.{type_name}.{verb} to {change} in the "
        "configuration",
        rule=verb,
        setting=f"objects.{type_name}.{verb}",
    )
