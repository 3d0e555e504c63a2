"""What threads and coroutines wait for: locks, semaphores, events, conditions and queues, which `take` blocks in.

`threading`, `queue` and `asyncio` give these the names and the spelling (`acquire`, `await acquire`) that scripts know.
"""

import heapq
from collections import deque

from _native import clock, wait_in, wake


def wait_until(ready, queue, seconds=None):
    """Parks in `queue` until `ready()`, or for some seconds; whether it is ready."""
    end = None if seconds is None else clock() + seconds
    while not ready():
        if not wait_in(queue, None if end is None else end - clock()) and not ready():
            return False
    return True


class Semaphore:
    def __init__(self, value=1):
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self._value = value
        self._most = None
        self._waiting = []

    def take(self, seconds=None):
        if not wait_until(lambda: self._value > 0, self._waiting, seconds):
            return False
        self._value -= 1
        return True

    def release(self, n=1):
        if self._most is not None and self._value + n > self._most:
            raise ValueError("Semaphore released too many times")
        self._value += n
        wake(self._waiting, n)

    def locked(self):
        return self._value == 0


class Lock(Semaphore):
    def __init__(self):
        super().__init__(1)

    def release(self):
        if self._value:
            raise RuntimeError("release unlocked lock")
        super().release()


class Event:
    def __init__(self):
        self._set = False
        self._waiting = []

    def is_set(self):
        return self._set

    def set(self):
        self._set = True
        wake(self._waiting)

    def clear(self):
        self._set = False

    def wait_set(self, seconds=None):
        return wait_until(self.is_set, self._waiting, seconds)


class Condition:
    def __init__(self, lock):
        self._lock = lock
        self._waiting = []
        self.release = lock.release
        self.locked = lock.locked

    def wait_notified(self, seconds=None):
        if not self._lock.locked():
            raise RuntimeError("cannot wait on un-acquired lock")
        self._lock.release()
        try:
            return wait_in(self._waiting, seconds)
        finally:
            self._lock.take()

    def notify(self, n=1):
        wake(self._waiting, n)

    def notify_all(self):
        wake(self._waiting)


class Empty(Exception):
    pass


class Full(Exception):
    pass


class Queue:
    _empty, _full = Empty, Full

    def __init__(self, maxsize=0):
        self.maxsize = maxsize
        self.unfinished_tasks = 0
        self._items = self._new()
        self._getting, self._putting, self._joining = [], [], []

    def _new(self):
        return deque()

    def _add(self, item):
        self._items.append(item)

    def _next(self):
        return self._items.popleft()

    def qsize(self):
        return len(self._items)

    def empty(self):
        return not self._items

    def full(self):
        return 0 < self.maxsize <= len(self._items)

    def put_in(self, item, seconds=None):
        if not wait_until(lambda: not self.full(), self._putting, seconds):
            raise self._full
        self._add(item)
        self.unfinished_tasks += 1
        wake(self._getting, 1)

    def take(self, seconds=None):
        if not wait_until(lambda: len(self._items) > 0, self._getting, seconds):
            raise self._empty
        item = self._next()
        wake(self._putting, 1)
        return item

    def put_nowait(self, item):
        self.put_in(item, 0)

    def get_nowait(self):
        return self.take(0)

    def task_done(self):
        if self.unfinished_tasks <= 0:
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= 1
        if not self.unfinished_tasks:
            wake(self._joining)

    def wait_finished(self):
        wait_until(lambda: not self.unfinished_tasks, self._joining)


class LastIn:
    """The order of a `LifoQueue`."""

    def _new(self):
        return []

    def _next(self):
        return self._items.pop()


class LeastFirst:
    """The order of a `PriorityQueue`."""

    def _new(self):
        return []

    def _add(self, item):
        heapq.heappush(self._items, item)

    def _next(self):
        return heapq.heappop(self._items)
