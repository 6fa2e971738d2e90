"""Generate README.md and values.schema.json of the chart from the comments in its values.yaml.

The comment above a value describes it. A `[...]` at its end restricts the value: `[a | b]` lists the allowed words,
`[>= 1]` sets a minimum. Empty maps and lists accept any content; `config` accepts the settings of this release.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from goverse.settings import Settings
from goverse.settings.catalog import sections

CHART = Path(__file__).parents[1] / "helm" / "goverse"
TAKES = re.compile(r"\s*\[([^\]]+)\]$")
FREE = {"resources", "config"}
"""Maps with defaults whose content is not restricted."""

OPENING = """\
# goverse

This chart installs a [GoVerse](../../README.md) cluster on Kubernetes. [Deployment](../../docs/guide/deployment.md)
explains how to use it, and [Chart](../../docs/design/chart.md) explains its design.

`make k8s` generates this page from the comments in `values.yaml`.

| value | default | meaning |
| --- | --- | --- |
"""


def comments(text: str) -> dict[str, str]:
    """Return the comment above each key, keyed by dotted path."""
    found, above, path = dict[str, str](), list[str](), list[str]()
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            above.append(stripped.removeprefix("#").strip())
            continue
        if match := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            found[".".join(path)] = " ".join(above)
        above = []
    return found


def leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return all values that have a row of their own, with their dotted paths."""
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and name not in FREE and not name.endswith("Labels"):
            rows += leaves(value, f"{path}.")
        else:
            rows.append((path, value))
    return rows


def schema_of(value: Any, path: str, told: dict[str, str], documented: set[str]) -> dict[str, Any]:
    """Return the schema of one value."""
    text = told.get(path, "")
    takes = TAKES.search(text)
    made: dict[str, Any] = {"description": TAKES.sub("", text)} if text else {}
    if isinstance(value, dict):
        made["type"] = "object"
        if path not in documented:
            made["additionalProperties"] = False
            made["properties"] = {
                name: schema_of(inner, f"{path}.{name}" if path else name, told, documented)
                for name, inner in value.items()
            }
        return made
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array"}
    made["type"] = kinds[type(value)]
    if takes and "|" in takes[1]:
        made["enum"] = [word.strip() for word in takes[1].split("|")]
    elif takes:
        made["minimum"] = int(takes[1].removeprefix(">="))
    return made


def config_schema() -> dict[str, Any]:
    """Return the schema of `config`: the names of all settings. The processes themselves check the values."""
    return {
        "additionalProperties": False,
        "properties": {
            section: {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: {"description": field.description or ""} for name, field in sorted(model.model_fields.items())
                },
            }
            for section, model in sections(Settings).items()
        },
    }


def documents() -> dict[str, str]:
    """Return the expected content of README.md and values.schema.json.

    Raises:
        SystemExit: a value has no comment.
    """
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    values, told = yaml.safe_load(text), comments(text)
    rows = leaves(values)
    if silent := [path for path, _ in rows if not told.get(path)]:
        sys.exit(f"values without a comment in values.yaml: {', '.join(silent)}")
    table = [
        f"| `{path}` | `{json.dumps(value)}` | {TAKES.sub(_one_of, told[path]).replace('|', '&#124;')} |"
        for path, value in rows
    ]
    schema = schema_of(values, "", told, {path for path, _ in rows})
    schema["properties"]["config"] |= config_schema()
    schema["properties"]["global"] = {"type": "object"}  # Helm adds it
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    return {
        "README.md": OPENING + "\n".join(table) + "\n",
        "values.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
    }


def _one_of(match: re.Match[str]) -> str:
    words = match[1].split("|")
    return f" Allowed: {', '.join(f'`{word.strip()}`' for word in words)}."


if __name__ == "__main__":
    for name, content in documents().items():
        (CHART / name).write_text(content, encoding="utf-8")
