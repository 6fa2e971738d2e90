"""Routes of the object API: types and methods, found by the bytes of a path segment, with their timeouts and metrics.

``Routes`` is built from the catalog, so that the lookup of a call does not decode the path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

from goverse.errors import Unavailable, UnknownMethod, UnknownType
from goverse.model.access import handler_called
from goverse.model.catalog import Catalog, TypeDescription
from goverse.model.near_names import advice
from goverse_gate.metrics import UNKNOWN, GateMetrics, Series
from goverse_gate.target import Names, shown


@dataclass(slots=True, frozen=True)
class MethodRoute:
    """An exported method."""

    name: str
    timeout_s: float
    series: Series


@dataclass(slots=True, frozen=True)
class TypeRoute:
    """An object type and its exported methods. ``unknown`` counts calls of anything else."""

    name: str
    methods: Names[MethodRoute]
    method_names: str
    handlers: Names[str]
    tag_names_version_only: bool
    unknown: Series

    def state_tag(self, version: int, state: bytes) -> bytes:
        """Return the entity tag of a state, without quotes: the version, and for some types a checksum.

        A migration, a new release of a view, or a newly hidden field changes the representation of an object but not
        its version. During a rolling upgrade the gate cannot tell which release answered. Therefore types with a state
        version of 2 or more, a view, or hidden fields have a checksum of the representation in their tag.
        """
        return b"%d" % version if self.tag_names_version_only else b"%d.%08x" % (version, crc32(state))

    def method(self, segment: bytes) -> MethodRoute:
        """Return the method that a path segment names.

        Raises:
            UnknownMethod: the type has no such method; the error lists its methods.
            AccessDenied: the segment names a handler, which only other objects can call.
        """
        method = self.methods.get(segment) or self.methods.find(segment)
        if method is None:
            handler = self.handlers.find(segment)
            if handler is not None:
                raise handler_called(self.name, handler)
            hint = advice(_text(segment), self.methods, f"it has {self.method_names}")
            raise UnknownMethod(f"{self.name} exports no method {shown(segment)}; {hint}")
        return method


class Routes:
    """The object types of one gate."""

    def __init__(self, catalog: Catalog, metrics: GateMetrics, default_timeout_s: float) -> None:
        """Build the routes of ``catalog``; ``default_timeout_s`` is for methods without a timeout of their own."""

        def route_of(described: TypeDescription) -> TypeRoute:
            methods = {
                name: MethodRoute(name, method.timeout_s or default_timeout_s, metrics.methods[described.name, name])
                for name, method in described.methods.items()
            }
            handlers = Names({name: name for name in described.handlers})
            version_only = described.state_version == 1 and not (described.has_view or described.has_hidden)
            unknown = metrics.methods[described.name, UNKNOWN]
            return TypeRoute(
                described.name, Names(methods), _listed(methods) or "none", handlers, version_only, unknown
            )

        self._types = Names({name: route_of(described) for name, described in catalog.items()})
        self._type_names = _listed(catalog)

    def type(self, segment: bytes) -> TypeRoute:
        """Return the type that a path segment names.

        Raises:
            UnknownType: the application has no such type; the error lists its types.
            Unavailable: no node of the cluster has registered yet, so no types are known.
        """
        route = self._types.get(segment) or self._types.find(segment)
        if route is None and not self._type_names:
            raise Unavailable("no node of the cluster has registered yet; retry in a moment", retry_after_s=1)
        if route is None:
            hint = advice(_text(segment), self._types, f"this application has {self._type_names}")
            raise UnknownType(f"unknown object type {shown(segment)}; {hint}")
        return route


def _text(segment: bytes) -> str:
    """Return a path segment as text, to be compared with names, which are ASCII."""
    return segment.decode("ascii", errors="replace")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
