"""The tree of all errors that GoVerse raises or returns.

Each branch tells the caller what to do:

    GoverseError
    ├── RequestError            fix the request; it fails again unless it is changed
    │   ├── MalformedRequest · InvalidArguments · TooLarge · AccessDenied · MethodNotAllowed
    │   ├── UnsupportedMediaType · UnsupportedTransferEncoding
    │   └── UnknownPath · UnknownType · UnknownMethod · ObjectNotFound · CursorExpired · CallNotFound · CallForgotten
    ├── ConflictError           the object has changed or is in use; read it, then decide
    │   ├── IdempotencyKeyMismatch · IdempotencyInProgress · ObjectExists · VersionMismatch
    │   ├── Deadlock · ReentrancyConflict
    │   └── CallIdMismatch · CallPending · CallRedriven · CallVoid
    ├── TryAgain                the request is valid; retry it later with the same idempotency key
    │   └── Overloaded · Unavailable · Moving · Draining · OutOfOrder · Timeout
    ├── MethodFailed            the object's own code broke its contract
    │   ├── ReadonlyViolation   a readonly method changed its state, or called a method that is not readonly
    │   ├── SuspectedCrash      a call was running each time that a node ended, and is not carried to a further one
    │   ├── StateInvalid        the stored state does not fit the class; a developer has to fix the class
    │   ├── StateNotStorable    a field holds a value that would change when it is stored
    │   └── KeptResultMismatch  a result that was kept has another type
    ├── BusinessError           the object refuses, with an error of the application (subclass it)
    ├── StoreError              the store needs an operator
    │   └── DataDamaged · DataNewer · StoreLocked · StoreFailed · RestoreRefused
    ├── PeerError               a process of the cluster is incompatible or sent an invalid message; needs an operator
    ├── CoordinatorError        etcd rejects a request for good; needs an operator
    ├── ConfigError             a setting is invalid; the message names it and says what is valid
    ├── StartFailed             an @on_start function of the application failed; the process does not serve
    └── DefinitionError         a class breaks a rule of the object model; raised while it is defined

Each class has a unique, stable ``code``. The gate maps codes to HTTP statuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar, cast


class Executed(StrEnum):
    """The verdict on a failed request: it was not executed, or it may have been. See ``goverse.ports.link``."""

    NO = "no"
    UNKNOWN = "unknown"


class GoverseError(Exception):
    """An internal error occurred in GoVerse.

    Attributes:
        link_verdict: whether the failed request may have been executed. It is sent in a field of its own; routers
            ignore a member ``executed`` of ``extra``.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    link_verdict: Executed | None = None

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        """Set the message and the extra members.

        Args:
            detail: the message for people; the default is the first paragraph of the class's docstring.
            extra: further members of the problem document, as JSON values.
        """
        self.detail: str = detail if detail is not None else summary_of(type(self))
        self.extra: Mapping[str, Any] = extra
        super().__init__(self.detail)


E = TypeVar("E", bound=GoverseError)


def summary_of(error: type[GoverseError]) -> str:
    """Return the first paragraph of the docstring of an error class, as one line."""
    return " ".join((error.__doc__ or "").partition("\n\n")[0].split())


def known(error: E, executed: Executed) -> E:
    """Set the ``link_verdict`` of ``error`` and return it."""
    error.link_verdict = executed
    return error


# --- fix the request -------------------------------------------------------------------------------------------------


class RequestError(GoverseError):
    """The request is invalid; it fails again unless it is changed."""

    code = "request_error"


class MalformedRequest(RequestError):
    """The request is malformed."""

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
    """The content encoding of the body is not supported."""

    code = "unsupported_media_type"


class UnsupportedTransferEncoding(RequestError):
    """The transfer encoding of the body is not supported."""

    code = "unsupported_transfer_encoding"


class MethodNotAllowed(RequestError):
    """The resource does not support this HTTP method."""

    code = "method_not_allowed"


class UnknownPath(RequestError):
    """The path does not exist."""

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
    """The cursor is older than the change feed; start again from ``oldest`` or from the current state."""

    code = "cursor_expired"


class CallNotFound(RequestError):
    """No pending reliable call has this id, and no outcome is kept under it."""

    code = "call_not_found"


class CallForgotten(RequestError):
    """The reliable call has ended, and its outcome is no longer kept."""

    code = "call_forgotten"


# --- read the object, then decide ------------------------------------------------------------------------------------


class ConflictError(GoverseError):
    """The request conflicts with the current state of the object."""

    code = "conflict"


class IdempotencyKeyMismatch(ConflictError):
    """This idempotency key was used before with another method or body."""

    code = "idempotency_key_mismatch"


class IdempotencyInProgress(ConflictError):
    """A call with this idempotency key is still running."""

    code = "idempotency_in_progress"
    retryable = True


class ObjectExists(ConflictError):
    """The object already exists."""

    code = "object_exists"


class VersionMismatch(ConflictError):
    """The object's version differs from the version in the request."""

    code = "version_mismatch"


class Deadlock(ConflictError):
    """The call chain returns to an object that is busy with an earlier call of the same chain."""

    code = "deadlock"


class ReentrancyConflict(ConflictError):
    """Two interleaved turns of a re-entrant object changed its state."""

    code = "reentrancy_conflict"
    retryable = True


class CallIdMismatch(ConflictError):
    """A pending reliable call of the same object has this id and other content."""

    code = "call_id_mismatch"


class CallPending(ConflictError):
    """The reliable call has not ended yet."""

    code = "call_pending"
    retryable = True


class CallRedriven(ConflictError):
    """The dead letter was sent again as another reliable call; ``redriven_as`` is its id."""

    code = "call_redriven"


class CallVoid(ConflictError):
    """The reliable call ended without running: it expired, or was cancelled, skipped or given up."""

    code = "call_void"


# --- try again -------------------------------------------------------------------------------------------------------


class TryAgain(GoverseError):
    """The request is valid but cannot be served now; retry it later."""

    code = "try_again"
    retryable = True


class Overloaded(TryAgain):
    """A queue is full."""

    code = "overloaded"


class Unavailable(TryAgain):
    """The service is temporarily unavailable."""

    code = "unavailable"


class Moving(TryAgain):
    """The object's shard is moving to another node; the request was not executed."""

    code = "moving"
    link_verdict = Executed.NO


class Draining(TryAgain):
    """The process is shutting down and accepts no new requests."""

    code = "draining"


class OutOfOrder(TryAgain):
    """A reliable call arrived before its predecessor was settled; its sender delivers it again."""

    code = "out_of_order"


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


class SuspectedCrash(MethodFailed):
    """The call was running each time that a node ended, so it is not carried to a further node."""

    code = "suspected_crash"


class StateInvalid(MethodFailed):
    """The stored state of the object does not fit its class."""

    code = "state_invalid"


class StateNotStorable(MethodFailed):
    """A field holds a value that would change when it is stored and loaded; nothing was changed."""

    code = "state_not_storable"


class KeptResultMismatch(MethodFailed):
    """The result that the object keeps under a name has another type than the method expects."""

    code = "kept_result_mismatch"


class BusinessError(GoverseError):
    """An error that the application defines.

    Subclass it and declare ``status`` (400-499) and ``code``:

    >>> class InsufficientFunds(BusinessError):
    ...     \"\"\"The account holds less than the amount.\"\"\"
    ...
    ...     status = 402
    ...     code = "insufficient_funds"

    A method that raises it leaves the state unchanged. The caller gets that status and code. The error is stored under
    the call's idempotency key, so a repeated call gets the same error.
    """

    code = "business_error"
    status: ClassVar[int] = 400

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the declaration.

        Raises:
            DefinitionError: ``status`` is not from 400 to 499, ``code`` is not a lower-case identifier, or GoVerse
                itself uses the code.
        """
        super().__init_subclass__(**kwargs)
        status, code = cast("object", cls.status), cast("object", cls.code)
        if not isinstance(status, int) or not 400 <= status <= 499:
            raise DefinitionError(f"{cls.__name__}.status is {status!r}; use a whole number from 400 to 499")
        if not (isinstance(code, str) and code.isidentifier() and code == code.lower()):
            raise DefinitionError(f"{cls.__name__}.code is {cls.code!r}; use a lower-case identifier like 'sold_out'")
        if cls.code in _own_codes() | _OUTCOMES:
            raise DefinitionError(
                f"{cls.__name__}.code is {cls.code!r}, which GoVerse itself uses; choose another code"
            )


_OUTCOMES: Final = frozenset({"success", "client_gone", "problem", "unknown"})
"""Outcomes that metrics and logs record in the same place as error codes; a code must differ from them."""


def _own_codes() -> frozenset[str]:
    """Return the codes that the classes of this module define, except that of ``BusinessError``."""
    classes = (value for value in globals().values() if isinstance(value, type) and issubclass(value, GoverseError))
    return frozenset(error.code for error in classes if error is not BusinessError)


# --- needs an operator -----------------------------------------------------------------------------------------------


class StoreError(GoverseError):
    """The store cannot be used; an operator has to intervene."""

    code = "store_error"


class DataDamaged(StoreError):
    """Stored data is missing or does not match its checksum."""

    code = "data_damaged"


class DataNewer(StoreError):
    """The data was written by a newer release."""

    code = "data_newer"


class StoreLocked(StoreError):
    """Another process holds the data directory."""

    code = "store_locked"


class StoreFailed(StoreError):
    """A write to the store failed; no commit is acknowledged until the process restarts."""

    code = "store_failed"


class RestoreRefused(StoreError):
    """The requested restore or load is not possible."""

    code = "restore_refused"


class PeerError(GoverseError):
    """Two processes of the cluster have incompatible releases, or one of them sent an invalid message."""

    code = "peer_error"


class CoordinatorError(GoverseError):
    """The coordinator rejected the request."""

    code = "coordinator_error"


class ConfigError(GoverseError):
    """A setting is invalid."""

    code = "config_error"


class StartFailed(GoverseError):
    """A function marked with ``@on_start`` failed, so the process does not serve."""

    code = "start_failed"


class DefinitionError(GoverseError, TypeError):
    """A class breaks a rule of the object model."""

    code = "definition_error"
