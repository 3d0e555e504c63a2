"""`threading`: threads are tasks that go on while others wait for their agents."""

import _sync
from _native import clock, current, park, spawn, wait_in, wake

TIMEOUT_MAX = 4294967.0
_threads = {}  # the running ones, by task
_made = [0]


def _seconds(blocking, timeout):
    if not blocking and timeout not in (-1, None):
        raise ValueError("can't specify a timeout for a non-blocking call")
    return 0 if not blocking else None if timeout is None or timeout < 0 else timeout


class Thread:
    def __init__(self, group=None, target=None, name=None, args=(), kwargs=None, *, daemon=None):
        self._target, self._args, self._kwargs = target, args, kwargs or {}
        if name is None:
            _made[0] += 1
            name = f"Thread-{_made[0]}" + (f" ({target.__name__})" if hasattr(target, "__name__") else "")
        self.name = str(name)
        self.daemon = bool(daemon)
        self.ident = None
        self._state = "initial"
        self._waiting = []

    def run(self):
        if self._target is not None:
            self._target(*self._args, **self._kwargs)

    def start(self):
        if self._state != "initial":
            raise RuntimeError("threads can only be started once")
        self._state = "started"
        self.ident = _made[0]
        spawn(self._run)
        park(0)

    def _run(self):
        _threads[current()] = self
        try:
            self.run()
        except Exception:
            pass  # as in CPython, an error ends its own thread and is shown on the error stream alone
        finally:
            self._state = "stopped"
            del _threads[current()]
            wake(self._waiting)

    def join(self, timeout=None):
        if self._state == "initial":
            raise RuntimeError("cannot join thread before it is started")
        if _threads.get(current()) is self:
            raise RuntimeError("cannot join current thread")
        _sync.wait_until(lambda: self._state == "stopped", self._waiting, timeout)

    def is_alive(self):
        return self._state == "started"

    def setDaemon(self, daemon):
        self.daemon = daemon

    def getName(self):
        return self.name

    def setName(self, name):
        self.name = name

    def __repr__(self):
        return f"<Thread({self.name}, {self._state})>"


class Timer(Thread):
    def __init__(self, interval, function, args=None, kwargs=None):
        super().__init__(target=function, args=args or (), kwargs=kwargs)
        self.interval = interval
        self.finished = Event()

    def run(self):
        if not self.finished.wait(self.interval):
            super().run()
        self.finished.set()

    def cancel(self):
        self.finished.set()


_main = Thread(name="MainThread")
_main._state = "started"


class Semaphore(_sync.Semaphore):
    def acquire(self, blocking=True, timeout=None):
        return self.take(_seconds(blocking, timeout))

    def __enter__(self):
        return self.acquire()

    def __exit__(self, kind, error, trace):
        self.release()


class BoundedSemaphore(Semaphore):
    def __init__(self, value=1):
        super().__init__(value)
        self._most = value


class Lock(_sync.Lock):
    def acquire(self, blocking=True, timeout=-1):
        return self.take(_seconds(blocking, timeout))

    def __enter__(self):
        return self.acquire()

    def __exit__(self, kind, error, trace):
        self.release()


class RLock(Lock):
    def __init__(self):
        super().__init__()
        self._owner, self._count = None, 0

    def take(self, seconds=None):
        if self._owner is not current():
            if not super().take(seconds):
                return False
            self._owner = current()
        self._count += 1
        return True

    def release(self):
        if self._owner is not current():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            super().release()


class Condition(_sync.Condition):
    def __init__(self, lock=None):
        super().__init__(lock or Lock())
        self.acquire = self._lock.acquire

    def wait(self, timeout=None):
        return self.wait_notified(timeout)

    def wait_for(self, predicate, timeout=None):
        end = None if timeout is None else clock() + timeout
        while not (result := predicate()):
            if not self.wait_notified(None if end is None else end - clock()):
                return predicate()
        return result

    def __enter__(self):
        return self.acquire()

    def __exit__(self, kind, error, trace):
        self.release()


class Event(_sync.Event):
    def wait(self, timeout=None):
        return self.wait_set(timeout)


class BrokenBarrierError(RuntimeError):
    pass


class Barrier:
    def __init__(self, parties, action=None, timeout=None):
        self.parties, self._action = parties, action
        self._waiting = []

    @property
    def n_waiting(self):
        return len(self._waiting)

    def wait(self, timeout=None):
        index = len(self._waiting)
        if index == self.parties - 1:
            if self._action is not None:
                self._action()
            wake(self._waiting)
        elif not wait_in(self._waiting, timeout):
            raise BrokenBarrierError
        return index


class local:
    def __init__(self):
        object.__setattr__(self, "_of", {})

    def __getattr__(self, name):
        try:
            return self._of[current()][name]
        except KeyError:
            raise AttributeError(f"'_thread._local' object has no attribute '{name}'") from None

    def __setattr__(self, name, value):
        self._of.setdefault(current(), {})[name] = value


def current_thread():
    return _threads.get(current(), _main)


def main_thread():
    return _main


def enumerate():
    return [_main, *_threads.values()]


def active_count():
    return 1 + len(_threads)


def get_ident():
    return current_thread().ident or 0
