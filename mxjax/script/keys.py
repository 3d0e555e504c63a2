"""Keys of dicts and sets: the cost of hashing, and custom equality.

The host looks keys up without running any code of the script. An object whose class defines `__eq__` and `__hash__`
is therefore brought to the host as the key that is stored already: its hash is asked for in the machine, the host says
which stored keys have the same, and these are compared in the machine. Both may suspend.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque

from mxjax.script import comparison
from mxjax.script.errors import LimitExceeded
from mxjax.script.exceptions import binds_arguments
from mxjax.script.frames import Invoke
from mxjax.script.values import (
    DATA,
    NUMBERS,
    UNBOUND,
    BuiltinType,
    Class,
    CounterDict,
    DefaultDict,
    Function,
    Instance,
    Native,
    Probe,
    Set,
    Slice,
    View,
    type_name,
)

_SALT = os.urandom(8)  # so that no script can choose hashes that meet in the host's tables; no outcome depends on it
_OF_NONE = 0xFCA86420
UNHASHABLE = frozenset({list, dict, deque, DefaultDict, CounterDict, View, Slice})
_COMPOUND = UNHASHABLE | {tuple, Set, Instance}
_WALKED = _COMPOUND | {str, bytes}


def hashable(m, key) -> bool:
    """Account for hashing `key`; return whether it must be `stored` first.

    Comparing it with similar keys is accounted for too. A key is `stored` before it is looked up. TypeError where it
    cannot be a key. What is nested in tuples and frozen sets is walked as often as the host would.
    """
    kind = type(key)
    if kind is str or kind is bytes:
        m.charge(len(key) >> 6)
        return False
    if kind not in _COMPOUND:
        return False
    own = False
    stack = [(key, 0)]
    while stack:
        value, depth = stack.pop()
        kind = type(value)
        if kind is str or kind is bytes:
            m.charge(len(value) >> 6)
        elif kind is tuple or (kind is Set and value.frozen):
            if depth >= m.limits.nesting:
                raise LimitExceeded("nesting")
            m.charge(len(value) + 1)
            inner = [(item, depth + 1) for item in (value if kind is tuple else value.items) if type(item) in _WALKED]
            m.allocate(80 * len(inner))
            stack += inner
        elif kind in UNHASHABLE or kind is Set or (kind is Instance and not has_identity(value.cls)):
            raise TypeError(f"unhashable type: '{type_name(value)}'")
        elif kind is Instance and value.cls.key is not None:
            if depth >= m.limits.nesting:
                raise LimitExceeded("nesting")
            stack.append((value.part(value.cls.key), depth + 1))
        elif kind is Instance and value.cls.lookup("__eq__") is not UNBOUND:
            own = True
    return own


def hash_again(m, mapping) -> bool:
    """Account for rehashing dict keys; return whether any must be `stored` elsewhere."""
    own = False
    for key in mapping:
        if type(key) in _COMPOUND:
            own = hashable(m, key) or own
    if own:
        need_comparisons(m, mapping)
    return own


def need_comparisons(m, keys_):
    """Account for the host's comparisons when colliding keys enter another table."""
    counts: dict[int, int] = {}
    for key in keys_:
        found = hash(key)
        counts[found] = counts.get(found, 0) + 1
    m.charge(len(counts) + (sum(count * count for count in counts.values()) >> 4))


def has_identity(cls: Class) -> bool:
    """Whether objects of a class can be keys.

    They can if the class does not define equality, or defines hashing too.
    """
    changes = cls.plain is DATA and cls.key is None  # derived from a type that is no key, unless the script says how
    if cls.lookup("__eq__") is UNBOUND and not changes:
        return True
    return cls.lookup("__hash__") not in (UNBOUND, None)


def stored(m, table: dict, key):
    """The key of `table` equal to `key`, or else `key` itself.

    What is returned is ready for the host.
    """
    yield from _hash_objects(m, key)
    probe = Probe(hash(key))
    table.get(probe)
    m.charge(len(probe.found))
    for other in probe.found:
        if (yield from comparison.equal(m, other, key)):
            return other
    return key


def put(m, table: dict, pairs):
    """Put `pairs` into `table` in order, each under an equal stored key.

    Where there is none, the key is its own.
    """
    for key, value in pairs:
        if hashable(m, key):
            key = yield from stored(m, table, key)
        table[key] = value


def by_key(method):
    """A method `fn(m, owner, key, ...)` of dicts or sets.

    The key is replaced by the equal one that is stored.
    """

    @binds_arguments
    def found(m, owner, key, *args):
        if hashable(m, key):
            return _by_key(m, method, owner, key, args)
        return method(m, owner, key, *args)

    return found


@binds_arguments
def _by_key(m, method, owner, key, args):
    key = yield from stored(m, owner.items if type(owner) is Set else owner, key)
    return method(m, owner, key, *args)


def _hash_objects(m, key):
    """Ask every object in a key for its hash."""
    stack = [key]
    while stack:
        value = stack.pop()
        if type(value) is tuple:
            stack.extend(value)
        elif type(value) is Set:
            stack.extend(value.items)
        elif type(value) is Instance and value.cls.key is not None:
            stack.append(value.part(value.cls.key))
        elif type(value) is Instance and value.cls.lookup("__eq__") is not UNBOUND:
            value.hashed = hash((_SALT, (yield from _own_hash(value))))


def _own_hash(value: Instance):
    found = yield Invoke(value.cls.lookup("__hash__"), (value,))
    if type(found) not in (int, bool):
        raise TypeError("__hash__ method should return an integer")
    return int(found)


def hash_(m, value, depth: int = 0):
    """`hash(value)`: Python's for numbers, process-independent for everything else."""
    if depth >= m.limits.nesting:
        raise LimitExceeded("nesting")
    m.charge(1)
    kind = type(value)
    if kind in NUMBERS:
        m.charge(value.bit_length() >> 6 if kind is int else 0)
        return hash(value) if value == value else 0
    if value is None:
        return _OF_NONE
    if kind is str:
        m.charge(len(value) >> 6)
        digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True) >> 3
    if kind is tuple or (kind is Set and value.frozen):
        m.need_items(len(value))
        parts = []
        for item in value if kind is tuple else list(value.items):
            parts.append((yield from hash_(m, item, depth + 1)))
        return hash(tuple(parts) if kind is tuple else frozenset(parts))
    if kind is Instance and has_identity(value.cls):
        own = value.cls.lookup("__hash__")
        if own is not UNBOUND and own is not None:
            return hash((yield from _own_hash(value)))
        if value.cls.key is not None:
            return (yield from hash_(m, value.part(value.cls.key), depth + 1))
        raise RuntimeError(f"hash() of a {value.cls.name}, which defines no __hash__, is not available to a design")
    if kind in (Class, BuiltinType, Function, Native):
        return (yield from hash_(m, value.name, depth + 1))
    raise TypeError(f"unhashable type: '{type_name(value)}'")
