"""The caller of a request.

A gate identifies the caller of a request from outside. That identity travels unchanged through all calls that the
request causes, so an object far down a call chain still knows for whom it works. Which objects the request passed is
known from the call chain, and never from anything that a client sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from goverse.model.keys import ObjectKey

CallerKind = Literal["anonymous", "client", "object", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The caller of a turn. ``str(caller)`` is its subject.

    Gates of this release identify no callers: without an ``ObjectHost``, every request from outside is anonymous, and
    the attributes from ``subject`` to ``certificate`` are empty.

    Attributes:
        kind: ``anonymous`` for a request from outside without subject; ``client`` for one with a subject; ``object``
            for a call by another object; ``system`` for a hook that GoVerse runs without a call.
        subject: the name of the client that sent the request at the beginning of the call chain, or empty.
        roles: the roles of that client.
        namespace: the only namespace that the client may use, or empty.
        token_id: the id of the token that proved the client's identity, or empty.
        certificate: the name in the certificate that proved the client's identity, or empty.
        via: the objects whose turns wait for this call, outermost first; empty for a call from outside.
    """

    kind: CallerKind = "anonymous"
    subject: str = ""
    roles: frozenset[str] = frozenset()
    namespace: str = ""
    token_id: str = ""
    certificate: str = ""
    via: tuple[ObjectKey, ...] = ()

    @property
    def object(self) -> ObjectKey | None:
        """The object that made the call; None for a call from outside."""
        return self.via[-1] if self.via else None

    def through(self, chain: tuple[ObjectKey, ...]) -> Caller:
        """Return the caller of a call that the objects of ``chain`` made for this one."""
        return Caller(
            kind="object",
            subject=self.subject,
            roles=self.roles,
            namespace=self.namespace,
            token_id=self.token_id,
            certificate=self.certificate,
            via=chain,
        )

    def __str__(self) -> str:
        """Return the subject; empty without one."""
        return self.subject


ANONYMOUS: Final = Caller()
SYSTEM: Final = Caller(kind="system")


def identified(subject: str) -> Caller:
    """Return the caller of a request from outside that was sent by ``subject``; an empty one is anonymous."""
    return Caller(kind="client", subject=subject) if subject else ANONYMOUS
