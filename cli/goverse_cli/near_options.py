"""Suggestions for a mistyped option. The first rule that matches wins:

1. An option with a similar name or the same beginning: ``--timeut`` suggests ``--timeout``.
2. An option whose name shares a word with it. Among several, the option whose name and help contain most of its words:
   ``--idempotency-key`` suggests ``--key``, which has both words, and not ``--cert-key``, which has one.
3. The only option whose help contains one of its words: ``--listen`` suggests ``--host``, "Address to listen on".
4. A command of that name: ``goverse --version`` suggests ``goverse version``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

_WORD: Final = re.compile(r"[a-z0-9]{2,}")
_TELLING: Final = 4
"""Minimum letters of a matching beginning (rule 1) and of a matching word in a help text (rule 3)."""


def near_option(error: Exception) -> str:
    """Return the suggestion for the unknown option of ``error``, or an empty text if none matches."""
    wrong, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if not isinstance(wrong, str) or context is None or not wrong.startswith("--"):
        return ""
    known = dict(_options(context))
    name = wrong.removeprefix("--")
    if near := get_close_matches(name, known, 1, 0.6) or _by_beginning(name, known) or _by_words(name, known):
        return f"--{near[0]}"
    commands = getattr(context.command, "commands", {})
    return f"{context.command_path} {near[0]}" if (near := get_close_matches(name, commands, 1, 0.7)) else ""


def _by_beginning(wrong: str, known: dict[str, str]) -> list[str]:
    return [name for name in known if len(name) >= _TELLING and (wrong.startswith(name) or name.startswith(wrong))]


def _by_words(wrong: str, known: dict[str, str]) -> list[str]:
    words = set(_WORD.findall(wrong.lower()))
    named = [name for name in known if words & set(_WORD.findall(name))]
    if named:
        helps = {name: set(_WORD.findall(f"{name} {known[name]}".lower())) for name in named}
        return [max(named, key=lambda name: (len(words & helps[name]), -len(name)))]
    telling = {word for word in words if len(word) >= _TELLING}
    described = [name for name, text in known.items() if telling & set(_WORD.findall(text.lower()))]
    return described if len(described) == 1 else []


def _options(context: Any) -> Iterator[tuple[str, str]]:
    """Yield name and help of each long option of the command and its parent commands."""
    while context is not None:
        parameters: list[Any] = context.command.get_params(context)
        for parameter in parameters:
            for name in (*parameter.opts, *parameter.secondary_opts):
                if name.startswith("--"):
                    yield name.removeprefix("--"), getattr(parameter, "help", None) or ""
        context = context.parent
