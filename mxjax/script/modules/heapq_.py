"""`heapq`: the host's algorithm on script lists, comparing in the machine."""

from __future__ import annotations

from mxjax.script import comparison
from mxjax.script.exceptions import may_raise
from mxjax.script.iteration import take_all
from mxjax.script.sorting import sort
from mxjax.script.values import type_name


def _list(heap) -> list:
    if type(heap) is not list:
        raise TypeError(f"heap argument must be a list, not {type_name(heap)}")
    return heap


def _sift_down(m, heap: list, start: int, at: int):
    """Move the item at `at` towards `start`.

    Stops where its parent is not larger.
    """
    item = heap[at]
    while at > start:
        parent = (at - 1) >> 1
        if not (yield from comparison.ordered(m, "<", item, heap[parent])):
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = item


def _sift_up(m, heap: list, at: int):
    """Move the smaller child up to a leaf, then place the item.

    The item at `at` moves to its place from the leaf.
    """
    start, end, item = at, len(heap), heap[at]
    child = 2 * at + 1
    while child < end:
        right = child + 1
        if right < end and not (yield from comparison.ordered(m, "<", heap[child], heap[right])):
            child = right
        if len(heap) != end:
            raise RuntimeError("list changed size during iteration")
        heap[at] = heap[child]
        at, child = child, 2 * child + 1
    heap[at] = item
    yield from _sift_down(m, heap, start, at)


def heappush(m, heap, item):
    m.need_items(len(heap) + 1) if len(_list(heap)) >= m.limits.items else m.allocate(40)
    heap.append(item)
    yield from _sift_down(m, heap, 0, len(heap) - 1)


@may_raise(IndexError)
def heappop(m, heap):
    last = _list(heap).pop()
    if not heap:
        return last
    return (yield from heapreplace(m, heap, last))


@may_raise(IndexError)
def heapreplace(m, heap, item):
    first = _list(heap)[0]
    heap[0] = item
    yield from _sift_up(m, heap, 0)
    return first


def heappushpop(m, heap, item):
    if _list(heap) and (yield from comparison.ordered(m, "<", heap[0], item)):
        return (yield from heapreplace(m, heap, item))
    return item


def heapify(m, x):
    for at in reversed(range(len(_list(x)) // 2)):
        m.charge(1)
        yield from _sift_up(m, x, at)


def _best(reverse: bool):
    def call(m, n, iterable, key=None):
        if type(n) not in (int, bool):
            raise TypeError(f"'{type_name(n)}' object cannot be interpreted as an integer")
        items = yield from take_all(m, iterable)
        return (yield from sort(m, items, key, reverse))[: max(0, n)]

    return call


FUNCTIONS = {
    "heappush": heappush,
    "heappop": heappop,
    "heapreplace": heapreplace,
    "heappushpop": heappushpop,
    "heapify": heapify,
    "nlargest": _best(True),
    "nsmallest": _best(False),
}
