"""A Pod's view of Kubernetes: an API server over TLS, with the mounted files and environment variables to reach it."""

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
    """Return the StatefulSet of the nodes as the API server shows it."""
    return {
        "kind": "StatefulSet",
        "apiVersion": "apps/v1",
        "metadata": {"name": OWNER, "namespace": NAMESPACE, **metadata},
        "spec": {"replicas": replicas, "serviceName": OWNER},
    }


@dataclass(frozen=True)
class ServiceAccount:
    """The files and variables that Kubernetes provides to a Pod.

    Attributes:
        server: the API server.
        folder: the mounted folder with the token and the certificate authority.
        environ: the address of the server, and the Pod's name and namespace.
    """

    server: ApiServer
    folder: Path
    environ: dict[str, str]

    def of(self, pod: str) -> dict[str, str]:
        """Return the environment of another Pod."""
        return {**self.environ, "POD_NAME": pod}


@contextmanager
def service_account(folder: Path) -> Iterator[ServiceAccount]:
    """Run an API server that has the nodes' StatefulSet, and yield the service account of its Pod 1."""
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
