"""``goverse config check|show|generate``."""

from __future__ import annotations

from typing import Annotated

import typer

from goverse.model.json_values import encode
from goverse.settings.document import yaml_document
from goverse_cli.invocation import invocation_of
from goverse_cli.single_options import Commands
from goverse_cli.terminal import show

commands = Commands(no_args_is_help=True, rich_markup_mode=None, help="Check, show and generate the configuration.")


@commands.command(short_help="Say whether the settings are right.")
def check(context: typer.Context) -> None:
    """Say whether the settings are right: file, environment and all.

    Ends with 2 if anything is wrong, and tells all of it: the setting, where it was written, and what is possible.

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
    show(invocation, {"valid": True, "set": changed}, f"the settings are right: {summary}")


@commands.command(name="show", short_help="Show the settings in effect and where they come from.")
def show_settings(
    context: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that differ from their default.")] = False,
) -> None:
    """Show the settings in effect, and where each one comes from; secrets are hidden.

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


@commands.command(short_help="Print a file with every setting and its default.")
def generate() -> None:
    """Print a YAML file with every setting, its default and what it means.

    \b
    Examples:
      goverse config generate > goverse.yaml
      goverse dev app.py --config goverse.yaml
    """
    typer.echo(yaml_document(), nl=False)
