"""The Dockerfiles and the compose file fit the repository. `make verify-deploy` checks them with tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from goverse.settings import load_settings
from tests.tree import PACKAGES, ROOT

pytestmark = pytest.mark.requirement("OPS-1")

ROLES = {"gate": {"shared", "gate", "cli"}, "node": {"shared", "node", "gate", "cli"}, "cli": set(PACKAGES)}


def _dockerfile(folder: str) -> str:
    return (ROOT / folder / "Dockerfile").read_text(encoding="utf-8")


def _ignored(path: str) -> bool:
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    return not any(path == rule or path.startswith(f"{rule}/") for rule in allowed)


@pytest.mark.parametrize("folder", ROLES)
def test_an_image_contains_its_own_roots_and_runs_as_an_unprivileged_user(folder: str) -> None:
    text = _dockerfile(folder)
    copied = [words for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) if (words := line.split()[:-1])]
    sources = {word for words in copied for word in words if not word.startswith(("--from", "/"))}

    assert {source.split("/")[0] for source in sources if "/" in source} - {"scripts"} == ROLES[folder]
    assert [source for source in sources if not (ROOT / source).exists() or _ignored(source)] == []
    final = text.rpartition("\nFROM ")[2]
    assert "\nUSER 65532:65532\n" in final
    assert "\nHEALTHCHECK " in final
    assert "\nRUN " not in final, "the last stage needs no shell"
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (?!\[)", final, re.MULTILINE) == []


def test_an_application_is_three_lines() -> None:
    lines = (ROOT / "sample-app" / "Dockerfile").read_text(encoding="utf-8").splitlines()

    assert len([line for line in lines if not line.startswith("ARG")]) == 3


def test_the_services_of_the_compose_file_are_set_with_settings_that_exist() -> None:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    ours = {name: service for name, service in compose["services"].items() if "goverse" in str(service["image"])}
    nodes = {name: service for name, service in compose["services"].items() if name.startswith("node-")}

    for name, service in (ours | nodes).items():
        if "environment" in service:
            assert load_settings(environ=service["environment"]).values.cluster.shards == 256, name
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert {Path(s["build"]["dockerfile"]).parent.name for s in ours.values()} == set(ROLES)
    assert all(port.startswith("127.0.0.1:") for service in ours.values() for port in service.get("ports", []))
