"""The certificates of a cluster of real processes: one authority for all, or two while it is replaced."""

from __future__ import annotations

import ssl
from pathlib import Path

from tests.certificates import Authority, Volume

NODE_NAME, GATE_NAME = "goverse-node", "goverse-gate"


class ClusterCertificates:
    """Certificate volumes as Pods mount them, and the certificate of etcd and PostgreSQL.

    Attributes:
        first, second: authorities; the first one signs all initial certificates.
        stores: the client certificate for etcd and PostgreSQL.
        gate, node: the certificates that gates and nodes present to each other.
        https: the certificate that a gate presents to its callers, and the authorities that it accepts for theirs.
        caller: the certificate and key of a caller.
        servers: the certificate and key of etcd and PostgreSQL.
    """

    def __init__(self, folder: Path) -> None:
        self.first, self.second = Authority(folder / "first"), Authority(folder / "second")
        self.stores, self.gate, self.node, self.https = (
            Volume(folder / name) for name in ("stores", "gate", "node", "https")
        )
        self.caller = self.first.issue("caller", "a-caller")
        self.servers = self.first.issue("servers", "127.0.0.1", "localhost")
        self.renew(self.first, self.first)
        self.stores.fill(self.first.issue("stores", "a-process"), self.first.certificate)

    def renew(self, signer: Authority, *believed: Authority) -> None:
        """Replace the certificates of gates and nodes, and the authorities that they trust in each other."""
        authorities = [one.certificate for one in believed]
        self.node.fill(signer.issue("node", NODE_NAME), *authorities)
        self.gate.fill(signer.issue("gate", GATE_NAME), *authorities)
        self.https.fill(signer.issue("https", "127.0.0.1", "localhost"), self.first.certificate)

    def renew_stores(self) -> None:
        """Replace the client certificate for etcd and PostgreSQL."""
        self.stores.fill(self.first.issue("stores", "a-process"), self.first.certificate)

    @property
    def postgres(self) -> dict[str, Path]:
        """The TLS settings of PostgreSQL."""
        cert, key = self.servers
        return {"ssl_cert_file": cert, "ssl_key_file": key, "ssl_ca_file": self.first.certificate}

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a caller: it trusts both authorities and presents its certificate."""
        authorities = self.first.certificate.read_text() + self.second.certificate.read_text()
        context = ssl.create_default_context(cadata=authorities)
        context.load_cert_chain(*self.caller)
        return context

    def variables(self, dsn: str) -> dict[str, str]:
        """Return the settings that all processes and commands share."""
        files = {"sslrootcert": self.stores.ca, "sslcert": self.stores.cert, "sslkey": self.stores.key}
        named = "".join(f"&{name}={path}" for name, path in files.items())
        return {
            "GOVERSE_POSTGRES__DSN": f"{dsn}?sslmode=verify-full{named}",
            "GOVERSE_ETCD__TLS_CA": str(self.stores.ca),
            "GOVERSE_ETCD__TLS_CERT": str(self.stores.cert),
            "GOVERSE_ETCD__TLS_KEY": str(self.stores.key),
        }

    def of(self, *, gate: bool) -> dict[str, str]:
        """Return the settings of a gate, or of a node."""
        shown = self.gate if gate else self.node
        settings = {"WIRE__TLS_CA": shown.ca, "WIRE__TLS_CERT": shown.cert, "WIRE__TLS_KEY": shown.key}
        if gate:
            https = self.https
            settings |= {"GATE__TLS_CERT": https.cert, "GATE__TLS_KEY": https.key, "GATE__TLS_CLIENT_CA": https.ca}
        files = {f"GOVERSE_{name}": str(path) for name, path in settings.items()}
        return {**files, "GOVERSE_WIRE__TLS_GATE_NAME": GATE_NAME}
