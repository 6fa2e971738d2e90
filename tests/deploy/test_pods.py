"""The Pods of the chart run for real: called over TLS, stopped and started under load, backed up, destroyed, restored.

The tests share one cluster and run in order. podman runs the containers, and `tests/deploy/kubelet.py` does the rest of
a kubelet's work. The first test checks the changes that `scripts/pods.py` makes to the manifests.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
from collections.abc import Iterator
from copy import deepcopy
from itertools import count

import httpx
import pytest

from scripts.operate import restoring
from tests.deploy.connections import compare
from tests.deploy.engine import Engine
from tests.deploy.kubelet import NOTHING, confinement, until
from tests.deploy.pod_cluster import SERVICE, PodCluster, pod_cluster
from tests.deploy.policies import COMPONENT, Edge, edges

pytestmark = [pytest.mark.deploy]

COUNTERS = 24
LANES = 4
LOOKS = 30
PATIENCE_S = 120.0

# Lines that scripts/pods.py may change, by field.
NETWORK = ("hostNetwork", "ports", "volumeMounts", "env", "command", "args")
LEFT_TO_OTHERS = (
    "volumes",
    "startupProbe",
    "livenessProbe",
    "readinessProbe",
    "lifecycle",
    "restartPolicy",
    "annotations",
)

DNS = {
    (part, "namespace:kube-system", 53): "names are resolved by the Pods' hosts files here"
    for part in ("gate", "node", "etcd", "postgres", "tools", "backup", "test")
}
PROMETHEUS = {
    ("namespace:monitoring", part, port): "no Prometheus runs in this test"
    for part, port in {"gate": 8000, "node": 7480, "etcd": 2381}.items()
}
API_SERVER = {("node", "cidr:192.0.2.1/32", port): "no API server runs in this test" for port in (443, 6443)}
UNSEEN = {**DNS, **PROMETHEUS, **API_SERVER}
# Connections from the machine itself: callers and probes. A policy never blocks a kubelet from its Pods.
CALLERS = {("outside", "gate", 8000): ("pods", "gate", 8000)}
PROBES = {("outside", "node", 7480), ("outside", "etcd", 2381)}


def _changed(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths at which two Pods differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() | after.keys():
            yield from _changed(before.get(name), after.get(name), f"{path}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changed(one, other, f"{path}/{number}")
    elif before != after:
        yield path


@pytest.fixture(scope="module")
def running(containers: Engine, images: dict[str, str]) -> Iterator[PodCluster]:
    """The Pods of the chart, with their connections observed from before the first Pod."""
    with pod_cluster(containers, images) as made:
        yield made


@pytest.mark.requirement("OPS-2")
def test_the_pods_differ_from_the_rendered_ones_in_their_network_and_in_what_podman_cannot_do(
    running: PodCluster,
) -> None:
    allowed = {*NETWORK, *LEFT_TO_OTHERS}
    strange = {
        f"{pod.name}{path}"
        for pod in running.kubelet.machine.pods
        for path in _changed(pod.rendered, running.kubelet.machine.adapt(pod))
        if not allowed & set(path.split("/"))
    }

    assert strange == set()
    assert "+  hostNetwork: true" in running.kubelet.difference
    kept = [line for line in running.kubelet.difference.splitlines() if line.startswith("-") and "securityC" in line]
    assert kept == []


@pytest.mark.requirement("OPS-1", "OPS-2")
def test_every_container_is_confined_as_the_chart_says(running: PodCluster) -> None:
    for name, pod in running.kubelet.pods.items():
        if pod.component not in {"node", "gate", "etcd", "postgres"}:
            continue
        uid = str(pod.rendered["spec"]["securityContext"]["runAsUser"])
        found = confinement(running.kubelet.state(name)["Pid"])
        assert found == {"Uid": uid, "Gid": uid, **NOTHING}, name
        tried = running.engine.attempt("podman", "exec", running.kubelet.container(name), "touch", "/written")
        assert "Read-only file system" in tried.stderr, name


@pytest.mark.requirement("OPS-4")
def test_all_probes_pass_and_pods_know_their_names(running: PodCluster) -> None:
    for component in ("node", "gate", "etcd", "postgres"):
        for name in running.kubelet.of(component):
            for kind in running.kubelet.probes(name):
                assert running.kubelet.passes(name, kind), f"{kind} of {name}"
    for name in running.kubelet.of("node"):
        line = f'"node":"{name}"'
        until(lambda: line in running.kubelet.log(name).replace('": "', '":"'), f"{name} logs its name")  # noqa: B023


@pytest.mark.requirement("OPS-4")
def test_the_hook_of_a_node_logs_that_no_api_server_was_found(running: PodCluster) -> None:
    """The hook does not affect the node, prints nothing itself, and exits with 0."""
    name = running.kubelet.of("node")[0]
    hook = running.kubelet.main(name)["lifecycle"]["preStop"]["exec"]["command"]
    ran = running.engine.attempt("podman", "exec", running.kubelet.container(name), *hook)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")

    def entries() -> list[str]:
        return [line for line in running.kubelet.log(name).splitlines() if "goverse.pre_stop" in line]

    until(lambda: bool(entries()), "the line of the hook is in the log")  # written a moment later
    said = entries()
    assert [("KUBERNETES_SERVICE_HOST is not set" in line, name in line) for line in said] == [(True, True)]


@pytest.mark.requirement("OBS-3")
async def test_the_log_level_of_a_pod_changes_with_the_admin_token_that_it_made(running: PodCluster) -> None:
    """The request goes through localhost, as with a port-forward."""
    tokens = set[str]()
    for part, scheme, port in (("node", "http", 7480), ("gate", "https", 8000)):
        name = running.kubelet.of(part)[0]
        token = running.engine.run("podman", "exec", running.kubelet.container(name), "cat", "/tmp/admin.token").strip()
        base = f"{scheme}://{running.kubelet.address(name)}:{port}"
        async with running.client() as client:
            for level in ("DEBUG", "INFO"):
                answers = [
                    await client.put(
                        f"{base}/admin/log-level",
                        json={"level": level},
                        headers={"authorization": f"Bearer {sent}", "host": f"localhost:{port}"},
                        extensions={"sni_hostname": SERVICE},
                    )
                    for sent in ("of-another-process", token)
                ]
                assert [answer.status_code for answer in answers] == [403, 200], [answer.text for answer in answers]
        tokens.add(token)
    assert len(tokens) == 2


@pytest.mark.requirement("OPS-2")
def test_helm_test_finds_a_gate_that_serves_types(running: PodCluster) -> None:
    assert re.search(r"[1-9][0-9]* methods are served", running.kubelet.run_to_end("goverse-test"))


@pytest.mark.requirement("SEC-3")
async def test_every_gate_is_called_over_tls_and_its_certificate_is_checked(running: PodCluster) -> None:
    for name in running.kubelet.of("gate"):
        async with running.client(name) as client:
            await running.increment(client, f"first-{name}", f"first-{name}")
            await running.bid_at_auctions(name, name)
    address = running.kubelet.address(running.kubelet.of("gate")[0])
    async with httpx.AsyncClient(verify=ssl.create_default_context()) as stranger:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get(f"https://{address}:8000/readyz")


@pytest.mark.requirement("OPS-4", "CLU-11")
async def test_a_node_pod_is_stopped_and_started_under_load_without_a_failed_call(running: PodCluster) -> None:
    numbers = count()
    done = asyncio.Event()
    sent: dict[str, int] = {}

    async def load(lane: int) -> None:
        async with running.client(running.kubelet.of("gate")[lane % 2]) as client:
            while not done.is_set():
                number = next(numbers)
                counter = f"load-{number % COUNTERS}"
                await running.increment(client, counter, f"load-{number}")
                sent[counter] = sent.get(counter, 0) + 1

    async def goes_on(calls: int) -> None:
        before = sum(sent.values())
        async with asyncio.timeout(PATIENCE_S):
            while sum(sent.values()) < before + calls:
                assert not any(lane.done() for lane in lanes), [lane.exception() for lane in lanes if lane.done()]
                await asyncio.sleep(0.05)

    lanes = [asyncio.create_task(load(lane)) for lane in range(LANES)]
    try:
        await goes_on(100)
        for name in running.kubelet.of("node"):
            code = await asyncio.to_thread(running.kubelet.stop, name)
            assert code == 0
            await goes_on(50)
            await asyncio.to_thread(running.kubelet.start, name)
            await asyncio.to_thread(running.kubelet.await_ready, name)
            await goes_on(50)
    finally:
        done.set()
        ended = await asyncio.gather(*lanes, return_exceptions=True)
    assert [one for one in ended if one is not None] == []

    async with running.client() as client:
        assert {counter: await running.value(client, counter) for counter in sent} == sent
    assert _doubled(running) == []


def _doubled(running: PodCluster) -> list[tuple[str, int]]:
    """Return responses that two different calls got, which would mean that one of them had no effect."""
    answers = [answer for key, answer in running.acknowledged.items() if key.startswith("load-")]
    return sorted({answer for answer in answers if answers.count(answer) > 1})


@pytest.mark.requirement("OPS-4", "GATE-8")
async def test_a_gate_pod_leaves_within_its_grace_period(running: PodCluster) -> None:
    name = running.kubelet.of("gate")[1]
    assert await asyncio.to_thread(running.kubelet.stop, name) == 0
    await asyncio.to_thread(running.kubelet.start, name)
    await asyncio.to_thread(running.kubelet.await_ready, name)


@pytest.mark.requirement("OPS-6", "DUR-2")
async def test_the_restored_database_has_every_acknowledged_call(running: PodCluster) -> None:
    backup = await asyncio.to_thread(running.back_up)
    assert re.findall(r"created (postgres|etcd)-\d{8}T\d{6}Z, [1-9]\d* bytes", backup) == ["postgres", "etcd"]
    kubelet = running.kubelet
    processes = [*kubelet.of("gate"), *kubelet.of("node")]
    ends = await asyncio.gather(*(asyncio.to_thread(kubelet.stop, name) for name in processes))
    assert ends == [0] * len(processes)
    (postgres,) = kubelet.of("postgres")
    assert await asyncio.to_thread(kubelet.stop, postgres) == 0
    data = kubelet.machine.folder / "volumes" / f"data-{postgres}" / "postgres"
    assert (data / "PG_VERSION").exists()
    shutil.rmtree(data)

    await asyncio.to_thread(kubelet.start, postgres)
    await asyncio.to_thread(kubelet.await_ready, postgres)
    await asyncio.to_thread(kubelet.run_to_end, running.job("migrate"))
    dump = re.search(r"created (postgres-\w+)", backup)
    assert dump is not None
    cronjob = running.document("CronJob", "goverse-backup-postgres")
    for job in (
        restoring.restore_job(cronjob, dump[1], "now"),
        restoring.after_job(cronjob, restoring.tools_image(cronjob), "now"),
    ):
        await asyncio.to_thread(kubelet.run_to_end, kubelet.add(job))
    await asyncio.to_thread(running.start_processes, migrate=False)

    before = dict(running.acknowledged)
    assert len(before) > 200
    async with running.client() as client:
        lanes = asyncio.Semaphore(LANES)

        async def again(key: str, counter: str, value: int) -> None:
            async with lanes:
                answer = await running.increment(client, counter, key)
            assert (answer.json(), answer.headers.get("idempotency-replayed")) == (value, "true"), key

        await asyncio.gather(*(again(key, *answer) for key, answer in before.items()))
        for counter in {counter for counter, _ in before.values()}:
            newest = max(value for name, value in before.values() if name == counter)
            assert await running.value(client, counter) == newest
            fresh = await running.increment(client, counter, f"after-{counter}")
            assert fresh.json() == newest + 1


@pytest.fixture(scope="module")
def seen(running: PodCluster) -> set[Edge]:
    """The edges on which connections were seen since the first Pod: migration, calls, stops, backups, a restore.

    Pods that run once connect so briefly that polling a hundred times per second can miss it, so they run repeatedly.
    """
    asyncio.run(running.bid_at_auctions(running.kubelet.of("gate")[0], "last"))
    brief = {("test", "gate", 8000): "test", ("backup", "etcd", 2379): "backup-etcd"}
    brief |= {("backup", "postgres", 5432): "backup-postgres", ("tools", "postgres", 5432): "migrate"}
    for _ in range(LOOKS):
        for job in [job for edge, job in brief.items() if edge not in running.edges()]:
            running.kubelet.run_to_end(running.job(job))
    return {CALLERS.get(edge, edge) for edge in running.edges() - PROBES}


@pytest.mark.requirement("OPS-2")
def test_each_open_edge_is_used_and_each_used_edge_is_open(running: PodCluster, seen: set[Edge]) -> None:
    allowed = edges(running.documents, running.parts())

    assert compare(seen, allowed, UNSEEN) == (set(), set(), set())


@pytest.mark.requirement("OPS-2")
def test_an_edge_too_many_is_found(running: PodCluster, seen: set[Edge]) -> None:
    planted = [deepcopy(document) for document in running.documents]
    for policy in planted:
        if policy["kind"] == "NetworkPolicy" and policy["metadata"]["name"] in {"goverse-gate", "goverse-postgres"}:
            labels = running.parts()
            peers = {"goverse-gate": ("egress", "to", "postgres"), "goverse-postgres": ("ingress", "from", "gate")}
            direction, whom, part = peers[policy["metadata"]["name"]]
            selector = {COMPONENT: labels[part][COMPONENT]}
            rule = {"ports": [{"protocol": "TCP", "port": 5432}], whom: [{"podSelector": {"matchLabels": selector}}]}
            policy["spec"].setdefault(direction, []).append(rule)

    assert compare(seen, edges(planted, running.parts()), UNSEEN) == (set(), {("gate", "postgres", 5432)}, set())


@pytest.mark.requirement("OPS-2")
def test_a_missing_edge_is_found(running: PodCluster, seen: set[Edge]) -> None:
    cut = [each for each in running.documents if each["metadata"]["name"] != "goverse-tools"]

    strange, _, _ = compare(seen, edges(cut, running.parts()), UNSEEN)
    assert strange == {("tools", "postgres", 5432)}
