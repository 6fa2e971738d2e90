"""The settings as documents: a commented YAML file to start from, and the tables of the reference page."""

from __future__ import annotations

import json
from textwrap import wrap

from goverse.settings.catalog import PLAIN_NAMES, Setting, known_settings, plain, sections
from goverse.settings.sections import Settings

_WIDTH = 100

_HEAD = """\
# GoVerse settings. Every line that begins with `# ` and a name shows a default: remove the `# ` to change it.
# Environment variables override this file, and command-line flags override both.
# Check your changes with: goverse config check --config FILE
"""


_OBJECTS = """
# Permissions to create and delete objects, by type name; they override those of the class. Each is `anyone`, `internal`
# (other objects, not requests from outside) or `nobody`. For example:
## objects:
##   Wallet:
##     create: anyone
##     delete: internal
"""


def yaml_document() -> str:
    """Return a YAML file that sets nothing and shows every setting with its default and description."""
    parts = [_HEAD]
    settings = list(known_settings(Settings))
    for name, section in sections(Settings).items():
        parts.append(f"\n# {' '.join((section.__doc__ or '').split())}\n{name}:\n")
        parts.extend(_yaml_entry(setting) for setting in settings if setting.path.startswith(f"{name}."))
    parts.append(_OBJECTS)
    return "".join(parts)


def markdown_table(section: str) -> str:
    """Return the table of one section for the reference page."""
    lines = ["| setting | default | takes | meaning |", "|---|---|---|---|"]
    for setting in known_settings(Settings):
        if setting.path.startswith(f"{section}."):
            name = f"`{setting.path}`<br>`{_variable(setting)}`"
            lines.append(f"| {name} | {_default(setting)} | {setting.takes} | {setting.description} |")
    return "\n".join(lines) + "\n"


def _variable(setting: Setting) -> str:
    return next((name for name, path in PLAIN_NAMES.items() if path == setting.path), setting.variable)


def _default(setting: Setting) -> str:
    value = plain(setting.default)
    return "none" if value in (None, "", []) else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _yaml_entry(setting: Setting) -> str:
    name = setting.path.partition(".")[2]
    comment = wrap(f"{setting.description} ({setting.takes}; {_variable(setting)})", _WIDTH - 6)
    value = json.dumps(plain(setting.default), ensure_ascii=False)  # JSON is YAML
    return "".join(f"  ## {line}\n" for line in comment) + f"  # {name}: {value}\n"
