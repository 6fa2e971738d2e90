"""What Helm makes by itself, certificates and passwords, outlives upgrades, and is made anew when it is time."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.deploy.api_server import Document, api_server
from tests.deploy.rendering import template

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-2")]

PARTS = ("node", "gate", "etcd", "postgres")

Secrets = dict[str, Document]
"""By name."""


def upgrade(before: Secrets, folder: Path, *values: str) -> Secrets:
    """Return the secrets that Helm would apply where ``before`` is what the cluster has."""
    with api_server(folder) as server:
        server.put(*map(_applied, before.values()))
        ran = template(
            "--dry-run=server",
            "--disable-openapi-validation",
            "--kubeconfig",
            server.kubeconfig,
            "--set",
            "app.image=x:1",
            *values,
        )
    assert ran.returncode == 0, ran.stderr
    found = [each for each in yaml.safe_load_all(ran.stdout) if each]
    return {each["metadata"]["name"]: each for each in found if each["kind"] == "Secret"}


def _applied(secret: Document) -> Document:
    """Return a secret as Helm leaves it in a cluster: it notes whose it is."""
    metadata = secret["metadata"]
    owner = {"meta.helm.sh/release-name": "goverse", "meta.helm.sh/release-namespace": metadata["namespace"]}
    return {**secret, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **owner}}}


def certificate(secret: dict[str, Any], key: str = "tls.crt") -> x509.Certificate:
    return x509.load_pem_x509_certificate(b64decode(secret["data"][key]))


def check_signed(secret: dict[str, Any], authority: x509.Certificate) -> None:
    own, key = certificate(secret), authority.public_key()
    assert isinstance(key, RSAPublicKey)
    assert own.signature_hash_algorithm is not None
    key.verify(own.signature, own.tbs_certificate_bytes, padding.PKCS1v15(), own.signature_hash_algorithm)
    assert certificate(secret, "ca.crt") == authority


def names_of(secret: dict[str, Any]) -> list[str]:
    found = certificate(secret).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def test_the_first_installation_makes_certificates_for_the_names_that_are_used(tmp_path: Path) -> None:
    made = upgrade({}, tmp_path)

    authority = certificate(made["goverse-ca"])
    for part in PARTS:
        check_signed(made[f"goverse-{part}-tls"], authority)
        usage = certificate(made[f"goverse-{part}-tls"]).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(usage)
    assert "goverse-node" in names_of(made["goverse-node-tls"])
    assert "goverse-gate.objects.svc" in names_of(made["goverse-gate-tls"])
    assert "goverse-etcd-2.goverse-etcd.objects.svc" in names_of(made["goverse-etcd-tls"])
    assert "goverse-postgres.objects.svc" in names_of(made["goverse-postgres-tls"])


def test_an_upgrade_keeps_what_is_there(tmp_path: Path) -> None:
    before = upgrade({}, tmp_path)

    assert upgrade(before, tmp_path) == before


def test_in_the_last_third_of_its_life_a_certificate_is_made_anew_under_the_same_authority(tmp_path: Path) -> None:
    before = upgrade({}, tmp_path)
    before["goverse-gate-tls"]["metadata"]["annotations"]["goverse/renew-after"] = "1700000000"
    after = upgrade(before, tmp_path)

    changed = {name for name in after if after[name]["data"] != before[name]["data"]}
    assert changed == {"goverse-gate-tls"}
    check_signed(after["goverse-gate-tls"], certificate(before["goverse-ca"]))


def test_another_name_needs_another_certificate(tmp_path: Path) -> None:
    before = upgrade({}, tmp_path)
    ingress = "ingress.enabled=true,ingress.host=objects.example,ingress.controllerNamespaceLabels.a=b"
    after = upgrade(before, tmp_path, "--set", ingress)

    assert {name for name in after if after[name]["data"] != before[name]["data"]} == {"goverse-gate-tls"}
    assert "objects.example" in names_of(after["goverse-gate-tls"])
