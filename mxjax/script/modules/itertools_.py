"""The native part of `itertools`: products, permutations and combinations.

`lib/itertools.py` is too slow for these.
"""

from __future__ import annotations

from mxjax.script.exceptions import binds_arguments
from mxjax.script.frames import Emit
from mxjax.script.iteration import lazy, take_all
from mxjax.script.values import type_name


def _lazy(name: str, gen):
    return binds_arguments(lambda m, *args, **kwargs: lazy(m, gen(m, *args, **kwargs), name))


def product(m, *iterables, repeat=1):
    pools = []
    for iterable in iterables:
        pools.append((yield from take_all(m, iterable)))
    if type(repeat) is not int or repeat < 0:
        raise ValueError("repeat argument cannot be negative")
    m.need_items(len(pools) * repeat)
    pools *= repeat
    yield from _choose(m, len(pools), lambda chosen: range(len(pools[len(chosen)])), lambda at: pools[at])


def permutations(m, iterable, r=None):
    items = yield from take_all(m, iterable)
    r = len(items) if r is None else r
    yield from _choose(m, r, lambda chosen: range(len(items)), lambda at: items, distinct=True)


def combinations(m, iterable, r):
    items = yield from take_all(m, iterable)
    yield from _choose(m, r, lambda chosen: range(chosen[-1] + 1 if chosen else 0, len(items)), lambda at: items)


def combinations_with_replacement(m, iterable, r):
    items = yield from take_all(m, iterable)
    yield from _choose(m, r, lambda chosen: range(chosen[-1] if chosen else 0, len(items)), lambda at: items)


def _choose(m, r: int, options, pool, distinct: bool = False):
    """All tuples of `r` items in lexicographic order.

    `options(chosen)` are the indices that may come next.
    """
    if type(r) is not int:
        raise TypeError(f"'{type_name(r)}' object cannot be interpreted as an integer")
    if r < 0:
        raise ValueError("r must be non-negative")
    m.need_items(2 * r)
    chosen: list[int] = []
    used: set[int] = set()
    stack = [iter(options(chosen))] if r > 0 else []
    if r == 0:
        yield Emit(())
    while stack:
        m.charge(2)
        index = next(stack[-1], None)
        if index is None:
            stack.pop()
            if chosen:
                used.discard(chosen.pop())
            continue
        if distinct and index in used:
            continue
        chosen.append(index)
        used.add(index)
        if len(chosen) == r:
            m.charge(r >> 2)
            m.allocate(64 + 8 * r)
            yield Emit(tuple(pool(at)[i] for at, i in enumerate(chosen)))
            used.discard(chosen.pop())
        else:
            stack.append(iter(options(chosen)))


_CHOICES = (product, permutations, combinations, combinations_with_replacement)
FUNCTIONS = {gen.__name__: _lazy(gen.__name__, gen) for gen in _CHOICES}
