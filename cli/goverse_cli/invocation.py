"""The common options of every command. They are accepted anywhere on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from goverse.settings import EffectiveSettings, Settings, load_settings
from goverse.telemetry.resources import Allowance

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option(help="URL of the server.", envvar="GOVERSE_URL")]
"""The ``--url`` option of commands that send requests to a server."""

_WITH_VALUE = ("-o", "--output", "--config")
_ALONE = ("--no-input", "--debug")


class Output(StrEnum):
    """Output format of results and errors."""

    TEXT = "text"
    JSON = "json"


@dataclass(slots=True)
class Invocation:
    """The common options of one command line."""

    output: Output = Output.TEXT
    config: Path | None = None
    no_input: bool = False
    debug: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def as_json(self) -> bool:
        """True if results and errors are printed as JSON."""
        return self.output is Output.JSON

    def settings(self, flags: Mapping[str, tuple[str, Any]] | None = None) -> EffectiveSettings[Settings]:
        """Return the settings in effect.

        Raises:
            ConfigError: a setting is invalid.
        """
        return load_settings(config=self.config, environ=self.environ, flags=flags, allowed=Allowance.read())


def invocation_of(context: typer.Context) -> Invocation:
    """Return the options of the running command."""
    found = context.find_object(Invocation)
    return found if found is not None else Invocation()


def global_options_first(arguments: Sequence[str]) -> list[str]:
    """Move the common options to the front, where the parser accepts them. Words after ``--`` are left unchanged."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments[:end])
    for word in words:
        name = word.partition("=")[0]
        if word in _WITH_VALUE:
            front += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif (
            word in _ALONE
            or (name in _WITH_VALUE and "=" in word)
            or (word[:2] == "-o" and word[2:] in ("json", "text"))
        ):
            front.append(word)
        else:
            rest.append(word)
    return front + rest + list(arguments[end:])
