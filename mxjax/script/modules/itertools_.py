"""`itertools`: lazy iterators, each a generator of ours that the machine advances item by item."""

from __future__ import annotations

from types import GeneratorType

from mxjax.script import operators
from mxjax.script.builtins import truth
from mxjax.script.exceptions import binds_arguments, may_raise
from mxjax.script.frames import Emit, Invoke
from mxjax.script.iteration import iterate, lazy, pull, take_all
from mxjax.script.values import EXHAUSTED, BuiltinType, HostIterator, Native, type_name


def _lazy(name: str, gen):
    return binds_arguments(lambda m, *args, **kwargs: lazy(m, gen(m, *args, **kwargs), name))


def count(m, start=0, step=1):
    while True:
        yield Emit(start)
        m.charge(1)
        start = operators.add(m, start, step)
        start = (yield from start) if type(start) is GeneratorType else start


def cycle(m, iterable):
    items = yield from take_all(m, iterable)
    while items:
        for item in items:
            m.charge(1)
            yield Emit(item)


def repeat(m, value, times=None):
    if times is not None and type(times) is not int:
        raise TypeError(f"'{type_name(times)}' object cannot be interpreted as an integer")
    done = 0
    while times is None or done < times:
        m.charge(1)
        yield Emit(value)
        done += 1


def chain(m, *iterables):
    yield from chain_from(m, iterables)


def chain_from(m, iterables):
    outer = yield from iterate(m, iterables)
    while (iterable := (yield from pull(m, outer))) is not EXHAUSTED:
        inner = yield from iterate(m, iterable)
        while (value := (yield from pull(m, inner))) is not EXHAUSTED:
            yield Emit(value)


@may_raise(TypeError)
def islice(m, iterable, *args):
    part = slice(*args)
    if any(value is not None and (type(value) is not int or value < 0) for value in (part.start, part.stop)):
        raise ValueError("Indices for islice() must be None or an integer: 0 <= x <= sys.maxsize.")
    if part.step is not None and (type(part.step) is not int or part.step < 1):
        raise ValueError("Step for islice() must be a positive integer or None.")
    at, step, stop = part.start or 0, part.step or 1, part.stop
    iterator = yield from iterate(m, iterable)
    index = 0
    while stop is None or index < stop:
        value = yield from pull(m, iterator)
        if value is EXHAUSTED:
            return
        if index == at:
            yield Emit(value)
            at += step
        index += 1


def takewhile(m, predicate, iterable):
    iterator = yield from iterate(m, iterable)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        if not (yield from truth(m, (yield Invoke(predicate, (value,))))):
            return
        yield Emit(value)


def dropwhile(m, predicate, iterable):
    iterator = yield from iterate(m, iterable)
    dropping = True
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        dropping = dropping and (yield from truth(m, (yield Invoke(predicate, (value,)))))
        if not dropping:
            yield Emit(value)


def filterfalse(m, predicate, iterable):
    iterator = yield from iterate(m, iterable)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        kept = value if predicate is None else (yield Invoke(predicate, (value,)))
        if not (yield from truth(m, kept)):
            yield Emit(value)


def starmap(m, function, iterable):
    iterator = yield from iterate(m, iterable)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        yield Emit((yield Invoke(function, tuple((yield from take_all(m, value))))))


def accumulate(m, iterable, func=None, *, initial=None):
    iterator = yield from iterate(m, iterable)
    total = initial if initial is not None else (yield from pull(m, iterator))
    if total is EXHAUSTED:
        return
    yield Emit(total)
    add = func or Native("add", operators.add)
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        total = yield Invoke(add, (total, value))
        yield Emit(total)


def zip_longest(m, *iterables, fillvalue=None):
    iterators = []
    for iterable in iterables:
        iterators.append((yield from iterate(m, iterable)))
    while True:
        row = []
        for iterator in iterators:
            row.append((yield from pull(m, iterator)))
        if all(value is EXHAUSTED for value in row):
            return
        m.allocate(64 + 8 * len(row))
        yield Emit(tuple(fillvalue if value is EXHAUSTED else value for value in row))


def compress(m, data, selectors):
    items = yield from iterate(m, data)
    chosen = yield from iterate(m, selectors)
    while (value := (yield from pull(m, items))) is not EXHAUSTED:
        selected = yield from pull(m, chosen)
        if selected is EXHAUSTED:
            return
        if (yield from truth(m, selected)):
            yield Emit(value)


def batched(m, iterable, n):
    if type(n) is not int or n < 1:
        raise ValueError("n must be at least one")
    iterator = yield from iterate(m, iterable)
    batch: list = []
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        m.allocate(50)
        batch.append(value)
        if len(batch) == n:
            yield Emit(tuple(batch))
            batch = []
    if batch:
        yield Emit(tuple(batch))


def pairwise(m, iterable):
    iterator = yield from iterate(m, iterable)
    before = yield from pull(m, iterator)
    while before is not EXHAUSTED and (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        m.allocate(60)
        yield Emit((before, value))
        before = value


def groupby(m, iterable, key=None):
    """Groups are lists, made when their key ends."""
    iterator = yield from iterate(m, iterable)
    group: list = []
    current = EXHAUSTED
    while (value := (yield from pull(m, iterator))) is not EXHAUSTED:
        value_key = value if key is None else (yield Invoke(key, (value,)))
        if group and not (yield from operators.equal(m, value_key, current)):
            m.allocate(200)
            yield Emit((current, group))
            group = []
        current = value_key
        m.allocate(40)
        group.append(value)
    if group:
        yield Emit((current, group))


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
    """All tuples of `r` items in lexicographic order: `options(chosen)` are the indices that may come next."""
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


def tee(m, iterable, n=2):
    if type(n) is not int or n < 0:
        raise ValueError("n must be >= 0")
    m.need_entries(n)
    items = yield from take_all(m, iterable)
    return tuple(HostIterator(iter(items), "tee") for _ in range(n))


_LAZY = {
    "count": count, "cycle": cycle, "repeat": repeat, "islice": islice, "takewhile": takewhile,
    "dropwhile": dropwhile, "filterfalse": filterfalse, "starmap": starmap, "accumulate": accumulate,
    "zip_longest": zip_longest, "pairwise": pairwise, "groupby": groupby, "compress": compress,
    "batched": batched, "product": product,
    "permutations": permutations, "combinations": combinations,
    "combinations_with_replacement": combinations_with_replacement,
}  # fmt: skip
ITERTOOLS = {**{name: _lazy(name, gen) for name, gen in _LAZY.items()}, "tee": tee}
CHAIN = BuiltinType(
    "chain", (), _lazy("chain", chain), {"from_iterable": Native("from_iterable", _lazy("chain", chain_from))}
)
