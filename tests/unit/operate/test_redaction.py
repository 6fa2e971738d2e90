"""What goes into a bundle has no secret in it, and is still of use."""

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
        "GOVERSE_POSTGRES__PASSWORD_FILE=/etc/goverse/postgres-password/password",
        '{"ts": "2026-05-01T12:00:00Z", "event": "shard 7 opened"}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert of_text(text) == text


def test_environment_is_hidden_by_its_name_and_references_stay() -> None:
    document: dict[str, Any] = {
        "env": [
            {"name": "SHOP_TOKEN", "value": SECRET},
            {"name": "SHOP", "value": "1"},
            {"name": "DB_PASSWORD_FILE", "value": "/run/db"},
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "password"}}},
        ],
        "volumes": [{"name": "p", "secret": {"secretName": "goverse-postgres"}}],
        "metadata": {"managedFields": [SECRET], "name": "x"},
        "config": {"password": SECRET, "postgres": {"existingSecret": "named"}},
    }
    made = of_document(document)

    assert SECRET not in str(made)
    assert made["env"][1:] == document["env"][1:]
    assert made["volumes"] == document["volumes"]
    assert made["config"]["postgres"] == {"existingSecret": "named"}
