"""``Object``, the base class of all object types. It declares the API; the node provides the behaviour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, ParamSpec, TypeVar, overload

from goverse.errors import DefinitionError, GoverseError
from goverse.model.effects import OnFailure
from goverse.model.keys import ObjectKey
from goverse.objects import kept_results, sending
from goverse.objects.context import Context, current_turn
from goverse.objects.known_options import known_options
from goverse.objects.other_objects import Listing, create_object, delete_object
from goverse.objects.outcome import Outcome
from goverse.objects.policy import Policy
from goverse.objects.reference import reference_to
from goverse.objects.sagas import Saga
from goverse.objects.sending import ATTEMPTS, BACKOFF, EXPIRES, OutboxCall, Sending, SendingThen, Sent

T = TypeVar("T", bound="Object")
P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = ("state_version", "reentrant", "create_on_call", "idle_timeout_s", "abstract", "name", "create", "delete")


class Object:
    """A virtual object: subclass it, annotate the persistent fields, export methods with ``@call``.

    >>> class Counter(Object):
    ...     value: int = 0
    ...
    ...     @call
    ...     async def increment(self, by: int = 1) -> int:
    ...         self.value += by
    ...         return self.value

    Public annotated attributes are the persistent state. Attributes whose names begin with ``_`` are transient: they
    exist only in memory, as long as the activation. An object runs one call at a time. If a method raises, all its
    changes of the state are undone.

    Class options, given as ``class Counter(Object, state_version=2)``:

    * ``state_version``: version of the state's schema; increase it when you add a ``@migration``. Default: 1.
    * ``reentrant``: allow a call chain to call back into the object. Default: False.
    * ``create_on_call``: the first call creates the object. Default: True. With False, it has to be created explicitly.
    * ``create``, ``delete``: the permitted callers: ``"anyone"``, ``"internal"`` (other objects only, no requests from
      outside) or ``"nobody"``. Default: ``create="anyone"``, ``delete="internal"``. The first call creates an object
      only with ``create="anyone"``.
    * ``idle_timeout_s``: passivate after this time without a call. Default: the configured time.
    * ``name``: the type's name in URLs and in the store. Default: the name of the class.
    * ``abstract``: a base for other classes, not an object type itself. Default: False.

    Hooks, all optional, plain or ``async``: ``on_create(self, ...)`` with the create arguments as parameters,
    ``on_activate(self)``, ``on_deactivate(self)``, ``on_delete(self)``.
    """

    goverse_policy: ClassVar[Policy] = Policy(name="Object", abstract=True)
    _goverse_key: ObjectKey

    def __init__(self) -> None:
        """Raise an error: objects are addressed by reference, never constructed.

        Raises:
            DefinitionError: always.
        """
        raise DefinitionError(
            f"{type(self).__name__} is a virtual object: use self.ref({type(self).__name__}, id) inside an object, "
            "or goverse.testing in a test"
        )

    def __init_subclass__(cls, **options: Any) -> None:
        """Read the class options.

        Raises:
            DefinitionError: an option is unknown or out of range, or the class defines ``__init__``.
        """
        super().__init_subclass__()
        unknown = sorted(options.keys() - set(_OPTIONS))
        if unknown:
            raise DefinitionError(
                f"{cls.__name__}: unknown class option {unknown[0]!r}; the options are {', '.join(_OPTIONS)}"
            )
        if "__init__" in vars(cls):
            raise DefinitionError(
                f"{cls.__name__} defines __init__; give fields defaults, use on_create for a new object and "
                "on_activate for transient attributes"
            )
        cls.goverse_policy = Policy.of_class(cls.__name__, cls.goverse_policy, options)

    @property
    def id(self) -> str:
        """The object's id."""
        return self._goverse_key.id

    @property
    def key(self) -> ObjectKey:
        """The object's full name: namespace, type and id."""
        return self._goverse_key

    @property
    def context(self) -> Context:
        """The call that is currently served.

        Raises:
            GoverseError: no call is served.
        """
        turn = current_turn.get()
        if turn is None:
            raise GoverseError("no call context outside a turn: use self.context inside an exported method or a hook")
        return turn.context

    @overload
    def ref(self, target: type[T], object_id: str) -> T: ...

    @overload
    def ref(self, target: str, object_id: str) -> Any: ...

    def ref(self, target: type[T] | str, object_id: str) -> T | Any:
        """Return a reference to another object of the same namespace. Await its exported methods like local ones.

        >>> await self.ref(Account, "alice").deposit(amount=3)

        ``target`` is a class, or the name of a type whose class is not available. By name, arguments must be keywords,
        and arguments and results are plain JSON values.

        Raises:
            MalformedRequest: ``object_id`` is not a valid id.
        """
        return reference_to(target, self._goverse_key.namespace, object_id)

    # --- reliable calls -----------------------------------------------------------------------------------------------

    def send(self, method: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Sent[R]:
        """Send a reliable call: it leaves with the commit of this turn, and takes effect once.

        >>> self.send(self.ref(Account, "alice").deposit, cents=300)

        Calls to one object take effect in the order in which they were sent. If this turn fails, nothing is sent. The
        method may be a handler, or an exported method of this object itself. ``sending`` has options.

        Raises:
            TypeError: ``method`` is not an exported method, or the arguments do not fit it.
            InvalidArguments: an argument does not have its declared type.
            ReadonlyViolation: the turn is readonly.
            Overloaded: too many calls of this object are pending.
            TooLarge: the arguments are too large.
            GoverseError: no turn is running.
        """
        return sending.send(self, method, args, kwargs, sending.PLAIN)

    @overload
    def sending(
        self,
        *,
        then: Callable[[Outcome[R]], object],
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires: timedelta = EXPIRES,
        attempts: int = ATTEMPTS,
        backoff: tuple[timedelta, timedelta] = BACKOFF,
        on_failure: OnFailure = "dead_letter",
        id: str | None = None,
        keep: timedelta = timedelta(0),
    ) -> SendingThen[R]: ...

    @overload
    def sending(
        self,
        *,
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires: timedelta = EXPIRES,
        attempts: int = ATTEMPTS,
        backoff: tuple[timedelta, timedelta] = BACKOFF,
        on_failure: OnFailure = "dead_letter",
        id: str | None = None,
        keep: timedelta = timedelta(0),
    ) -> Sending: ...

    @known_options("self.sending")
    def sending(
        self,
        *,
        then: Callable[[Outcome[Any]], object] | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires: timedelta = EXPIRES,
        attempts: int = ATTEMPTS,
        backoff: tuple[timedelta, timedelta] = BACKOFF,
        on_failure: OnFailure = "dead_letter",
        id: str | None = None,  # noqa: A002  # the name of the option
        keep: timedelta = timedelta(0),
    ) -> Sending | SendingThen[Any]:
        """Return a function that sends one reliable call, as ``send`` does, with options.

        >>> self.sending(then=self.paid, expires=timedelta(hours=1), id=f"pay-{self.id}")(
        ...     self.ref(Bank, "b").charge, cents=300
        ... )

        Args:
            then: a method of this object, ``async def paid(self, outcome: Outcome[Charge])``. It runs once, as a turn
                of its own, when the call has ended.
            delay: the time to wait before the call is delivered.
            at: the time at which the call is delivered, instead of ``delay``.
            expires: the time after which the call is given up, from its delivery time on. It then has not taken effect.
            attempts: the failed attempts after which the call is given up. A business error is an outcome, no failure.
            backoff: the bounds of the wait after the first failed attempt, and of all waits. The wait doubles each
                time, and is drawn at random below its bound.
            on_failure: what happens to a call that is given up: ``dead_letter`` keeps it for an operator, ``hold``
                keeps it and the calls behind it pending, ``drop`` forgets it.
            id: an id for the call. While a call of this object with the id is pending, sending the same call again
                does nothing, and sending another one fails with ``call_id_mismatch``.
            keep: how long the result can be read after a success.

        Raises:
            TypeError, ValueError: an option is unknown, has the wrong type, or is out of range.
        """
        options = sending.options_of(
            self,
            then=then,
            delay=delay,
            at=at,
            expires=expires,
            attempts=attempts,
            backoff=backoff,
            on_failure=on_failure,
            call_id=id,
            keep=keep,
        )
        return Sending(self, options) if then is None else SendingThen[Any](self, options)

    def cancel(self, call: Sent[Any] | OutboxCall | str, /) -> bool:
        """Cancel a pending reliable call of this object, given by its id or as ``send`` returned it.

        The cancellation joins the commit of this turn. If the call has taken effect already, it keeps its real outcome.

        Returns:
            False if no such call is pending.

        Raises:
            ReadonlyViolation: the turn is readonly.
            GoverseError: no turn is running.
        """
        return sending.cancel(self, call)

    @property
    def outbox(self) -> Sequence[OutboxCall]:
        """The reliable calls of this object whose outcomes it has not learnt yet, in the order in which it sent them.

        Raises:
            GoverseError: no turn is running.
        """
        return sending.outbox(self)

    def saga(self, name: str | None = None, /, *, then: Callable[[Outcome[Any]], object] | None = None) -> Saga:
        """Start steps that take effect all, or are undone. Each step and each undo is a reliable call.

        >>> async with self.saga("checkout", then=self.ended) as saga:
        ...     saga.step(stock.reserve, count=2).undo(stock.release, count=2)
        ...     saga.step(card.charge, cents=500).undo(card.refund, cents=500)

        The block collects the steps. When it ends without an exception, the saga starts with the commit of this turn.
        Steps run one after the other. After one that did not succeed, the undos of those before it run in reverse
        order.

        Args:
            name: a name that one running saga of this object can have.
            then: a method of this object that receives the outcome, as for ``sending``. After a success its value is
                the list of all results. The state ``failed`` means that all steps were undone, ``dead`` that an undo
                did not take effect.

        Raises:
            TypeError, ValueError: an argument is invalid, or the block adds no step.
            CallIdMismatch: a saga of this object with the name is running; raised at the end of the block.
            ReadonlyViolation: the turn is readonly; raised at the end of the block.
            GoverseError: no turn is running.
        """
        return Saga(self, name, then)

    # --- effects outside ----------------------------------------------------------------------------------------------

    @overload
    def once(
        self, name: str, function: Callable[[], Awaitable[R]], /, *, returns: type[R] = ...
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def once(self, name: str, function: Callable[[], R], /, *, returns: type[R] = ...) -> Coroutine[Any, Any, R]: ...

    def once(
        self, name: str, function: Callable[[], Any], /, *, returns: Any = kept_results.UNKNOWN
    ) -> Coroutine[Any, Any, Any]:
        """Carry out an effect outside of GoVerse, and keep its result: it is carried out again only without a result.

        >>> charge = await self.once("charge", lambda: pay(500, key=f"order-{self.id}"), returns=Charge)

        The result is durable before you get it, whatever becomes of this turn. A repetition of the call, after a
        failure or a restart, gets the kept result. If the process ends between the effect and its record, the effect
        is carried out again, so give the other service an idempotency key. An exception is raised to you, and nothing
        is kept. The result belongs to this object and the name, until ``forget_once(name)`` or the object's deletion.

        Args:
            name: names the effect within this object.
            function: carries out the effect, without parameters, plain or ``async``. A plain function must not block.
            returns: the type of the result. Default: the annotation of what ``function`` returns. A lambda has none.

        Raises:
            TypeError, ValueError: the name is invalid, or the type of the result is not known.
            KeptResultMismatch: the result that is kept under the name has another type.
            MethodFailed: the function returned a value of another type, or the object keeps 100 results already.
            ReadonlyViolation: the turn is readonly.
            TooLarge: the result has more than 64 KiB as JSON. The effect was carried out.
            Unavailable: the result could not be kept, or it is not known yet whether there is one; the call is
                repeated.
            GoverseError: no turn is running.
        """
        return kept_results.once(self, name, function, returns)

    def forget_once(self, name: str, /) -> bool:
        """Remove the result that ``once`` keeps under a name, with the commit of this turn.

        Returns:
            False if there is none.

        Raises:
            ReadonlyViolation: the turn is readonly.
            GoverseError: no turn is running.
        """
        return kept_results.forget(self, name)

    # --- the population -----------------------------------------------------------------------------------------------

    @overload
    async def create(self, target: type[T], object_id: str | None = None, /, **arguments: Any) -> T: ...

    @overload
    async def create(self, target: str, object_id: str | None = None, /, **arguments: Any) -> Any: ...

    async def create(self, target: type[T] | str, object_id: str | None = None, /, **arguments: Any) -> T | Any:
        """Create another object of the same namespace and return a reference to it.

        >>> order = await self.create(Order, seats=["A1", "A2"])
        >>> self.orders.append(order.id)

        ``arguments`` are passed to its ``on_create`` hook. Without ``object_id`` the object gets a generated id. If the
        running call is repeated with its idempotency key, the object is created only once and keeps its id.

        Raises:
            ObjectExists: the object already exists, even if it was created with the same arguments.
            AccessDenied: the type is declared with ``create="nobody"``.
            TypeError: the arguments do not fit ``on_create``.
            GoverseError: the error that ``on_create`` raised.
        """
        return await create_object(self._goverse_key.namespace, target, object_id, arguments)

    @overload
    async def delete(self, target: Object, /) -> None: ...

    @overload
    async def delete(self, target: type[Any] | str, object_id: str, /) -> None: ...

    async def delete(self, target: Object | type[Any] | str, object_id: str | None = None, /) -> None:
        """Delete another object, given as a reference or as type and id.

        >>> await self.delete(self.ref(Order, "o-1"))
        >>> await self.delete(Order, "o-1")

        Raises:
            ObjectNotFound: the object does not exist.
            AccessDenied: the type is declared with ``delete="nobody"``.
            Deadlock: the target is this object, or an object that waits for this call.
            GoverseError: the error that ``on_delete`` raised.
        """
        await delete_object(self._goverse_key.namespace, target, object_id)

    def list(
        self, target: type[Any] | str, *, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> Listing:
        """List the durable objects of a type, ordered by id.

        Only ids that begin with ``prefix`` and sort after ``after`` are included.

        >>> newest = await self.list(Order, prefix="ann/", limit=10)
        >>> async for found in self.list(Order):
        ...     print(found.id, found.version)

        ``await`` returns up to ``limit`` objects, 100 without a limit. ``async for`` iterates over all of them, or the
        first ``limit``. Changes that the running call has not committed yet are not included.

        Raises:
            ValueError: ``limit`` is less than 1.
        """
        return Listing(self._goverse_key.namespace, target, prefix=prefix, after=after, limit=limit)
