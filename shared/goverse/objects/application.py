"""Loading of the application that is named on the command line.

A target is a file (``app.py``), a package folder (``shop/``) or a module (``shop.objects``), optionally followed by an
attribute that holds classes or a ``Registry`` (``shop:OBJECTS``). Without an attribute, all object types in the
module's namespace are served, imported ones included. If the application's code fails, the error shows only the
traceback lines of that code.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from goverse.errors import ConfigError, DefinitionError
from goverse.objects.object import Object
from goverse.objects.registry import AccessRule, Registry

EXAMPLE: Final = """\
    class Counter(Object):
        value: int = 0

        @call
        async def increment(self, by: int = 1) -> int: ..."""

_FOREIGN_CODE: Final = (Path(__file__).resolve().parents[1], *map(Path, sysconfig.get_paths().values()))


class ApplicationBroken(ConfigError):
    """The application exists, but its code cannot be imported or defines an invalid type; an edit can fix it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The location of an application.

    Attributes:
        module: the name of the module to import.
        folder: the folder to put first on ``sys.path``; files below it are watched for changes.
        file: the module's file, if the target names a file or a folder.
        attribute: the attribute of the module to serve, or None for all its object types.
    """

    module: str
    folder: Path
    file: Path | None
    attribute: str | None

    @property
    def package(self) -> Path | None:
        """The folder of the outermost package that the module belongs to; None for a single file."""
        root = self.folder / self.module.partition(".")[0]
        return root if (root / "__init__.py").is_file() else None


@dataclass(frozen=True, slots=True)
class Application:
    """An application after import and compilation."""

    target: Target
    registry: Registry
    module: ModuleType

    def with_access(self, rules: Mapping[str, AccessRule]) -> Application:
        """Return the application with the access rules of the configuration applied.

        Raises:
            ConfigError: a rule names a type that the application does not have.
        """
        return replace(self, registry=self.registry.with_access(rules)) if rules else self


def find_target(name: str) -> Target:
    """Return the target that ``name`` refers to, without importing it.

    Raises:
        ConfigError: the file, folder or package is not found; the message suggests a similar one.
    """
    location, attribute = _split(name)
    path = Path(location)
    if path.is_dir():
        if not (path / "__init__.py").is_file():
            raise ConfigError(f"{location} is a folder, not a package: it has no __init__.py; {_files_of(path)}")
        return _inside_packages(path.resolve() / "__init__.py", attribute)
    if path.is_file():
        return _inside_packages(path.resolve(), attribute)
    if location.endswith(".py") or "/" in location or not all(part.isidentifier() for part in location.split(".")):
        raise ConfigError(f"file or folder not found: {location}{_nearest(path)}")
    return Target(location, Path.cwd(), None, attribute)


def load_application(name: str) -> Application:
    """Import the target that ``name`` refers to and compile its object types.

    Raises:
        ApplicationBroken: the module cannot be imported, or an object type breaks a rule.
        ConfigError: the target is not found, or has no object types.
    """
    target = find_target(name)
    module = _import(target)
    if target.attribute is None:
        return Application(target, _compile(target, _object_types(module)), module)
    if not hasattr(module, target.attribute):
        near = get_close_matches(target.attribute, vars(module), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"module {target.module!r} has no attribute {target.attribute!r}{hint}")
    return Application(target, _compile(target, getattr(module, target.attribute)), module)


def imported_files(target: Target) -> list[str]:
    """Return the imported files below the target's folder, except installed packages."""
    found = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    files = {Path(file).resolve() for file in found if isinstance(file, str)}
    folder = target.folder.resolve()
    return sorted(str(file) for file in files if file.is_relative_to(folder) and not _foreign(str(file)))


def _split(name: str) -> tuple[str, str | None]:
    location, colon, attribute = name.rpartition(":")
    if colon and attribute.isidentifier():
        return location, attribute
    return name, None


def _inside_packages(file: Path, attribute: str | None) -> Target:
    """Return the target of a file; the module name includes all enclosing packages, so that relative imports work."""
    parts = [file.stem] if file.name != "__init__.py" else []
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return Target(".".join(parts), folder, file, attribute)


def _import(target: Target) -> ModuleType:
    if str(target.folder) not in sys.path:
        sys.path.insert(0, str(target.folder))
    importlib.invalidate_caches()
    try:
        module = _import_file(target, target.file) if target.file else importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        if target.file is None and error.name and f"{target.module}.".startswith(f"{error.name}."):
            near = _nearest(target.folder / error.name.replace(".", "/"))
            raise ConfigError(f"file, folder or module not found: {target.module!r}{near}") from error
        raise _broken(target, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(target, error) from error
    return module


def _import_file(target: Target, file: Path) -> ModuleType:
    """Import a file under its module name, or under a generated name if another module has that name."""
    if target.module not in sys.stdlib_module_names:
        module = importlib.import_module(target.module)
        if module.__file__ is not None and Path(module.__file__).resolve() == file:
            return module
    name = f"goverse_application_{target.module}"
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file")
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _object_types(module: ModuleType) -> list[type[Object]]:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Object) and not value.goverse_policy.abstract
    ]
    if not found:
        empty_package = module.__file__ is not None and Path(module.__file__).name == "__init__.py"
        hint = "\nIn a package, __init__.py has to import the classes that are served." if empty_package else ""
        where = module.__file__ or module.__name__
        raise ConfigError(f"{where} has no object types; an object type looks like this:\n{EXAMPLE}{hint}")
    return list(dict.fromkeys(found))


def _compile(target: Target, served: Registry | Iterable[Any]) -> Registry:
    if isinstance(served, Registry):
        return served
    try:
        classes: list[object] = list(served)
    except TypeError as error:
        raise ConfigError(f"{target.module}:{target.attribute} is neither a list of classes nor a Registry") from error
    wrong: list[object] = [value for value in classes if not (isinstance(value, type) and issubclass(value, Object))]
    if wrong:
        raise ConfigError(f"{target.module}:{target.attribute} holds {wrong[0]!r}, which is not an object type")
    if not classes:
        raise ConfigError(f"{target.module}:{target.attribute} is empty; put the object types into it")
    try:
        return Registry(cast("list[type[Any]]", classes))
    except DefinitionError as error:
        raise ApplicationBroken(f"{target.module}: {error.detail}") from error


def _broken(target: Target, error: BaseException) -> ApplicationBroken:
    return ApplicationBroken(f"{target.module} cannot be imported:\n{trimmed_traceback(error).rstrip()}")


def trimmed_traceback(error: BaseException) -> str:
    """Return the traceback of ``error`` without the lines of GoVerse, the standard library and packages."""
    shown = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = shown
    while link is not None:
        link.stack = traceback.StackSummary.from_list([frame for frame in link.stack if not _foreign(frame.filename)])
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "".join(shown.format())


def _foreign(filename: str) -> bool:
    if filename.startswith("<"):
        return True
    return any(Path(filename).is_relative_to(root) for root in _FOREIGN_CODE)


def _nearest(path: Path) -> str:
    """Return a hint for a path that does not exist: the entry with the most similar name, or a list of entries."""
    parent = path.parent
    if not parent.is_dir():
        return f"; the folder {parent} does not exist"
    found = {entry.name: entry for entry in sorted(parent.iterdir()) if _loadable(entry)}
    near = get_close_matches(path.name, found, 1, 0.5) or get_close_matches(f"{path.name}.py", found, 1, 0.5)
    return f"; did you mean {_as_typed(found[near[0]])}?" if near else f"; {_files_of(parent)}"


def _files_of(folder: Path) -> str:
    names = [_as_typed(entry) for entry in sorted(folder.iterdir()) if _loadable(entry)]
    if not names:
        return f"no Python files in {folder.resolve()}"
    return f"available: {', '.join(names[:5])}"


def _loadable(entry: Path) -> bool:
    if entry.name.startswith((".", "__", "test_")):
        return False
    return (entry.suffix == ".py" and entry.is_file()) or (entry / "__init__.py").is_file()


def _as_typed(entry: Path) -> str:
    return str(entry.relative_to(Path.cwd()) if entry.is_absolute() and entry.is_relative_to(Path.cwd()) else entry)
