"""The chart refuses contradictory and unknown values, with an error that names the value."""

from __future__ import annotations

import pytest

from tests.deploy.rendering import CHART, run, template

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-2")]

IMAGE = "app.image=x:1"
EXTERNAL = "postgres.bundled=false,postgres.external.dsn=postgresql://goverse@db/goverse"

REFUSED = {
    "app.image=": "app.image is not set",
    "cluster.shards=12": "it must be a power of two",
    "cluster.nodesMin=4": "no shard would ever be placed",
    "etcd.bundled=false": "set etcd.external.endpoints",
    "etcd.external.endpoints={https://etcd:2379}": "use only one of them",
    "etcd.bundled=false,etcd.external.endpoints={http://etcd:2379},etcd.external.tlsSecret=x": "use https://",
    "etcd.external.passwordSecret=x": "without etcd.external.username",
    "etcd.external.clientCertificate=true": "set etcd.external.tlsSecret to the Secret",
    "postgres.bundled=false": "set postgres.external.dsn",
    "postgres.external.dsn=postgresql://goverse@db/goverse": "use only one of them",
    "postgres.bundled=false,postgres.external.dsn=postgresql://goverse:secret@db/goverse": "a password, which",
    "postgres.bundled=false,postgres.external.dsn=postgresql://goverse:se/cret@db/goverse": "a password, which",
    "postgres.bundled=false,postgres.external.dsn=POSTGRESQL://goverse:secret@db/goverse": "a password, which",
    "postgres.bundled=false,postgres.external.dsn=postgresql://goverse@db/goverse?Password=secret": "a password, which",
    "postgres.bundled=false,postgres.external.dsn=host=db user=goverse PASSWORD = secret": "a password, which",
    "postgres.bundled=false,postgres.external.dsn=host=db user=goverse": "is not a URL",
    "migration.mode=hook": "before the bundled PostgreSQL exists",
    "tls.source=existing": "tls.existing.node",
    f"tls.source=existing,tls.existing.node=n,tls.existing.gate=g,{EXTERNAL}": "tls.existing.etcd",
    "ingress.enabled=true": "set ingress.host",
    "ingress.enabled=true,ingress.host=objects.example": "would block its controller",
    "nodes.autoscaling.enabled=true,nodes.autoscaling.minReplicas=11": "greater than maxReplicas, 10",
    "nodes.terminationGracePeriodS=60": "need 100: Kubernetes would kill a draining process",
    "nodes.shutdown=auto,networkPolicy.apiServerPorts=null": "set networkPolicy.apiServerPorts to its ports",
    "nodes.shutdown=auto,networkPolicy.apiServerPorts={}": "which is not a port",
    "nodes.shutdown=auto,networkPolicy.apiServerPorts={https}": "which is not a port",
    "nodes.shutdown=auto,nodes.terminationGracePeriodS=100": "need 105: Kubernetes would kill a draining process",
    "nodes.shutdown=slowly": "value must be one of",
    "gates.terminationGracePeriodS=30": "need 40: Kubernetes would kill a draining process",
    "config.gate.drain_timeout_s=60": "config.gate.drain_timeout_s is set by the chart: use cluster.drainTimeoutS",
    "config.cluster.listen=x": "config.cluster.listen is set by the chart",
    "config.cluster.nodes_min=9": "config.cluster.nodes_min is set by the chart: use cluster.nodesMin",
    "config.cluster.advertise=x:1": "config.cluster.advertise is set by the chart",
    "config.node.id=one": "config.node.id is set by the chart",
    "nodes.maxUnavailable=3": "draining machines could evict all of them",
    "gates.autoscaling.enabled=true,gates.maxUnavailable=2": "draining machines could evict all of them",
    "nodes.autoscaling.enabled=true,cluster.drainTimeoutS=500": "Kubernetes waits at most 1800",
    "spread.hosts=required,gates.replicas=1": "a rollout would stop it before its replacement starts",
    "config.gate.tls_client_ca=/x": "would make the probes of Kubernetes fail",
    "config.gate.webdir=/x": "additional properties 'webdir' not allowed",
    "config.gates.web_dir=/x": "additional properties 'gates' not allowed",
    "gates.page.configMap=page,config.gate.web_dir=/x": "gates.page.configMap and config.gate.web_dir are both set",
    "tls.enabeld=false": "additional properties 'enabeld' not allowed",
    "tls.source=letsencrypt": "value must be one of",
    "nodes.replicas=0": "minimum",
    "nodes.replicas=many": "got string, want integer",
}


@pytest.mark.parametrize("values", REFUSED)
def test_such_values_are_refused_with_a_sentence(values: str) -> None:
    ran = template("--set", IMAGE, "--set", values)

    assert ran.returncode != 0
    assert REFUSED[values] in ran.stderr


def test_what_is_left_of_each_is_accepted() -> None:
    ran = template("--set", IMAGE, "--set", EXTERNAL, "--set", "migration.mode=hook")

    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["1shop", "123", "shop.eu", "1shop.eu"])
def test_names_that_services_cannot_have_are_refused_with_a_sentence(name: str) -> None:
    ran = run("helm", "template", name, CHART, "--set", IMAGE)

    assert ran.returncode != 0
    assert f"the release name {name} is invalid" in ran.stderr
