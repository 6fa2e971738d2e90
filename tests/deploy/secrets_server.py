"""As much of an API server as Helm asks for when it looks secrets up: which version, which kinds, which secrets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Secrets = dict[str, dict[str, Any]]

_KINDS: dict[str, list[str]] = {
    "v1": ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment", "StatefulSet"],
    "batch/v1": ["Job"],
    "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
}


def _resource(kind: str) -> dict[str, Any]:
    name = kind.lower()
    plural = {"networkpolicy": "networkpolicies", "ingress": "ingresses"}.get(name, f"{name}s")
    return {"name": plural, "singularName": name, "namespaced": True, "kind": kind, "verbs": ["get", "list"]}


def _group(version: str) -> dict[str, Any]:
    known = {"groupVersion": version, "version": "v1"}
    return {"name": version.partition("/")[0], "versions": [known], "preferredVersion": known}


def _discovery() -> dict[str, dict[str, Any]]:
    """Return what is served, by path."""
    groups = [_group(version) for version in _KINDS if "/" in version]
    served: dict[str, dict[str, Any]] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
    }
    for version, kinds in _KINDS.items():
        resources = list(map(_resource, kinds))
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        served[path] = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    return served


def _applied(secret: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a secret as Helm leaves it in a cluster: it notes whose it is."""
    if secret is None:
        return None
    metadata = secret["metadata"]
    owner = {"meta.helm.sh/release-name": "goverse", "meta.helm.sh/release-namespace": metadata["namespace"]}
    return {**secret, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **owner}}}


@contextmanager
def serving(secrets: Secrets, folder: Path) -> Iterator[Path]:
    """Serve these secrets, of one namespace, by name; give the file that tells Helm where."""

    discovery = _discovery()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            found = discovery.get(path) or _applied(secrets.get(path.rpartition("/secrets/")[2]))
            if found is None:
                found = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(found).encode()
            self.send_response(found.get("code", 200))
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = folder / "kubeconfig"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                "users": [{"name": "me", "user": {}}],
            }
        ),
        encoding="utf-8",
    )
    try:
        yield config
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
