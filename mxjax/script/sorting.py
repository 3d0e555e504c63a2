"""`sorted`, `list.sort`, `min` and `max`.

Keys are computed in the machine; the host compares plain keys.
"""

from __future__ import annotations

from mxjax.script import comparison
from mxjax.script.frames import Invoke
from mxjax.script.iteration import iterate, pull
from mxjax.script.values import EXHAUSTED, UNBOUND

_PLAIN = ({int, float, bool}, {str})


def _plain(keys) -> bool:
    """Whether the host can compare all `keys` without running our code."""
    kinds = {type(key) for key in keys}
    if any(kinds <= plain for plain in _PLAIN):
        return True
    if kinds != {tuple} or len({len(key) for key in keys}) != 1:
        return False
    return all(_plain(column) and tuple not in map(type, column) for column in zip(*keys))


def _length(key) -> int:
    if type(key) is str:
        return len(key)
    return sum(map(_length, key)) if type(key) is tuple else 0


def sort(m, items: list, key, reverse):
    """`items` in a new sorted list; stable, also in reverse."""
    count = len(items)
    m.charge(count * count.bit_length() >> 1)
    keys = items
    if key is not None:
        keys = []
        for item in items:
            m.charge(1)
            keys.append((yield Invoke(key, (item,))))
    if _plain(keys):
        m.need_items(count)
        m.charge(sum(map(_length, keys)) * count.bit_length() >> 8)
        order = sorted(range(count), key=keys.__getitem__, reverse=bool(reverse))
    else:
        order = yield from _merge_sort(m, keys, bool(reverse))
    return [items[index] for index in order]


def _merge_sort(m, keys: list, reverse: bool):
    """The order of `keys` by machine comparisons, as in `sorted`."""
    order = list(range(len(keys)))
    if reverse:
        order.reverse()
    width = 1
    while width < len(order):
        merged = []
        for start in range(0, len(order), 2 * width):
            left, right = order[start : start + width], order[start + width : start + 2 * width]
            i = j = 0
            while i < len(left) and j < len(right):
                if (yield from comparison.ordered(m, "<", keys[right[j]], keys[left[i]])):
                    merged.append(right[j])
                    j += 1
                else:
                    merged.append(left[i])
                    i += 1
            merged += left[i:] + right[j:]
        order = merged
        width *= 2
    if reverse:
        order.reverse()
    return order


def best(m, args: tuple, key, default, symbol: str, name: str):
    """`min` (symbol "<") and `max` (symbol ">"): the first best item."""
    if not args:
        raise TypeError(f"{name} expected at least 1 argument, got 0")
    if len(args) > 1 and default is not UNBOUND:
        raise TypeError(f"Cannot specify a default for {name}() with multiple positional arguments")
    iterator = yield from iterate(m, args[0] if len(args) == 1 else args)
    found = found_key = UNBOUND
    while True:
        item = yield from pull(m, iterator)
        if item is EXHAUSTED:
            break
        item_key = item if key is None else (yield Invoke(key, (item,)))
        if found is UNBOUND or (yield from comparison.ordered(m, symbol, item_key, found_key)):
            found, found_key = item, item_key
    if found is not UNBOUND:
        return found
    if default is UNBOUND:
        raise ValueError(f"{name}() iterable argument is empty")
    return default
