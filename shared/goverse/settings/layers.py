"""The layers of settings: a file, the environment, and flags. Each layer records the origin of each value.

A layer accepts any name and value; both are validated by the models.
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
"""Variables with our prefix that are read by the command itself and are not settings."""

FILE_SUFFIX = "_FILE"

_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on

_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*|\w+_PORT=(tcp|udp|sctp)://.*"
)
"""Variables that Kubernetes adds to a container for a service called ``goverse-...``."""


@dataclass(slots=True)
class Layer:
    """Values by section and name, and the origin of each dotted path."""

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
        """Return the origin of ``path`` or of a value below it; None if this layer has neither."""
        if path in self.origins:
            return self.origins[path]
        inside = [origin for known, origin in self.origins.items() if known[: len(path)] == path]
        return inside[0] if inside else None


def read_flags(flags: Mapping[str, tuple[str, Any]]) -> Layer:
    """Read command-line flags such as ``{"gate.port": ("--port", 8001)}``; None means that the flag is not given."""
    layer = Layer()
    for path, (flag, value) in flags.items():
        if value is not None:
            layer.put(tuple(path.split(".")), value, f"flag {flag}")
    return layer


def read_pod(environ: Mapping[str, str], listen: str) -> Layer:
    """Read ``POD_IP``: the default address that a node advertises if it listens on all addresses."""
    layer = Layer()
    host, _, port = listen.rpartition(":")
    address = environ.get("POD_IP", "")
    if address and host.strip("[]") in _ALL_ADDRESSES:
        shown = f"[{address}]" if ":" in address else address
        layer.put(("cluster", "advertise"), f"{shown}:{port}", "environment variable POD_IP")
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """Read ``GOVERSE_<SECTION>__<KEY>``, ``LOG_FORMAT`` and ``LOG_LEVEL``.

    ``..._FILE`` names a file that holds the value. An empty variable counts as not set.

    Raises:
        ConfigError: a ``..._FILE`` cannot be read, or is set together with the variable itself.
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
        layer.put(_path_of(name) or (variable,), value, f"environment variable {variable}")
    return layer


def _path_of(name: str) -> SettingPath | None:
    """Return the setting of a variable. Returns None for a name of another form, which is then reported as unknown.

    The name of an object type keeps its case: ``GOVERSE_OBJECTS__Wallet__DELETE``.
    """
    given = name.removeprefix(ENVIRONMENT_PREFIX).split("__")
    parts = tuple(part.lower() for part in given)
    if len(parts) == 3 and parts[0] == "objects" and all(parts):
        return parts[0], given[1], parts[2]
    return parts if len(parts) == 2 and all(parts) else None


def _content(variable: str, path: Path, *, beside: str | None) -> str:
    if beside is not None:
        raise ConfigError(f"both {beside} and {variable} are set; keep one of them")
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable} names {path}, which cannot be read: {_reason(error)}") from error


def read_file(path: Path) -> Layer:
    """Read a YAML file; the origin of a value is the file's name and the line.

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
            # A section whose lines are all commented out is null in YAML: it counts as empty.
            layer.put(here, {} if value is None and not prefix else value, place)


def _construct(loader: SafeLoader, node: yaml.Node) -> Any:
    return loader.construct_object(node, deep=True)  # pyright: ignore[reportUnknownMemberType]


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's message without its quotes from the file.

    They may hold a secret: in `password: *word`, YAML takes the word for an alias and quotes it.
    """
    return re.sub(r"'(?!<)[^']{2,}'", "'...'", error.problem or "it cannot be parsed")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
