"""A Pod's view of Kubernetes: an API server over TLS, and the folder and the environment by which a Pod knows it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.certificates import Authority
from tests.deploy.api_server import ApiServer, api_server

NAMESPACE = "objects"
OWNER = "goverse-node"
TOKEN = "the-token-of-this-pod"
ASKED = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{OWNER}"


def stateful_set(replicas: Any = 3, **metadata: str) -> dict[str, Any]:
    """Return the StatefulSet of the nodes as the API server tells it."""
    return {
        "kind": "StatefulSet",
        "apiVersion": "apps/v1",
        "metadata": {"name": OWNER, "namespace": NAMESPACE, **metadata},
        "spec": {"replicas": replicas, "serviceName": OWNER},
    }


@dataclass(frozen=True)
class ServiceAccount:
    """What Kubernetes gives a Pod.

    Attributes:
        server: the API server.
        folder: token and authority, as they are mounted.
        environ: address of the server, and who the Pod is.
    """

    server: ApiServer
    folder: Path
    environ: dict[str, str]

    def of(self, pod: str) -> dict[str, str]:
        """Return the environment of another Pod."""
        return {**self.environ, "POD_NAME": pod}


@contextmanager
def service_account(folder: Path) -> Iterator[ServiceAccount]:
    """Serve an API over TLS that knows the nodes' StatefulSet, and be its Pod number 1."""
    authority = Authority(folder / "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("api", "127.0.0.1"))
    mounted = folder / "serviceaccount"
    mounted.mkdir()
    (mounted / "token").write_text(TOKEN, encoding="ascii")
    (mounted / "ca.crt").write_bytes(authority.certificate.read_bytes())
    with api_server(folder, context) as server:
        server.token = TOKEN
        server.put(stateful_set())
        environ = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.port),
            "POD_NAMESPACE": NAMESPACE,
            "POD_NAME": f"{OWNER}-1",
        }
        yield ServiceAccount(server, mounted, environ)
