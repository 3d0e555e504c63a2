"""`asyncio`: coroutines, tasks, and what they wait for.

There is no event loop: tasks are those of the machine, which lets time pass only when all of them sleep.
"""

import _sync
from _native import clock, current, interrupt, is_coroutine, park, run_awaitable, spawn, wait_in, wake

FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED = "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"
_tasks = {}  # the unfinished ones, by task of the machine
_made = [0]


class CancelledError(BaseException):
    pass


class InvalidStateError(Exception):
    pass


class QueueEmpty(Exception):
    pass


class QueueFull(Exception):
    pass


class Future:
    def __init__(self, *, loop=None):
        self._state, self._value, self._error = "pending", None, None
        self._waiting, self._callbacks = [], []

    def done(self):
        return self._state != "pending"

    def cancelled(self):
        return self._state == "cancelled"

    def cancel(self, msg=None):
        if self.done():
            return False
        self._end("cancelled")
        return True

    def result(self):
        error = self.exception()
        if error is not None:
            raise error
        return self._value

    def exception(self):
        if self._state == "cancelled":
            raise CancelledError
        if self._state == "pending":
            raise InvalidStateError("Result is not set." if isinstance(self, Task) else "Result is not ready.")
        return self._error

    def set_result(self, result):
        self._value = result
        self._end("finished")

    def set_exception(self, exception):
        self._error = exception() if isinstance(exception, type) else exception
        self._end("finished")

    def _end(self, state):
        if self._state != "pending":
            raise InvalidStateError("invalid state")
        self._state = state
        wake(self._waiting)
        callbacks, self._callbacks = self._callbacks, []
        for function in callbacks:
            function(self)

    def add_done_callback(self, fn, *, context=None):
        if self.done():
            fn(self)
        else:
            self._callbacks.append(fn)

    def __await__(self):
        return self._awaited()

    async def _awaited(self):
        if not self.done():
            wait_in(self._waiting)
        return self.result()


class Task(Future):
    def __init__(self, coro, *, name=None, loop=None, context=None):
        super().__init__()
        _made[0] += 1
        self._name = name or f"Task-{_made[0] + 1}"
        self._coroutine = coro
        self._task = spawn(self._run)
        _tasks[self._task] = self

    def get_name(self):
        return self._name

    def set_name(self, value):
        self._name = str(value)

    def get_coro(self):
        return self._coroutine

    async def _run(self):
        try:
            if self._state == "cancelling":
                raise CancelledError
            self._value = await self._coroutine
            state = "finished"
        except CancelledError:
            state = "cancelled"
        except BaseException as error:
            self._error = error
            state = "finished"
        del _tasks[self._task]
        self._state = "pending"
        self._end(state)

    def done(self):
        return self._state not in ("pending", "cancelling")

    def cancel(self, msg=None):
        if self.done():
            return False
        self._state = "cancelling"
        interrupt(self._task, CancelledError(*([] if msg is None else [msg])))
        return True

    def cancelling(self):
        return int(self._state == "cancelling")

    def exception(self):
        if self._state == "cancelling":
            raise InvalidStateError("Exception is not set.")
        return super().exception()

    async def _awaited(self):
        if self._task is current():
            raise RuntimeError(f"Task cannot await on itself: {self!r}")
        try:
            return await super()._awaited()
        except CancelledError:
            self.cancel()
            raise

    def __repr__(self):
        return f"<Task {self._state} name={self._name!r}>"


def create_task(coro, *, name=None, context=None):
    if isinstance(coro, Future):
        return coro
    return Task(coro, name=name)


def ensure_future(coro, *, loop=None):
    if isinstance(coro, Future) or is_coroutine(coro) or hasattr(coro, "__await__"):
        return create_task(coro)
    made = Future()
    made.set_result(coro)
    return made


def run(main, *, debug=None, loop_factory=None):
    try:
        return run_awaitable(main)
    finally:
        left = list(_tasks.values())
        for task in left:
            task.cancel()
        run_awaitable(gather(*left, return_exceptions=True))


class Runner:
    def __init__(self, **options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        pass

    def run(self, coro):
        return run(coro)


def gather(*values, return_exceptions=False):
    return _gathered([ensure_future(value) for value in values], return_exceptions)


async def _gathered(tasks, return_exceptions):
    try:
        await _ended(tasks, "ALL" if return_exceptions else "FAILED")
    except CancelledError:
        for task in tasks:
            task.cancel()
        raise
    results = []
    for task in tasks:
        try:
            error = CancelledError() if task.cancelled() else task.exception()
        except InvalidStateError:
            continue  # another one has failed
        if error is not None and not return_exceptions:
            raise error
        results.append(task._value if error is None else error)
    return results


async def _ended(tasks, which, seconds=None):
    """Waits for all of the tasks, for the first that "FAILED", or for "ANY"; those that have ended, in that order."""
    ended, waiting, enough = [], [], []

    def note(task):
        ended.append(task)
        failed = task.cancelled() or task._error is not None
        if which == "ANY" or (failed and which == "FAILED") or len(ended) == len(tasks):
            enough.append(task)
            wake(waiting)

    for task in tasks:
        task.add_done_callback(note)
    if tasks:
        _sync.wait_until(lambda: len(enough) > 0, waiting, seconds)
    return list(ended)


async def wait(fs, *, timeout=None, return_when=ALL_COMPLETED):
    tasks = [ensure_future(value) for value in fs]
    if not tasks:
        raise ValueError("Set of Tasks/Futures is empty.")
    which = {FIRST_COMPLETED: "ANY", FIRST_EXCEPTION: "FAILED", ALL_COMPLETED: "ALL"}[return_when]
    await _ended(tasks, which, timeout)
    return {task for task in tasks if task.done()}, {task for task in tasks if not task.done()}


async def wait_for(fut, timeout):
    if timeout is None:
        return await fut
    task = ensure_future(fut)
    try:
        if not task.done():
            wait_in(task._waiting, timeout)
    except CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        await _ended([task], "ALL")
        if task.cancelled():
            raise TimeoutError
    return task.result()


class timeout:
    def __init__(self, delay):
        self._delay, self._expired, self._watch = delay, False, None

    async def __aenter__(self):
        if self._delay is not None:
            self._watch = create_task(self._watched(current()))
        return self

    async def _watched(self, target):
        park(self._delay)
        self._expired = True
        interrupt(target, CancelledError())

    async def __aexit__(self, kind, error, trace):
        if self._watch is not None:
            self._watch.cancel()
        if self._expired and kind is CancelledError:
            raise TimeoutError from error

    def expired(self):
        return self._expired


def as_completed(fs, *, timeout=None):
    """Awaitables of the results, in the order in which they are there."""
    done = Queue()
    tasks = [ensure_future(value) for value in fs]
    for task in tasks:
        task.add_done_callback(done.put_nowait)

    async def one():
        return (await wait_for(done.get(), timeout)).result()

    return iter([one() for _ in tasks])


async def sleep(delay, result=None):
    park(delay)
    return result


async def to_thread(func, /, *args, **kwargs):
    return func(*args, **kwargs)


def shield(arg):
    return ensure_future(arg)


def iscoroutine(obj):
    return is_coroutine(obj)


def isfuture(obj):
    return isinstance(obj, Future)


def current_task(loop=None):
    return _tasks.get(current())


def all_tasks(loop=None):
    return set(_tasks.values())


class TaskGroup:
    def __init__(self):
        self._members = []

    def create_task(self, coro, *, name=None, context=None):
        task = create_task(coro, name=name)
        self._members.append(task)
        return task

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        if error is not None:
            for task in self._members:
                task.cancel()
        try:
            await _gathered(self._members, error is not None)
        except BaseException:
            for task in self._members:
                task.cancel()
            await _gathered(self._members, True)
            raise


class Loop:
    """What `get_event_loop` returns."""

    create_task = staticmethod(create_task)
    run_until_complete = staticmethod(run_awaitable)
    time = staticmethod(clock)

    def create_future(self):
        return Future()

    def run_in_executor(self, executor, func, *args):
        return create_task(to_thread(func, *args))

    def call_soon(self, callback, *args, context=None):
        spawn(callback, *args)

    def call_later(self, delay, callback, *args, context=None):
        async def later():
            await sleep(delay)
            callback(*args)

        return create_task(later())

    def is_running(self):
        return True

    def is_closed(self):
        return False

    def close(self):
        pass


AbstractEventLoop = Loop
_loop = Loop()


def get_event_loop():
    return _loop


def get_running_loop():
    return _loop


def new_event_loop():
    return _loop


def set_event_loop(loop):
    pass


class _Guard:
    async def acquire(self):
        return self.take()

    async def __aenter__(self):
        self.take()

    async def __aexit__(self, kind, error, trace):
        self.release()


class Semaphore(_Guard, _sync.Semaphore):
    pass


class BoundedSemaphore(Semaphore):
    def __init__(self, value=1):
        super().__init__(value)
        self._most = value


class Lock(_Guard, _sync.Lock):
    pass


class Condition(_Guard, _sync.Condition):
    def __init__(self, lock=None):
        super().__init__(lock or Lock())

    def take(self):
        return self._lock.take()

    async def wait(self):
        return self.wait_notified()

    async def wait_for(self, predicate):
        while not (result := predicate()):
            self.wait_notified()
        return result


class Event(_sync.Event):
    async def wait(self):
        return self.wait_set()


class Queue(_sync.Queue):
    _empty, _full = QueueEmpty, QueueFull

    async def put(self, item):
        self.put_in(item)

    async def get(self):
        return self.take()

    async def join(self):
        self.wait_finished()


class LifoQueue(_sync.LastIn, Queue):
    pass


class PriorityQueue(_sync.LeastFirst, Queue):
    pass
