"""``goverse config check|show|generate``: validate, show and generate the configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from goverse.model.json_values import encode
from goverse.settings.document import yaml_document
from goverse_cli.invocation import invocation_of
from goverse_cli.single_options import Commands
from goverse_cli.terminal import show

commands = Commands(no_args_is_help=True, rich_markup_mode=None, help="Validate, show and generate the configuration.")


@commands.command(short_help="Validate the settings.")
def check(context: typer.Context) -> None:
    """Validate the settings from the configuration file and the environment.

    If a setting is invalid, the command lists every error with the setting, where it was set and which values are
    allowed, and exits with code 2.

    \b
    Examples:
      goverse config check
      goverse config check --config goverse.yaml
      GOVERSE_GATE__PORT=9000 goverse config check
    """
    invocation = invocation_of(context)
    effective = invocation.settings()
    changed = [path for path in effective.shown() if effective.chosen(path)]
    summary = f"{len(changed)} set, the others have their defaults" if changed else "all have their defaults"
    show(invocation, {"valid": True, "set": changed}, f"the settings are valid: {summary}")


@commands.command(name="show", short_help="Show the settings in effect and the source of each.")
def show_settings(
    context: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that differ from their default.")] = False,
) -> None:
    """Show the settings in effect and the source of each: default, file, environment or option. Secrets are hidden.

    \b
    Examples:
      goverse config show
      goverse config show --changed
      goverse config show -o json
    """
    invocation = invocation_of(context)
    effective = invocation.settings()
    shown = effective.shown()
    if changed:
        shown = {path: entry for path, entry in shown.items() if effective.chosen(path)}
    width = max((len(path) for path in shown), default=0)
    lines = [
        f"{path:<{width}}  {encode(entry['value']).decode():<14}  {entry['origin']}" for path, entry in shown.items()
    ]
    show(invocation, shown, "\n".join(lines) or "every setting has its default")


@commands.command(short_help="Print a configuration file with every setting and its default.")
def generate() -> None:
    """Print a YAML configuration file with every setting, its default and its description.

    \b
    Examples:
      goverse config generate > goverse.yaml
      goverse dev app.py --config goverse.yaml
    """
    typer.echo(yaml_document(), nl=False)
