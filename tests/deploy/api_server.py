"""A minimal Kubernetes API server for kubectl, Helm and Pods: one namespace, objects in memory, logs, commands in Pods.

Objects are stored as sent. There are no controllers: a test, or a hook that the test provides, creates the results of a
Job or of scaling. `exec` uses the WebSocket protocol of Kubernetes and runs the command that the test provides.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.deploy.kubernetes_protobuf import is_protobuf, secret

Document = dict[str, Any]
Execute = Callable[[str, str, Sequence[str]], tuple[int, str, str]]
"""Runs a command (Pod, container, words) and returns exit code, standard output and standard error."""

_KINDS: dict[str, list[str]] = {
    "v1": [*("ConfigMap", "Event", "PersistentVolumeClaim", "Pod", "Secret", "Service", "ServiceAccount", "Namespace")],
    "apps/v1": ["Deployment", "StatefulSet", "ReplicaSet"],
    "batch/v1": ["CronJob", "Job"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
}
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def plural(kind: str) -> str:
    """Return the plural of a kind, as used in paths."""
    name = kind.lower()
    return {"networkpolicy": "networkpolicies", "ingress": "ingresses"}.get(name, f"{name}s")


def _home(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _discovery() -> dict[str, Document]:
    served: dict[str, Document] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/openapi/v3": {"paths": {}},
    }
    # kubectl delegates the validation of fields to a server that advertises it
    for version, kinds in _KINDS.items():
        group, _, bare = version.rpartition("/")
        home = _home(version)
        described = f"/openapi/v3{home}"
        served["/openapi/v3"]["paths"][home.strip("/")] = {"serverRelativeURL": described}
        served[described] = {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.33.0"},
            "paths": {
                f"{home}/namespaces/{{namespace}}/{plural(kind)}/{{name}}": {
                    "patch": {
                        "x-kubernetes-group-version-kind": {"group": group, "version": bare, "kind": kind},
                        "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                        "responses": {"200": {"description": "OK"}},
                    }
                }
                for kind in kinds
            },
        }
    groups: list[Document] = []
    for version, kinds in _KINDS.items():
        resources: list[Document] = []
        for kind in kinds:
            one = {"name": plural(kind), "singularName": kind.lower(), "namespaced": kind != "Namespace", "kind": kind}
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
            resources.append({**one, "verbs": verbs})
            if kind in ("Deployment", "StatefulSet"):
                scale = {"group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}
                resources.append({**one, **scale, "name": f"{plural(kind)}/scale"})
        served[_home(version)] = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
        if "/" in version:
            group, _, bare = version.partition("/")
            known = {"groupVersion": version, "version": bare}
            groups.append({"name": group, "versions": [known], "preferredVersion": known})
    served["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return served


def merged(base: Any, patch: Any) -> Any:
    """Apply a strategic merge patch to ``base``, as far as the tests need it: lists of named items are merged."""
    if isinstance(patch, list) and isinstance(base, list) and _named(patch) and _named(base):
        changes = {each["name"]: each for each in patch}
        kept = [merged(each, changes.pop(each["name"], {})) for each in base]
        return [*kept, *changes.values()]
    if not isinstance(patch, dict):
        return patch
    made: Document = dict(base) if isinstance(base, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        elif not name.startswith("$"):
            made[name] = merged(made.get(name), value)
    return made


def _named(items: list[Any]) -> bool:
    return all(isinstance(each, dict) and "name" in each for each in items)


def release_secret(
    name: str, namespace: str, *, app_version: str, values: Document | None = None, manifest: str = ""
) -> Document:
    """Return the Secret in which Helm stores a deployed release."""
    release = {
        "name": name,
        "namespace": namespace,
        "version": 1,
        "config": values or {},
        "manifest": manifest,
        "info": {
            **dict.fromkeys(("first_deployed", "last_deployed"), "2026-05-01T00:00:00Z"),
            **{"deleted": "", "description": "Install complete", "status": "deployed"},
        },
        "chart": {"metadata": {"name": "goverse", "version": "0.1.0", "appVersion": app_version, "apiVersion": "v2"}},
    }
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {
            "name": f"sh.helm.release.v1.{name}.v1",
            "namespace": namespace,
            "labels": {"name": name, "owner": "helm", "status": "deployed", "version": "1"},
        },
        "data": {"release": base64.b64encode(packed).decode()},
    }


class ApiServer:
    """The objects of a cluster, and the responses to requests.

    Attributes:
        raw: fixed responses by path, which take precedence over objects.
        token: required bearer token; "" accepts every request.
        forbidden: paths that are refused even with the token.
        asked: answered requests, as method and path.
    """

    def __init__(self) -> None:
        """Start without objects."""
        self.objects: dict[tuple[str, str], Document] = {}
        self.logs: dict[str, str] = {}
        self.raw: dict[str, Document | str] = {}
        self.token = ""
        self.forbidden: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.executed: list[tuple[str, str, tuple[str, ...]]] = []
        self.execute: Execute = lambda _pod, _container, _words: (1, "", "nothing runs here")
        self.created: Callable[[Document], None] = lambda _document: None
        self.kubeconfig = Path()
        self.port = 0
        self._discovery = _discovery()

    @property
    def version(self) -> Document:
        """Version information of the server."""
        return self._discovery["/version"]

    def put(self, *documents: Document) -> None:
        """Add or replace objects."""
        for document in documents:
            document["metadata"].setdefault("resourceVersion", "1")
            document["metadata"].setdefault("uid", f"{document['kind']}-{document['metadata']['name']}")
            self.objects[plural(document["kind"]), document["metadata"]["name"]] = document

    def of(self, kind: str) -> list[Document]:
        """Return the objects of a kind."""
        return [document for (name, _), document in sorted(self.objects.items()) if name == plural(kind)]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Document | str | None:
        """Answer a request; None means "not found"."""
        if path in self._discovery or path in self.raw:
            return self._discovery.get(path) or self.raw[path]
        parts = path.strip("/").split("/")
        home = parts[:2] if parts[0] == "api" else parts[:3]
        rest = parts[len(home) :]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        collection, name, inside = (*rest, "", "", "")[:3]
        if inside == "log":
            return self.logs.get(name, "")
        if not name:
            return self._create(body) if method == "POST" else self._list("/".join(home), collection, query)
        return self._one(method, collection, name, inside, body)

    def _create(self, body: Document) -> Document:
        self.put(body)
        self.created(body)
        return body

    def _one(self, method: str, collection: str, name: str, inside: str, body: Any) -> Document | None:
        found = self.objects.get((collection, name))
        if found is None:  # apply creates an object that does not exist
            return self._create(body) if method == "PATCH" and isinstance(body, dict) and "kind" in body else None
        if method == "DELETE":
            return self.objects.pop((collection, name))
        if inside == "scale" and method != "GET":
            self.objects[collection, name] = found = merged(found, {"spec": {"replicas": body["spec"]["replicas"]}})
        if inside == "scale":
            replicas = found["spec"].get("replicas", 1)
            metadata = {"name": name, "namespace": found["metadata"].get("namespace"), "resourceVersion": "1"}
            scale = {"spec": {"replicas": replicas}, "status": {"replicas": replicas}}
            return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, **scale}
        if method in ("PATCH", "PUT"):
            found = self.objects[collection, name] = merged(found, body)
            self.created(found)
        return found

    def _list(self, home: str, collection: str, query: dict[str, list[str]]) -> Document:
        wanted = [pair for text in query.get("labelSelector", []) for pair in text.split(",") if pair]
        names = [text.partition("=")[2] for text in query.get("fieldSelector", []) if text.startswith("metadata.name=")]
        items = [
            document
            for (kept, name), document in sorted(self.objects.items())
            if kept == collection and _selected(document, wanted) and (not names or name in names)
        ]
        version = home.removeprefix("apis/").removeprefix("api/")
        kinds = {plural(kind): kind for kind in _KINDS.get(version, [])}
        return {
            "kind": f"{kinds.get(collection, '')}List",
            "apiVersion": version,
            "metadata": {"resourceVersion": "1"},
            "items": items,
        }


def _selected(document: Document, wanted: Sequence[str]) -> bool:
    labels = document["metadata"].get("labels", {})
    for pair in wanted:
        name, _, value = pair.replace("==", "=").partition("=")
        if not pair.startswith("!") and " " not in pair and labels.get(name.rstrip("!")) != value:
            return False
    return True


def _handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers.get("Upgrade", "").lower() == "websocket":
                self._run()
            else:
                self._serve()

        def do_POST(self) -> None:
            if "/exec" in self.path:  # an old protocol, which kubectl falls back to
                self._reply(403, {"kind": "Status", "status": "Failure", "message": "speak WebSocket", "code": 403})
            else:
                self._serve()

        def do_PATCH(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def _serve(self) -> None:
            url = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            refused = 403 if url.path in server.forbidden else 0
            if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
                refused = 401
            if refused:
                self._reply(refused, {"kind": "Status", "status": "Failure", "message": "no", "code": refused})
                return
            server.asked.append((self.command, url.path))
            body = secret(sent) if is_protobuf(sent) else yaml.safe_load(sent) if sent else None
            found = server.answer(self.command, url.path, parse_qs(url.query), body)
            if found is None:
                status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
                self._reply(404, {**status, "message": f"{url.path} not found"})
            elif "watch" in parse_qs(url.query) and isinstance(found, dict):
                self._watch(found)
            else:
                self._reply(201 if self.command == "POST" else 200, found)

        def _watch(self, listed: Document) -> None:
            """Send the existing objects, as a watch with initial events does; later changes are not sent."""
            ended = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
            about = {"kind": listed["kind"].removesuffix("List"), "apiVersion": listed["apiVersion"]}
            events = [{"type": "ADDED", "object": each} for each in listed["items"]]
            events.append({"type": "BOOKMARK", "object": {**about, "metadata": ended}})
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write("".join(f"{json.dumps(each)}\n" for each in events).encode())
            self.wfile.flush()
            self.close_connection = True
            self.rfile.read(1)  # until the client closes the connection

        def _reply(self, status: int, found: Document | str) -> None:
            content = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if isinstance(found, str) else "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _run(self) -> None:
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            pod, words = url.path.split("/")[-2], query["command"]
            container = query.get("container", [""])[0]
            server.executed.append((pod, container, tuple(words)))
            accepted = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + _GUID).digest())
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", accepted.decode())
            self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
            self.end_headers()
            code, out, err = server.execute(pod, container, words)
            self._channel(1, out.encode())
            self._channel(2, err.encode())
            status: Document = {"metadata": {}, "status": "Success"}
            if code:
                causes = [{"reason": "ExitCode", "message": str(code)}]
                status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
                status["message"] = f"command terminated with non-zero exit code: exit status {code}"
            self._channel(3, json.dumps(status).encode())
            self.wfile.write(b"\x88\x02\x03\xe8")  # close code 1000
            self.wfile.flush()
            self.rfile.read(1)  # until kubectl closes its side as well
            self.close_connection = True

        def _channel(self, channel: int, content: bytes) -> None:
            for first in range(0, len(content), 30_000):
                piece = bytes([channel]) + content[first : first + 30_000]
                head = b"\x82" + (bytes([len(piece)]) if len(piece) < 126 else b"\x7e" + struct.pack(">H", len(piece)))
                self.wfile.write(head + piece)
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
            """Discard the log message."""

    return Handler


@contextmanager
def api_server(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    """Serve on loopback, with TLS if ``tls`` is given; ``kubeconfig`` and ``port`` have the address."""
    kept = ApiServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(kept))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    kept.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    kept.kubeconfig = folder / "kubeconfig"
    cluster = {"name": "here", "cluster": {"server": f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"}}
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    config: Document = {"apiVersion": "v1", "kind": "Config", "current-context": "here"}
    config |= {"clusters": [cluster], "contexts": [context], "users": [{"name": "me", "user": {}}]}
    kept.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
