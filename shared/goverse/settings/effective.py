"""Merging and validation of the settings' layers: valid settings with their origins, or all problems together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from goverse.errors import ConfigError
from goverse.settings.catalog import ENVIRONMENT_PREFIX, PLAIN_NAMES, known_settings, plain, sections
from goverse.settings.data_source import HIDDEN, hide_passwords
from goverse.settings.derived import derived
from goverse.settings.layers import Layer, SettingPath, read_environment, read_file, read_flags, read_pod
from goverse.settings.sections import ObjectSettings, Settings
from goverse.telemetry.resources import Allowance

S = TypeVar("S", bound=BaseSettings)
S_co = TypeVar("S_co", bound=BaseSettings, covariant=True)

DEFAULT_ORIGIN = "default"
OBJECTS = "objects"


@dataclass(frozen=True, slots=True)
class EffectiveSettings(Generic[S_co]):
    """The settings of a process, and the layers that they come from, strongest first."""

    values: S_co
    layers: tuple[Layer, ...]

    def origin(self, path: str) -> str:
        """Return the place where the value of ``section.name`` was set."""
        parts = tuple(path.split("."))
        found = _origin(self.layers, parts)
        if found is None and parts[0] == OBJECTS:
            known = (layer.origins.get(parts[:2]) for layer in self.layers)  # a file records the line of the type
            found = next(filter(None, known), None)
        return found or DEFAULT_ORIGIN

    def chosen(self, path: str) -> bool:
        """True if the value of ``section.name`` was set by the user and is not a default."""
        return not self.origin(path).startswith(DEFAULT_ORIGIN)

    def shown(self) -> dict[str, dict[str, Any]]:
        """Return ``{"section.name": {"value", "origin"}}`` for display; secrets are hidden."""
        shown: dict[str, dict[str, Any]] = {}
        for setting in known_settings(type(self.values)):
            section, name = setting.path.split(".")
            value = getattr(getattr(self.values, section), name)
            hidden = HIDDEN if value is not None else None
            shown[setting.path] = {
                "value": hidden if setting.secret else _without_passwords(plain(value)),
                "origin": self.origin(setting.path),
            }
        for kind, section in getattr(self.values, OBJECTS, {}).items():
            for name, value in section:
                if value is not None:
                    path = f"{OBJECTS}.{kind}.{name}"
                    shown[path] = {"value": value, "origin": self.origin(path)}
        return shown


class _LayerSource(PydanticBaseSettingsSource):
    """A layer as a source of pydantic-settings."""

    def __init__(self, settings_type: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_type)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self._layer.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._layer.values


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str],
    flags: Mapping[str, tuple[str, Any]] | None = None,
    allowed: Allowance | None = None,
) -> EffectiveSettings[Settings]:
    """Return the settings from ``flags``, over ``environ``, over ``config`` (or the file ``GOVERSE_CONFIG``).

    ``allowed`` adjusts the defaults to the resources of the process.

    Raises:
        ConfigError: settings are invalid; the message lists every problem with its origin and how to fix it.
    """
    loaded = load(Settings, config=config, environ=environ, flags=flags or {})
    cluster = loaded.values.cluster
    below = () if cluster.advertise else (read_pod(environ, cluster.listen),)
    if allowed is not None:
        below = (*below, derived(allowed))
    return _validated(Settings, (*loaded.layers, *below)) if any(layer.values for layer in below) else loaded


def load(
    model: type[S], *, config: Path | None, environ: Mapping[str, str], flags: Mapping[str, tuple[str, Any]]
) -> EffectiveSettings[S]:
    """Load settings like ``load_settings``, for any model of sections.

    Raises:
        ConfigError: settings are invalid.
    """
    if config is None and environ.get("GOVERSE_CONFIG"):
        config = Path(environ["GOVERSE_CONFIG"])
    return _validated(model, (read_flags(flags), read_environment(environ), read_file(config) if config else Layer()))


def _validated(model: type[S], layers: tuple[Layer, ...]) -> EffectiveSettings[S]:
    class Layered(model):  # type: ignore[valid-type, misc]  # bound by a type variable
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *_: PydanticBaseSettingsSource,
            **__: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_LayerSource(settings_cls, layer) for layer in layers)

    try:
        values = cast("S", Layered())
    except ValidationError as error:
        problems = [_problem(model, layers, item) for item in error.errors(include_url=False)]
        raise _config_error(problems) from None  # a traceback would repeat every value, including secrets
    return EffectiveSettings(values, layers)


def _config_error(problems: Sequence[dict[str, str]]) -> ConfigError:
    lines = [
        f"{item['setting']} ({item['origin']}): {item['message']}"
        if not item["origin"].endswith(f" {item['setting']}")
        else f"{item['setting']}: {item['message']}"
        for item in problems
    ]
    if len(lines) == 1:
        return ConfigError(lines[0], problems=list(problems))
    listed = "\n".join(f"  - {line}" for line in lines)
    return ConfigError(f"{len(lines)} settings are invalid:\n{listed}", problems=list(problems))


def _problem(model: type[BaseSettings], layers: Sequence[Layer], item: ErrorDetails) -> dict[str, str]:
    related: tuple[str, ...] = (item["ctx"]["setting"],) if item["type"] == "relation" and "ctx" in item else ()
    path = tuple(str(part) for part in item["loc"]) + related
    origin = _origin(layers, path) or _origin(layers, path[:2]) or DEFAULT_ORIGIN
    if item["type"] == "extra_forbidden":
        return {"setting": ".".join(path), "origin": origin, "message": _unknown(model, path, origin)}
    given = "" if _is_secret(model, path, item) else f", got {item['input']!r}"
    message = item["msg"].removeprefix("Value error, ")
    return {"setting": ".".join(path), "origin": origin, "message": message[0].lower() + message[1:] + given}


def _is_secret(model: type[BaseSettings], path: SettingPath, item: ErrorDetails) -> bool:
    """True if an error message about a setting must not repeat its value."""
    if isinstance(item["input"], dict) or item["type"] in ("missing", "data_source"):
        return True
    name = ".".join(path[:2])
    return any(setting.secret for setting in known_settings(model) if setting.path == name) or (
        hide_passwords(repr(item["input"])) != repr(item["input"])
    )


def _without_passwords(value: Any) -> Any:
    """Return ``value`` with the passwords in its URLs hidden."""
    if isinstance(value, list):
        return [_without_passwords(item) for item in cast("Iterable[Any]", value)]
    return hide_passwords(value) if isinstance(value, str) else value


_PART_MIN: Final = 6  # a shorter part of a name says little
_NEAREST_MAX: Final = 3


def _unknown(model: type[BaseSettings], path: SettingPath, origin: str) -> str:
    """Return the message for an unknown name, with the nearest known one in the same spelling."""
    known = {setting.path: setting for setting in known_settings(model)}
    dotted = ".".join(path)
    if len(path) > 2 and path[0] == OBJECTS:
        nearest = get_close_matches(path[-1], ObjectSettings.model_fields, 1, 0.6)
        rest = f"did you mean {nearest[0]}?" if nearest else f"known names: {', '.join(ObjectSettings.model_fields)}"
        return f"unknown setting; {rest}"
    if origin.startswith("environment"):
        # Compared without the prefix, which would make all names similar.
        variables = {setting.variable.removeprefix(ENVIRONMENT_PREFIX): setting.variable for setting in known.values()}
        variables |= {name: name for name in PLAIN_NAMES}
        given = origin.rpartition(" ")[2].removeprefix(ENVIRONMENT_PREFIX)
        nearest = get_close_matches(given, variables, 1, 0.6)
        return "unknown setting" + (f"; did you mean {variables[nearest[0]]}?" if nearest else "")
    if len(path) == 1:
        own_section = [name for name in known if name.partition(".")[2] == dotted]
        nearest = own_section or get_close_matches(dotted, sections(model), 1, 0.5)
        rest = f"did you mean {nearest[0]}?" if nearest else f"known sections: {', '.join(sections(model))}"
        return f"unknown section; {rest}"
    siblings = [name for name in known if name.partition(".")[0] == dotted.partition(".")[0]]
    last = dotted.partition(".")[2]
    longer = [name for name in siblings if len(last) >= _PART_MIN and last in name]
    nearest = get_close_matches(dotted, siblings, 1, 0.7) or get_close_matches(dotted, known, 1, 0.6)
    nearest = list(dict.fromkeys([*nearest, *longer]))[:_NEAREST_MAX]
    return "unknown setting; " + (
        f"did you mean {' or '.join(nearest)}?" if nearest else f"known settings: {', '.join(siblings)}"
    )


def _origin(layers: Sequence[Layer], path: SettingPath) -> str | None:
    for layer in layers:
        origin = layer.origin(path)
        if origin is not None:
            return origin
    return None
