"""A support bundle contains no secrets and keeps everything else."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.operate.redaction import HIDDEN, of_document, of_text

pytestmark = pytest.mark.requirement("OPS-9")

SECRET = "swordfish-9"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://goverse:{SECRET}@db:5432/goverse",
        f"PGPASSWORD={SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"dsn: user=a password='{SECRET}' host=b",
        f"Authorization: Bearer {SECRET}abc",
        f"api_key={SECRET}&x=1",
        f"password: correct horse {SECRET} staple",
        f'{{"password": "ab,cd{SECRET}"}}',
        f'{{"password": "a\\"b {SECRET}", "x": 1}}',
        f'{{"event": "got {{\\"token\\": \\"a b {SECRET}\\"}}"}}',
        f"password: |\n  one\n  {SECRET}\nnext: 1",
        f"PASSWORD=/9sK3x{SECRET}",
        f"postgresql://goverse:pa/ss{SECRET}@db:5432/goverse",
        f"postgresql://goverse:p@{SECRET}ss@db/goverse",
        f"redis://:{SECRET}@cache:6379/0",
        f"https://{SECRET}@git.example/x",
        f"X-Api-Key: {SECRET}",
        f"x-auth: {SECRET}",
        f"could not connect: host=db user=g password='two {SECRET}' dbname=x",
        f"Authorization: Digest {SECRET}{SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"privateKey={SECRET}",
        f"passphrase={SECRET}",
        f"cookie: session={SECRET}",
        f"GOOGLE_CREDENTIALS_FILE={SECRET}",
        f"pg_dump --password {SECRET} --verbose",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_a_secret_in_a_text_is_hidden(text: str) -> None:
    assert SECRET not in of_text(text)
    assert HIDDEN in of_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://goverse@db:5432/goverse?sslmode=verify-full",
        "https://gate.example:8000/objects/Counter/c1",
        '{"token": null, "passwords": false}',
        "GOVERSE_POSTGRES__PASSWORD_FILE=/etc/goverse/postgres-password/password",
        '{"ts": "2026-05-01T12:00:00Z", "event": "shard 7 opened"}',
    ],
)
def test_other_text_is_unchanged(text: str) -> None:
    assert of_text(text) == text


def test_unknown_environment_values_are_hidden_and_references_stay() -> None:
    document: dict[str, Any] = {
        "env": [
            {"name": "SHOP_TOKEN", "value": SECRET},
            {"name": "SHOP", "value": SECRET},
            {"name": "POD_NAME", "value": "goverse-node-0"},
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "password"}}},
        ],
        "volumes": [{"name": "p", "secret": {"secretName": "goverse-postgres"}}],
        "metadata": {"managedFields": [SECRET], "name": "x"},
        "config": {"password": SECRET, "postgres": {"existingSecret": "named"}},
    }
    made = of_document(document)

    assert SECRET not in str(made)
    assert made["env"][2:] == document["env"][2:]
    assert made["volumes"] == document["volumes"]
    assert made["config"]["postgres"] == {"existingSecret": "named"}


@pytest.mark.parametrize(
    "document",
    [
        {"name": "STRIPE_KEY", "value": SECRET},
        {"name": "DB_PWD", "value": SECRET},
        {"name": "ANYTHING", "value": SECRET},
        {"name": "DSN", "value": f"postgresql://u:p/{SECRET}@h/d"},
        {"args": ["--password", SECRET]},
        {"args": [f"--db-password={SECRET}"]},
        {"command": ["sh", "-c", f"tool --token {SECRET}"]},
        {"webhookUrl": f"https://hooks.example/services/{SECRET}"},
        {"dbPassword": SECRET},
        {"apiKey": SECRET},
        {"APIKey": SECRET},
        {"key": SECRET},
        {"name": "stripe", "key": SECRET},
        {"password": f"/{SECRET}"},
        {"Token": SECRET},
        {"token": {"of": [SECRET]}},
        {"passwords": [SECRET]},
        {"secret": {"value": SECRET}},
    ],
)
def test_a_secret_in_a_document_is_hidden(document: dict[str, Any]) -> None:
    assert SECRET not in str(of_document({"config": [document]}))


def test_numeric_secrets_are_hidden_and_references_stay() -> None:
    assert of_document({"password": 12345678, "pin": 3}) == {"password": HIDDEN, "pin": 3}
    kept: dict[str, Any] = {
        "tolerations": [{"key": "objects", "operator": "Exists"}],
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
        "topologyKey": "kubernetes.io/hostname",
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": "registry"}],
    }
    assert of_document(kept) == kept
