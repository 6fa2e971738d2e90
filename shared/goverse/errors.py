"""Every error that GoVerse raises or answers, one tree.

The branches say what the caller should do:

    GoverseError
    ├── RequestError            fix the request; the same one will fail again
    │   ├── MalformedRequest · InvalidArguments · TooLarge · AccessDenied · MethodNotAllowed
    │   ├── UnsupportedMediaType · UnsupportedTransferEncoding
    │   └── UnknownPath · UnknownType · UnknownMethod · ObjectNotFound · CursorExpired
    ├── ConflictError           something moved; read the object, then decide
    │   ├── IdempotencyKeyMismatch · IdempotencyInProgress · ObjectExists · VersionMismatch
    │   └── Deadlock · ReentrancyConflict
    ├── TryAgain                nothing is wrong with the request; retry later with the same idempotency key
    │   └── Overloaded · Unavailable · Moving · Draining · Timeout
    ├── MethodFailed            the object's own code broke its contract
    │   ├── ReadonlyViolation   a readonly method changed its state, or called a method that is not readonly
    │   ├── StateInvalid        the stored state does not fit the class; a developer has to look
    │   └── StateNotStorable    a field holds a value that would change when it is stored
    ├── BusinessError           the object says no, in its own words (subclass it)
    ├── StoreError              an operator has to look
    │   └── DataDamaged · DataNewer · StoreLocked · StoreFailed · RestoreRefused
    ├── PeerError               two processes of a cluster do not understand each other; an operator has to look
    ├── CoordinatorError        etcd refuses what is asked of it, and will again; an operator has to look
    ├── ConfigError             a setting is wrong; says which and what would be right
    ├── StartFailed             an @on_start function of the application failed; the process does not serve
    └── DefinitionError         a class breaks a rule of the object model; raised while it is defined

Each class has a unique, stable ``code``. The HTTP status of a code is the gate's table, not a matter of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar, cast


class Executed(StrEnum):
    """What is known about a request that ended in an error: see ``goverse.ports.link``."""

    NO = "no"
    UNKNOWN = "unknown"


class GoverseError(Exception):
    """Something went wrong in GoVerse.

    Attributes:
        link_verdict: what GoVerse knows about the request behind this error. It travels in a field of its own, so a
            member of ``extra`` with the name ``executed`` has no meaning for routers.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    link_verdict: Executed | None = None

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        """``detail`` is for people; ``extra`` are further members of the problem document (JSON values)."""
        self.detail: str = detail if detail is not None else (type(self).__doc__ or "").strip()
        self.extra: Mapping[str, Any] = extra
        super().__init__(self.detail)


E = TypeVar("E", bound=GoverseError)


def known(error: E, executed: Executed) -> E:
    """Attach to ``error`` what is known about the request that it answers; return it."""
    error.link_verdict = executed
    return error


# --- fix the request -------------------------------------------------------------------------------------------------


class RequestError(GoverseError):
    """The request cannot be carried out as it stands."""

    code = "request_error"


class MalformedRequest(RequestError):
    """The request is not well formed."""

    code = "malformed_request"


class InvalidArguments(RequestError):
    """The arguments do not fit the method's signature."""

    code = "invalid_arguments"


class TooLarge(RequestError):
    """A body, a result or a state is larger than its limit."""

    code = "too_large"


class AccessDenied(RequestError):
    """The request is not allowed."""

    code = "access_denied"


class UnsupportedMediaType(RequestError):
    """The body is encoded in a way that is not supported."""

    code = "unsupported_media_type"


class UnsupportedTransferEncoding(RequestError):
    """The body is transferred in a way that is not supported."""

    code = "unsupported_transfer_encoding"


class MethodNotAllowed(RequestError):
    """The resource does not support this HTTP method."""

    code = "method_not_allowed"


class UnknownPath(RequestError):
    """Nothing is served under this path."""

    code = "unknown_path"


class UnknownType(RequestError):
    """No object type has this name."""

    code = "unknown_type"


class UnknownMethod(RequestError):
    """The object type exports no method of this name."""

    code = "unknown_method"


class ObjectNotFound(RequestError):
    """The object does not exist."""

    code = "object_not_found"


class CursorExpired(RequestError):
    """The cursor is older than what is kept; start again from ``oldest`` or from the present state."""

    code = "cursor_expired"


# --- something moved -------------------------------------------------------------------------------------------------


class ConflictError(GoverseError):
    """The request contradicts the object's present state."""

    code = "conflict"


class IdempotencyKeyMismatch(ConflictError):
    """This idempotency key was used before with another method or body."""

    code = "idempotency_key_mismatch"


class IdempotencyInProgress(ConflictError):
    """A call with this idempotency key is still running."""

    code = "idempotency_in_progress"
    retryable = True


class ObjectExists(ConflictError):
    """The object exists already."""

    code = "object_exists"


class VersionMismatch(ConflictError):
    """The object is not at the version that the request names."""

    code = "version_mismatch"


class Deadlock(ConflictError):
    """The call chain returns to an object that is busy with this same chain."""

    code = "deadlock"


class ReentrancyConflict(ConflictError):
    """Two interleaved turns of a re-entrant object changed its state."""

    code = "reentrancy_conflict"
    retryable = True


# --- try again -------------------------------------------------------------------------------------------------------


class TryAgain(GoverseError):
    """The request is fine, the moment is not."""

    code = "try_again"
    retryable = True


class Overloaded(TryAgain):
    """A queue is full."""

    code = "overloaded"


class Unavailable(TryAgain):
    """The service cannot carry out the request now."""

    code = "unavailable"


class Moving(TryAgain):
    """The object's shard is on its way to another node; nothing of the request was executed."""

    code = "moving"
    link_verdict = Executed.NO


class Draining(TryAgain):
    """The process is shutting down and takes no new work."""

    code = "draining"


class Timeout(TryAgain):
    """The deadline passed."""

    code = "timeout"


# --- the object's own code -------------------------------------------------------------------------------------------


class MethodFailed(GoverseError):
    """The method raised an error, or broke a rule of the object model."""

    code = "method_failed"


class ReadonlyViolation(MethodFailed):
    """A readonly method called a method of another object that is not readonly."""

    code = "readonly_violation"


class StateInvalid(MethodFailed):
    """The stored state of the object does not fit its class."""

    code = "state_invalid"


class StateNotStorable(MethodFailed):
    """A field holds a value that would be another one after it was stored and loaded; nothing was changed."""

    code = "state_not_storable"


class BusinessError(GoverseError):
    """A refusal in the words of the application; subclass it and declare ``status`` (400-499) and ``code``.

    >>> class InsufficientFunds(BusinessError):
    ...     \"\"\"The account holds less than the amount.\"\"\"
    ...
    ...     status = 402
    ...     code = "insufficient_funds"

    Raised from a method, it restores the state, reaches the caller with that status and code, and is kept under the
    call's idempotency key: it is the outcome of the call, not an accident on the way.
    """

    code = "business_error"
    status: ClassVar[int] = 400

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the declaration.

        Raises:
            DefinitionError: ``status`` is no client error, ``code`` no lower-case identifier, or one of GoVerse's.
        """
        super().__init_subclass__(**kwargs)
        status, code = cast("object", cls.status), cast("object", cls.code)
        if not isinstance(status, int) or not 400 <= status <= 499:
            raise DefinitionError(
                f"{cls.__name__}.status is {status!r}; a business error is a client error, a number from 400 to 499"
            )
        if not (isinstance(code, str) and code.isidentifier() and code == code.lower()):
            raise DefinitionError(f"{cls.__name__}.code is {cls.code!r}; use a lower-case identifier like 'sold_out'")
        if cls.code in _own_codes() | _OUTCOMES:
            raise DefinitionError(
                f"{cls.__name__}.code is {cls.code!r}, which callers know as GoVerse's own; choose another"
            )


_OUTCOMES: Final = frozenset({"success", "client_gone", "problem", "unknown"})
"""Words that metrics and logs use beside codes; an error of such a code would be counted as something else."""


def _own_codes() -> frozenset[str]:
    """Return the codes of this module; they mean something else to callers than an application's refusal."""
    classes = (value for value in globals().values() if isinstance(value, type) and issubclass(value, GoverseError))
    return frozenset(error.code for error in classes if error is not BusinessError)


# --- an operator has to look -----------------------------------------------------------------------------------------


class StoreError(GoverseError):
    """The store cannot go on."""

    code = "store_error"


class DataDamaged(StoreError):
    """Stored data does not match its checksum, or is missing; names the file and the offset."""

    code = "data_damaged"


class DataNewer(StoreError):
    """The data was written by a newer release."""

    code = "data_newer"


class StoreLocked(StoreError):
    """Another process holds the data directory."""

    code = "store_locked"


class StoreFailed(StoreError):
    """A write to the store failed; nothing is acknowledged any more until a restart."""

    code = "store_failed"


class RestoreRefused(StoreError):
    """The requested point cannot be restored."""

    code = "restore_refused"


class PeerError(GoverseError):
    """Two processes of the cluster do not understand each other."""

    code = "peer_error"


class CoordinatorError(GoverseError):
    """The coordinator refuses what was asked of it."""

    code = "coordinator_error"


class ConfigError(GoverseError):
    """A setting is wrong."""

    code = "config_error"


class StartFailed(GoverseError):
    """A function marked with ``@on_start`` failed, so the process does not serve."""

    code = "start_failed"


class DefinitionError(GoverseError, TypeError):
    """A class breaks a rule of the object model."""

    code = "definition_error"
