"""`contextlib`: context managers made of generators, `suppress`, `nullcontext` and `ExitStack`."""

from functools import wraps


class _GeneratorContextManager:
    def __init__(self, generator):
        self.gen = generator

    def __enter__(self):
        try:
            return next(self.gen)
        except StopIteration:
            raise RuntimeError("generator didn't yield") from None

    def __exit__(self, kind, error, trace):
        if error is None:
            try:
                next(self.gen)
            except StopIteration:
                return False
            raise RuntimeError("generator didn't stop")
        try:
            self.gen.throw(error)
        except StopIteration as ended:
            return ended is not error
        except BaseException as raised:
            if raised is not error:
                raise
            return False
        raise RuntimeError("generator didn't stop after throw()")


class _AsyncGeneratorContextManager:
    def __init__(self, generator):
        self.gen = generator

    async def __aenter__(self):
        try:
            return await anext(self.gen)
        except StopAsyncIteration:
            raise RuntimeError("generator didn't yield") from None

    async def __aexit__(self, kind, error, trace):
        if error is None:
            try:
                await anext(self.gen)
            except StopAsyncIteration:
                return False
            raise RuntimeError("generator didn't stop")
        try:
            await self.gen.athrow(error)
        except StopAsyncIteration as ended:
            return ended is not error
        except BaseException as raised:
            if raised is not error:
                raise
            return False
        raise RuntimeError("generator didn't stop after athrow()")


def contextmanager(func):
    @wraps(func)
    def helper(*args, **kwargs):
        return _GeneratorContextManager(func(*args, **kwargs))

    return helper


def asynccontextmanager(func):
    @wraps(func)
    def helper(*args, **kwargs):
        return _AsyncGeneratorContextManager(func(*args, **kwargs))

    return helper


class suppress:
    def __init__(self, *exceptions):
        self._exceptions = exceptions

    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        return error is not None and isinstance(error, self._exceptions)


class nullcontext:
    def __init__(self, enter_result=None):
        self.enter_result = enter_result

    def __enter__(self):
        return self.enter_result

    def __exit__(self, *error):
        pass

    async def __aenter__(self):
        return self.enter_result

    async def __aexit__(self, *error):
        pass


class ExitStack:
    def __init__(self):
        self._exits = []

    def enter_context(self, cm):
        try:
            leave, enter = cm.__exit__, cm.__enter__
        except AttributeError:
            raise TypeError(f"'{type(cm).__name__}' object does not support the context manager protocol") from None
        value = enter()
        self._exits.append(leave)
        return value

    def push(self, exit):
        self._exits.append(exit.__exit__ if hasattr(exit, "__exit__") else exit)
        return exit

    def callback(self, callback, /, *args, **kwds):
        def leave(*error):
            callback(*args, **kwds)

        self._exits.append(leave)
        return callback

    def close(self):
        self.__exit__(None, None, None)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """Runs what is left to do, last first; each sees the exception that is under way by then."""
        pending = error
        while self._exits:
            leave = self._exits.pop()
            try:
                if leave(None if pending is None else type(pending), pending, None):
                    pending = None
            except BaseException as raised:
                pending = raised
        if pending is not None and pending is not error:
            raise pending
        return error is not None and pending is None
