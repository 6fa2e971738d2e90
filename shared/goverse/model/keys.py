"""Object keys and the mapping from keys to shards.

A key is ``(namespace, type, id)``. ``placement_hash`` gives its 64-bit hash. Each shard is one range of hashes, so its
number is the top bits of the hash, and the number of shards can be doubled or halved by splitting or merging
neighbours. The hash is the same in all processes and releases, and never changes:

* of an ordinary id, it is a hash of namespace, type and id;
* of an id that begins with a tag in braces, as ``{order-17}/line-3``, it is a hash of namespace and tag. All objects of
  a namespace with the same tag, whatever their type, are in one shard;
* of ``shard#N/rest``, it is the first hash of shard N, counted in the base: the number of shards that the cluster had
  when it was created. So objects with the same N stay together, whatever the number of shards is later.

``node#ID/rest`` names a node. Only a node that serves alone accepts such an id, so its hash is an ordinary one.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import NamedTuple

from goverse.errors import MalformedRequest
from goverse.limits import CLUSTER_SHARDS, ID_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, NAME_BYTES_MAX, NAMESPACE_BYTES_MAX

DEFAULT_NAMESPACE = "default"

ROUTER_KEY_PREFIX = "gv-"
"""Prefix of idempotency keys that a router makes for calls without a key; clients must not use it."""

DERIVED_KEY_PREFIX = f"{ROUTER_KEY_PREFIX}~"
"""Prefix of the keys of nested calls, if the calling turn runs under a router's key."""

CLIENT_DERIVED_KEY_PREFIX = "~"
"""Prefix of the keys of nested calls, if the calling turn runs under a client's key."""

RESERVED_KEY_PREFIXES = (ROUTER_KEY_PREFIX, CLIENT_DERIVED_KEY_PREFIX)
"""Prefixes that client keys must not have: such a key could collide with that of a call made by GoVerse."""

_IDEMPOTENCY_KEY = re.compile(r"[ !#-~]+")

RESERVED_IDS = frozenset({"watch", "changes", "query"})
"""Ids that are also paths under a type, so an object cannot have them."""

_ROUTER_NAME_END = len(ROUTER_KEY_PREFIX) + 16
_NUMBER_DIGITS_MAX = 15

_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FIXED_SHARD = re.compile(r"shard#(0|[1-9][0-9]{0,9})/(.+)", re.DOTALL)
_FIXED_NODE = re.compile(r"node#([^/]+)/(.+)", re.DOTALL)
_TAGGED = re.compile(r"\{([^{}]+)\}")
_HASH_BITS = 64


class ObjectKey(NamedTuple):
    """The full name of one object."""

    namespace: str
    type: str
    id: str

    def __str__(self) -> str:
        """Return ``Type/id``, or ``namespace:Type/id`` outside the default namespace."""
        name = f"{self.type}/{self.id}"
        return name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}:{name}"


class Placement(NamedTuple):
    """The placement that a reserved id form names; both are None for an ordinary id."""

    shard: int | None
    node: str | None


def check_id(value: str) -> str:
    """Return ``value`` if it is a valid object id: 1 to 512 bytes of UTF-8, and not reserved.

    Raises:
        MalformedRequest: the id is empty, too long, not encodable, reserved, or an incomplete reserved form.
    """
    if value in RESERVED_IDS:
        raise reserved_id(value)
    return check_id_form(value)


def reserved_id(value: str) -> MalformedRequest:
    """Return the error for an id that is also a path under the type."""
    return MalformedRequest(f"{value!r} is reserved and cannot be an object id; choose another one, like '{value}-1'")


def check_id_form(value: str) -> str:
    """Return ``value`` if an object with this id can be stored. Reserved ids pass: earlier releases allowed them.

    Raises:
        TypeError: the id is not a string.
        MalformedRequest: the id is empty, too long, not encodable, or an incomplete reserved form.
    """
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise MalformedRequest("the object id is not valid UTF-8") from error
    except AttributeError:
        raise TypeError(f"the object id is {value!r}; use a string, for example '{value}'") from None
    if not 1 <= size <= ID_BYTES_MAX:
        raise MalformedRequest(f"the object id has {size} bytes; 1 to {ID_BYTES_MAX} are allowed")
    if value.startswith(("shard#", "node#")):
        placement_of(value)
    return value


def check_namespace(value: str) -> str:
    """Return ``value`` if it is a valid namespace.

    Raises:
        MalformedRequest: the namespace is not 1 to 128 letters, digits, ``.``, ``_`` or ``-``, beginning with a letter
            or digit.
    """
    if len(value) > NAMESPACE_BYTES_MAX or _NAMESPACE.fullmatch(value) is None:
        raise MalformedRequest(
            f"the namespace is not 1 to {NAMESPACE_BYTES_MAX} letters, digits, '.', '_', '-' beginning "
            f"with a letter or digit"
        )
    return value


def is_name(value: str) -> bool:
    """True if ``value`` may name a type or a method: an ASCII identifier without a leading underscore."""
    return value.isascii() and value.isidentifier() and value[0] != "_" and len(value) <= NAME_BYTES_MAX


def placement_of(object_id: str) -> Placement:
    """Return the placement that an id names.

    Raises:
        MalformedRequest: the id begins with a reserved prefix but does not have its form.
    """
    if object_id.startswith("shard#"):
        match = _FIXED_SHARD.fullmatch(object_id)
        if match is None:
            raise MalformedRequest("ids that begin with 'shard#' have the form shard#N/name, N a number")
        return Placement(int(match[1]), None)
    if object_id.startswith("node#"):
        match = _FIXED_NODE.fullmatch(object_id)
        if match is None:
            raise MalformedRequest("ids that begin with 'node#' have the form node#ID/name")
        return Placement(None, match[1])
    return Placement(None, None)


def check_idempotency_key(value: str) -> str:
    """Return ``value`` if a caller may send it as its idempotency key.

    Raises:
        MalformedRequest: the key is not 1 to 255 printable ASCII characters without double quotes, or it begins with a
            reserved prefix.
    """
    if len(value) > IDEMPOTENCY_KEY_BYTES_MAX or _IDEMPOTENCY_KEY.fullmatch(value) is None:
        raise MalformedRequest(
            f"the idempotency key is not 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters without double "
            "quotes"
        )
    if value.startswith(RESERVED_KEY_PREFIXES):
        raise reserved_key()
    return value


def reserved_key() -> MalformedRequest:
    """Return the error for an idempotency key with a reserved prefix."""
    prefixes = " or ".join(map(repr, RESERVED_KEY_PREFIXES))
    return MalformedRequest(
        f"an idempotency key cannot begin with {prefixes}: GoVerse makes such keys itself, for calls between objects "
        "and for requests without a key; choose another beginning, such as 'order-7'"
    )


def is_unique(idempotency_key: str) -> bool:
    """True if a router made the key for a single request, so that no other request can have it."""
    return idempotency_key.startswith(ROUTER_KEY_PREFIX) and not idempotency_key.startswith(DERIVED_KEY_PREFIX)


def is_derived(idempotency_key: str) -> bool:
    """True if the key belongs to a nested call."""
    return idempotency_key.startswith((DERIVED_KEY_PREFIX, CLIENT_DERIVED_KEY_PREFIX))


def scoped_key(idempotency_key: str, subject: str) -> str:
    """Return the form in which stores keep an idempotency key: with a slot for the subject of the caller.

    Callers with different subjects can use the same key for the same object. The slot is empty for a caller without a
    subject, and for a key that a router made, which no other request can have. Otherwise it is a digest of the subject,
    so that key and slot fit into ``IDEMPOTENCY_KEY_BYTES_MAX``: ``@<digest>NUL<key>``, or ``@<digest>NUL NUL<digest of
    the key>`` if the key is too long for that. A key has no NUL, so no two callers get the same form.
    """
    if not subject or idempotency_key.startswith(ROUTER_KEY_PREFIX):
        return idempotency_key
    slot = f"@{_digest(subject)}\x00"
    if len(slot) + len(idempotency_key) <= IDEMPOTENCY_KEY_BYTES_MAX:
        return slot + idempotency_key
    return f"{slot}\x00{_digest(idempotency_key)}"


def _digest(text: str) -> str:
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=16, person=b"goverse.scope").digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def router_key(router: str, number: int) -> str:
    """Return a router's key for one of its calls; ``router`` is its name, 16 hexadecimal digits."""
    return f"{ROUTER_KEY_PREFIX}{router}-{number:x}"


def router_number(idempotency_key: str) -> tuple[str, int] | None:
    """Return the arguments from which ``router_key`` made the key, or None for any other key."""
    if (
        not idempotency_key.startswith(ROUTER_KEY_PREFIX)
        or idempotency_key[_ROUTER_NAME_END : _ROUTER_NAME_END + 1] != "-"
    ):
        return None
    digits = idempotency_key[_ROUTER_NAME_END + 1 :]
    try:
        number = int(digits, 16)
    except ValueError:
        return None
    if len(digits) > _NUMBER_DIGITS_MAX or f"{number:x}" != digits:
        return None
    return idempotency_key[len(ROUTER_KEY_PREFIX) : _ROUTER_NAME_END], number


def tag_of(object_id: str) -> str | None:
    """Return the tag that an id begins with, or None: ``order-17`` for ``{order-17}/line-3``.

    A tag is not empty and contains no braces. So ``{}``, ``{a`` and ``{{a}}`` have none.
    """
    match = _TAGGED.match(object_id)
    return match[1] if match is not None else None


def placement_hash(key: ObjectKey, base: int = CLUSTER_SHARDS) -> int:
    """Return the 64-bit hash of ``key``, which decides its shard; see the rules above.

    ``base`` is the number of shards that the cluster was created with, a power of two. A node that serves alone uses
    the default.

    Raises:
        MalformedRequest: the id names a shard that is not below ``base``.
    """
    namespace, type_name, object_id = key
    if not type_name:
        return int(object_id, 16)  # a place, not an object: goverse.model.call_ids
    if object_id.startswith(("shard#", "node#", "{")):
        fixed = placement_of(object_id).shard
        if fixed is not None:
            if fixed >= base:
                raise MalformedRequest(
                    f"the id {object_id!r} names shard {fixed}, which does not exist; use a number from 0 to {base - 1}"
                )
            return fixed << (_HASH_BITS + 1 - base.bit_length())
        tag = tag_of(object_id)
        if tag is not None:
            return _hash(b"goverse.tag", namespace, tag)
    return _hash(b"goverse.shard", namespace, type_name, object_id)


def shard_at(hashed: int, shard_count: int) -> int:
    """Return the shard that contains the hash ``hashed``, among ``shard_count`` shards; this is a power of two."""
    return hashed >> (_HASH_BITS + 1 - shard_count.bit_length())


def _hash(purpose: bytes, *parts: str) -> int:
    joined = "\x00".join(parts).encode()
    return int.from_bytes(blake2b(joined, digest_size=8, person=purpose).digest(), "big")
