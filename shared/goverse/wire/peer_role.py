"""The role of a peer, as its certificate proves it.

1. A certificate with the name of nodes (``wire.tls_name``) is that of a node, which may send every request.
2. One with the name of gates (``wire.tls_gate_name``) is that of a gate. If that setting is empty, every other one is.
   A gate may send requests from outside: without a call chain, without the idempotency key of a nested call.
3. A peer with any other certificate is refused, and so is one that says it is a node without the certificate of one.

A handler may run, and an internal create or delete is allowed, because a request has a call chain. So a gate, which
takes requests from the internet, must not be able to send one. Without TLS there is no certificate, and no difference.

The role is judged when a stream begins. A renewed certificate counts from the next stream on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cryptography import x509

from goverse.errors import PeerError
from goverse.tls.material import carries, names_of


class PeerRole(Enum):
    """The kind of a process that the certificate of a peer proves."""

    NODE = "node"
    GATE = "gate"


@dataclass(frozen=True, slots=True)
class RoleNames:
    """The names by which a node tells the certificates of gates and nodes apart.

    Attributes:
        node: the name in certificates of nodes.
        gate: the name in certificates of gates, or empty if every other certificate is that of a gate.
    """

    node: str
    gate: str = ""

    def role_of(self, names: Sequence[str]) -> PeerRole:
        """Return the role of a certificate with these names.

        Raises:
            PeerError: the certificate is neither that of a node nor that of a gate.
        """
        if carries(names, self.node):
            return PeerRole.NODE
        if not self.gate or carries(names, self.gate):
            return PeerRole.GATE
        raise PeerError(
            f"the certificate of the peer carries neither the name of nodes, {self.node} (wire.tls_name), nor that of "
            f"gates, {self.gate} (wire.tls_gate_name); its names are: {', '.join(names) or 'none'}"
        )


def certificate_names(auth_context: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Return the names in the certificate of a peer; none if it showed no certificate."""
    shown = [x509.load_pem_x509_certificate(pem) for pem in auth_context.get("x509_pem_cert", ())]
    return names_of(shown[0]) if shown else []
