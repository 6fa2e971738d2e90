"""Where values come from: a file, the environment, flags. Each layer remembers the origin of each value.

A layer holds whatever it found, known or not; judging names and values is left to the models, in one place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.loader import SafeLoader

from goverse.errors import ConfigError
from goverse.settings.catalog import ENVIRONMENT_PREFIX, PLAIN_NAMES

SettingPath = tuple[str, ...]

OTHER_VARIABLES = frozenset(
    f"GOVERSE_{name}" for name in ("ADMIN_DSN", "ADMIN_PASSWORD_FILE", "CA", "CERT", "CERT_KEY", "CONFIG", "URL")
)
"""Variables with our prefix that tell the command something but are no settings."""

FILE_SUFFIX = "_FILE"

_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on

_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*|\w+_PORT=(tcp|udp|sctp)://.*"
)
"""What Kubernetes adds to a container for a service called ``goverse-...``."""


@dataclass(slots=True)
class Layer:
    """Values by section and name, and for each dotted path where it was written."""

    values: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    origins: dict[SettingPath, str] = field(default_factory=dict[SettingPath, str])

    def put(self, path: SettingPath, value: Any, origin: str) -> None:
        """Set the value at ``path``."""
        inner = self.values
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
        self.origins[path] = origin

    def origin(self, path: SettingPath) -> str | None:
        """Return where ``path``, or something in it, was written; None if not in this layer."""
        if path in self.origins:
            return self.origins[path]
        inside = [origin for known, origin in self.origins.items() if known[: len(path)] == path]
        return inside[0] if inside else None


def read_flags(flags: Mapping[str, tuple[str, Any]]) -> Layer:
    """Take command-line flags: ``{"gate.port": ("--port", 8001)}``; None means not given."""
    layer = Layer()
    for path, (flag, value) in flags.items():
        if value is not None:
            layer.put(tuple(path.split(".")), value, f"flag {flag}")
    return layer


def read_pod(environ: Mapping[str, str], listen: str) -> Layer:
    """Take ``POD_IP``: the address that a node advertises where none is set and it listens on all addresses."""
    layer = Layer()
    host, _, port = listen.rpartition(":")
    address = environ.get("POD_IP", "")
    if address and host.strip("[]") in _ALL_ADDRESSES:
        shown = f"[{address}]" if ":" in address else address
        layer.put(("cluster", "advertise"), f"{shown}:{port}", "environment variable POD_IP")
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """Take ``GOVERSE_<SECTION>__<KEY>``, ``LOG_FORMAT`` and ``LOG_LEVEL``.

    ``..._FILE`` names a file that holds the value. An empty variable counts as not set.

    Raises:
        ConfigError: a ``..._FILE`` cannot be read, or stands beside the variable itself.
    """
    layer = Layer()
    for variable, path in PLAIN_NAMES.items():
        if environ.get(variable):
            layer.put(tuple(path.split(".")), environ[variable], f"environment variable {variable}")
    if environ.get("POD_NAME"):
        layer.put(("node", "id"), environ["POD_NAME"], "environment variable POD_NAME")
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES or not environ[variable]:
            continue
        if "__" not in variable and _SERVICE_LINK.fullmatch(f"{variable}={environ[variable]}"):
            continue
        value, name = environ[variable], variable
        if variable.endswith(FILE_SUFFIX):
            name = variable.removesuffix(FILE_SUFFIX)
            value = _content(variable, Path(value), beside=name if environ.get(name) else None)
        parts = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        # A name of another form can be no setting; under its own name it disturbs none and is unknown.
        layer.put(parts if len(parts) == 2 and all(parts) else (variable,), value, f"environment variable {variable}")
    return layer


def _content(variable: str, path: Path, *, beside: str | None) -> str:
    if beside is not None:
        raise ConfigError(f"both {beside} and {variable} are set; keep one of them")
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable} names {path}, which cannot be read: {_reason(error)}") from error


def read_file(path: Path) -> Layer:
    """Take a YAML file; an origin is its name and the line.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is not a mapping of sections.
    """
    try:
        loader = SafeLoader(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {_reason(error)}") from error
    layer = Layer()
    try:
        root = loader.get_single_node()
        if root is not None:
            _walk(layer, loader, root, (), path)
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"the configuration file {path}{place} is not valid YAML: {_problem(error)}") from None
    finally:
        loader.dispose()
    return layer


def _walk(layer: Layer, loader: SafeLoader, node: yaml.Node, prefix: SettingPath, path: Path) -> None:
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{path}, line {node.start_mark.line + 1}: expected `section:` with `name: value` lines below it"
        )
    loader.flatten_mapping(node)  # `<<: *anchor`
    for key_node, value_node in node.value:
        key = _construct(loader, key_node)
        place = f"{path}, line {key_node.start_mark.line + 1}"
        here = (*prefix, str(key))
        if here in layer.origins:
            raise ConfigError(f"{place}: {'.'.join(here)} is set twice; the first is in {layer.origins[here]}")
        if not prefix and isinstance(value_node, yaml.MappingNode):
            layer.values[str(key)] = {}
            layer.origins[here] = place
            _walk(layer, loader, value_node, here, path)
        else:
            value = _construct(loader, value_node)
            # A section whose lines are all commented out is null in YAML: it is there, and empty.
            layer.put(here, {} if value is None and not prefix else value, place)


def _construct(loader: SafeLoader, node: yaml.Node) -> Any:
    return loader.construct_object(node, deep=True)  # pyright: ignore[reportUnknownMemberType]


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's words without what it quotes of the file: `password: *word` is an alias to it."""
    return re.sub(r"'(?!<)[^']{2,}'", "'...'", error.problem or "it cannot be parsed")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
