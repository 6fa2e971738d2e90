"""Convert the rendered chart to Pods that ``podman play kube`` can run on one machine, and print the differences.

    helm template goverse helm/goverse ... | scripts/pods.py FOLDER
    podman play kube FOLDER/pods/goverse-node-0.yaml

All Pods share the network of the machine, so each gets its own loopback address and listens on it; the names of
Services are in their hosts files. The other differences are features of the kubelet that podman (4.3) lacks or
implements differently, with one function for each. FOLDER then contains a manifest for each Pod, its volumes, and
``difference.diff``.
"""

import base64
import copy
import difflib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

COMPONENT = "app.kubernetes.io/component"
NETWORK = "127.31.0"


@dataclass(frozen=True)
class Pod:
    """One Pod of the rendered chart.

    Attributes:
        name: name that its controller would give it.
        component: part of the cluster, for example node.
        address: loopback address.
        rendered: manifest that the kubelet would get.
    """

    name: str
    component: str
    address: str
    rendered: Document

    @property
    def namespace(self) -> str:
        """The namespace of the Pod."""
        return str(self.rendered["metadata"]["namespace"])

    @property
    def gid(self) -> int:
        """The group that owns its volumes."""
        return int(self.rendered["spec"]["securityContext"]["fsGroup"])


def _templates(document: Document) -> Iterator[tuple[str, Document]]:
    name, spec = document["metadata"]["name"], document.get("spec", {})
    match document["kind"]:
        case "Pod":
            yield name, {"metadata": document["metadata"], "spec": spec}
        case "Job":
            yield name, spec["template"]
        case "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]
        case "StatefulSet":
            for number in range(spec["replicas"]):
                template = copy.deepcopy(spec["template"])
                for claim in spec.get("volumeClaimTemplates", []):
                    claimed = f"{claim['metadata']['name']}-{name}-{number}"
                    volume = {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claimed}}
                    template["spec"].setdefault("volumes", []).append(volume)
                yield f"{name}-{number}", template
        case "Deployment":
            for number in range(spec["replicas"]):
                yield f"{name}-{number}", spec["template"]
        case _:
            pass


@dataclass
class Machine:
    """One machine that all Pods run on.

    Attributes:
        folder: folder for the output.
        documents: the rendered chart.
        pods: Pods of the chart.
    """

    folder: Path
    documents: list[Document]
    pods: list[Pod] = field(default_factory=list[Pod])

    def write(self) -> str:
        """Write manifests, volumes and secrets, and return the unified diff to the rendered Pods."""
        for folder in ("pods", "secrets", "volumes"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for document in self._of_kind("Secret"):
            path = self.folder / "secrets" / f"{document['metadata']['name']}.json"
            path.write_text(json.dumps(document["data"]), encoding="utf-8")
        self._take(self.documents)
        difference = "".join(self._written(pod) for pod in self.pods)
        (self.folder / "difference.diff").write_text(difference, encoding="utf-8")
        return difference

    def add(self, document: Document) -> list[Pod]:
        """Write and return the Pods of one more object, derived from an object of the chart."""
        added = self._take([document])
        for pod in added:
            self._written(pod)
        return added

    def _take(self, documents: list[Document]) -> list[Pod]:
        """Add the Pods of objects, named as by Kubernetes; Pods of Deployments get a number instead of a hash."""
        before = len(self.pods)
        for document in documents:
            for name, template in _templates(document):
                labels = template["metadata"]["labels"]
                metadata = {**template["metadata"], "name": name, "namespace": document["metadata"]["namespace"]}
                rendered = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
                address = f"{NETWORK}.{len(self.pods) + 11}"
                self.pods.append(Pod(name, labels[COMPONENT], address, _apart(rendered)))
        return self.pods[before:]

    def _written(self, pod: Pod) -> str:
        """Write the manifest of a Pod and return its diff."""
        manifest = self.adapt(pod)
        (self.folder / "pods" / f"{pod.name}.yaml").write_text(_shown(manifest), encoding="utf-8")
        return "".join(
            difflib.unified_diff(
                _shown(pod.rendered).splitlines(keepends=True),
                _shown(manifest).splitlines(keepends=True),
                f"rendered/{pod.name}.yaml",
                f"podman/{pod.name}.yaml",
            )
        )

    def adapt(self, pod: Pod) -> Document:
        """Create the volumes of a Pod and return its manifest for podman."""
        manifest = _apart(pod.rendered)
        spec = manifest["spec"]
        spec["hostNetwork"] = True
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            self._listen(pod, container)
            self._tell_fields(pod, container)
            _leave_probes_and_hooks(container)
            container["volumeMounts"].append({"name": "hosts", "mountPath": "/etc/hosts", "readOnly": True})
        spec["volumes"] = [self._volume(pod, volume) for volume in spec.get("volumes", [])] + [self._hosts()]
        _start_once(spec)
        manifest["metadata"].pop("annotations", None)  # podman refuses annotations of more than 63 characters
        return manifest

    # The network -----------------------------------------------------------------------------------------------

    def _hosts(self) -> Document:
        """Write a hosts file with the names of Pods and Services; a Service resolves to its first Pod.

        It is mounted, as the kubelet does, because podman ignores `hostAliases` on the host network.
        """
        lines = ["127.0.0.1 localhost"]
        services = {each["metadata"]["name"] for each in self._of_kind("Service")}
        first = set[str]()
        for pod in self.pods:
            service = pod.name.rpartition("-")[0]
            if service not in services:
                continue
            domain = f"{service}.{pod.namespace}.svc"
            lines.append(f"{pod.address} {pod.name}.{domain}" + ("" if service in first else f" {domain}"))
            first.add(service)
        path = self.folder / "volumes" / "hosts"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {"name": "hosts", "hostPath": {"path": str(path), "type": "File"}}

    def _listen(self, pod: Pod, container: Document) -> None:
        """Listen on and probe the Pod's address instead of all addresses: on the host network podman maps no ports."""
        container.pop("ports", None)
        for part in ("command", "args"):
            if part in container:
                container[part] = [word.replace("//0.0.0.0:", f"//{pod.address}:") for word in container[part]]
                # Without Services, use the port of the Pod.
                container[part] = [re.sub(r"(-gate\.[a-z]+\.svc):(443|80)\b", r"\1:8000", w) for w in container[part]]
        settings = {
            "node": {"GOVERSE_CLUSTER__LISTEN": ":7400", "GOVERSE_CLUSTER__ADMIN_LISTEN": ":7480"},
            "gate": {"GOVERSE_GATE__HOST": ""},
        }
        if container["name"] == pod.component:
            for name, port in settings.get(pod.component, {}).items():
                container["env"].append({"name": name, "value": f"{pod.address}{port}"})
        if container["name"] == "postgres":
            container["args"] += ["-c", f"listen_addresses={pod.address}"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            command = container.get(probe, {}).get("exec", {}).get("command", [])
            command[:] = [word.replace("=127.0.0.1", f"={pod.address}") for word in command]

    # Features that podman lacks ------------------------------------------------------------------------------------

    def _tell_fields(self, pod: Pod, container: Document) -> None:
        """Replace references to fields and other variables by their values, because podman does not resolve them."""
        known = {"metadata.name": pod.name, "metadata.namespace": pod.namespace, "status.podIP": pod.address}
        values: dict[str, str] = {}
        for entry in container.get("env", []):
            path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            if path:
                del entry["valueFrom"]
                entry["value"] = known[path]
            if reference:
                values[entry["name"]] = self._secret(reference["name"])[reference["key"]].decode()
            else:
                entry["value"] = _expanded(entry["value"], values)
                values[entry["name"]] = entry["value"]
        for part in ("command", "args"):
            if part in container:
                container[part] = [_expanded(word, values) for word in container[part]]

    def _volume(self, pod: Pod, volume: Document) -> Document:
        """Create a volume as a folder that belongs to the group of the Pod, as the kubelet does."""
        path = self.folder / "volumes" / pod.name / volume["name"]
        contents: dict[str, bytes] = {}
        mode = 0o644
        if "persistentVolumeClaim" in volume:
            path = self.folder / "volumes" / volume["persistentVolumeClaim"]["claimName"]
        elif "configMap" in volume:
            wanted = volume["configMap"]["name"]
            (found,) = [each for each in self._of_kind("ConfigMap") if each["metadata"]["name"] == wanted]
            contents = {name: text.encode() for name, text in found["data"].items()}
        elif "secret" in volume:
            contents, mode = self._secret(volume["secret"]["secretName"]), volume["secret"]["defaultMode"]
            if "items" in volume["secret"]:
                contents = {item["path"]: contents[item["key"]] for item in volume["secret"]["items"]}
        path.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (path / name).write_bytes(content)
            (path / name).chmod(mode)
            os.chown(path / name, 0, pod.gid)
        os.chown(path, 0, pod.gid)
        path.chmod(0o2775 if not contents else 0o755)
        return {"name": volume["name"], "hostPath": {"path": str(path), "type": "Directory"}}

    def _secret(self, name: str) -> dict[str, bytes]:
        (found,) = [each for each in self._of_kind("Secret") if each["metadata"]["name"] == name]
        return {key: base64.b64decode(value) for key, value in found["data"].items()}

    def _of_kind(self, kind: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] == kind]


def _apart(document: Document) -> Document:
    """Return a deep copy without shared parts: containers that were derived from each other share objects."""
    return dict(json.loads(json.dumps(document)))


def _expanded(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"$({name})", value)
    return text


def _leave_probes_and_hooks(container: Document) -> None:
    """Remove HTTP probes, for which podman would run curl in the container, and hooks, which it does not support."""
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "httpGet" in container.get(probe, {}):
            del container[probe]
    container.pop("lifecycle", None)


def _start_once(spec: Document) -> None:
    """Prevent podman from restarting completed init containers, as it does if the restart policy is Always."""
    if spec.get("initContainers") and spec.get("restartPolicy", "Always") == "Always":
        spec["restartPolicy"] = "OnFailure"


def _shown(document: Document) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=1_000)


def main() -> None:
    """Read the rendered chart from standard input, write the Pods, and print the diff."""
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    sys.stdout.write(Machine(Path(sys.argv[1]).resolve(), documents).write())


if __name__ == "__main__":
    main()
