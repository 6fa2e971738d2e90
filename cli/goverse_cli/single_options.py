"""Commands that refuse a repeated option. The parser alone would silently use the last of several values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import CommandFunctionType

from goverse_cli.failure import ExitCode, Failure


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_repeated(self, ctx, args)
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A command group that refuses repeated options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of the group.

        Raises:
            Failure: one was given twice.
        """
        _refuse_repeated(self, ctx, args)
        return super().parse_args(ctx, args)


class SharedOptions(Group):
    """A command group whose own options may be anywhere on the line, before or after the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of the group."""
        options = [each for each in self.params if isinstance(each, TyperOption) and not each.is_flag]
        names = {name for option in options for name in option.opts}
        return super().parse_args(ctx, _first(names, args))


class Commands(typer.Typer):
    """A Typer application whose commands accept each option with a value once."""

    def __init__(self, *, cls: type[Group] = Group, **options: Any) -> None:
        """Make a group without commands."""
        super().__init__(cls=cls, **options)

    def command(self, *names: Any, **options: Any) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """Register the decorated function as a command."""
        return super().command(*names, **{"cls": _Command, **options})


def _refuse_repeated(command: TyperCommand | TyperGroup, context: Any, words: list[str]) -> None:
    """Refuse a repeated option: its values may differ, and one of them would be ignored."""
    _, _, given = command.make_parser(context).parse_args(args=list(words))
    for option, times in Counter(given).items():
        if isinstance(option, TyperOption) and times > 1 and not (option.is_flag or option.multiple or option.count):
            raise Failure(
                f"{option.opts[-1]} was given {times} times; give it once",
                hint=f"see {context.command_path} --help",
                exit_code=ExitCode.USAGE,
            )


def _first(names: set[str], words: list[str]) -> list[str]:
    """Return the words with the options ``names``, which have values, at the front. Words after ``--`` stay."""
    end = words.index("--") if "--" in words else len(words)
    front, rest, left = list[str](), list[str](), iter(words[:end])
    for word in left:
        name, equals, _ = word.partition("=")
        if name not in names:
            rest.append(word)
            continue
        front.append(word)
        if not equals:
            front += [value for value in (next(left, None),) if value is not None]
    return [*front, *rest, *words[end:]]
