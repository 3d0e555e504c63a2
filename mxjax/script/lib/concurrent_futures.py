"""`concurrent.futures`: a pool's workers are tasks, whose agents are asked together."""

from collections import namedtuple

from _native import clock, park, spawn, wait_in, wake

FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED = "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"
DoneAndNotDoneFutures = namedtuple("DoneAndNotDoneFutures", "done not_done")


class CancelledError(Exception):
    pass


class InvalidStateError(Exception):
    pass


class BrokenExecutor(RuntimeError):
    pass


class Future:
    def __init__(self):
        self._state, self._value, self._error = "pending", None, None
        self._waiting, self._callbacks = [], []

    def done(self):
        return self._state in ("finished", "cancelled")

    def running(self):
        return self._state == "running"

    def cancelled(self):
        return self._state == "cancelled"

    def cancel(self):
        if self._state == "pending":
            self._end("cancelled")
        return self._state == "cancelled"

    def set_running_or_notify_cancel(self):
        if self._state == "cancelled":
            return False
        self._state = "running"
        return True

    def _await(self, timeout):
        if not self.done() and not wait_in(self._waiting, timeout):
            raise TimeoutError
        if self._state == "cancelled":
            raise CancelledError

    def result(self, timeout=None):
        self._await(timeout)
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self, timeout=None):
        self._await(timeout)
        return self._error

    def set_result(self, result):
        self._value = result
        self._end("finished")

    def set_exception(self, exception):
        self._error = exception
        self._end("finished")

    def _end(self, state):
        if self.done():
            raise InvalidStateError(f"{self._state.upper()}: {self!r}")
        self._state = state
        wake(self._waiting)
        callbacks, self._callbacks = self._callbacks, []
        for function in callbacks:
            self._call(function)

    def _call(self, function):
        try:
            function(self)
        except Exception:
            pass  # as in CPython, where it is logged

    def add_done_callback(self, fn):
        if self.done():
            self._call(fn)
        else:
            self._callbacks.append(fn)

    def __repr__(self):
        return f"<Future state={self._state}>"


class Executor:
    def __init__(self, max_workers=None, thread_name_prefix="", initializer=None, initargs=(), **options):
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._free = max_workers or 32
        self._work, self._waiting = [], []
        self._busy, self._closed = 0, False
        self._initializer, self._initargs = initializer, initargs

    def submit(self, fn, /, *args, **kwargs):
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        self._work.append((future, fn, args, kwargs))
        if self._busy < self._free:
            self._busy += 1
            spawn(self._works)
            park(0)
        return future

    def _works(self):
        if self._initializer is not None:
            self._initializer(*self._initargs)
        while self._work:
            future, fn, args, kwargs = self._work.pop(0)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._busy -= 1
        if not self._busy:
            wake(self._waiting)

    def map(self, fn, *iterables, timeout=None, chunksize=1):
        futures = [self.submit(fn, *args) for args in zip(*iterables)]
        return (future.result(timeout) for future in futures)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._closed = True
        if cancel_futures:
            for future, *_ in self._work:
                future.cancel()
        while wait and self._busy:
            wait_in(self._waiting)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.shutdown()
        return False


class ThreadPoolExecutor(Executor):
    pass


class ProcessPoolExecutor(Executor):
    pass


def _done_in_turn(fs, timeout):
    """The futures as they end; those that have ended come first, and None when the time is over."""
    ended, waiting, left = [], [], 0
    end = None if timeout is None else clock() + timeout

    def note(future):
        ended.append(future)
        wake(waiting)

    for future in fs:
        left += 1
        future.add_done_callback(note)
    while left:
        while not ended:
            if not wait_in(waiting, None if end is None else end - clock()):
                yield None
                return
        left -= 1
        yield ended.pop(0)


def as_completed(fs, timeout=None):
    for future in _done_in_turn(dict.fromkeys(fs), timeout):
        if future is None:
            raise TimeoutError("futures unfinished")
        yield future


def wait(fs, timeout=None, return_when=ALL_COMPLETED):
    fs = dict.fromkeys(fs)
    done = {future for future in fs if future.done()}
    if len(done) < len(fs) and not (done and return_when == FIRST_COMPLETED):
        for future in _done_in_turn(fs, timeout):
            if future is None:
                break
            done.add(future)
            failed = return_when == FIRST_EXCEPTION and not future.cancelled() and future.exception() is not None
            if failed or return_when == FIRST_COMPLETED:
                break
    return DoneAndNotDoneFutures(done, {future for future in fs if future not in done})
