"""`functools`, but for `cached_property`, `total_ordering` and `update_wrapper`, which write where scripts cannot."""

from _native import annotated, cache_info, update_wrapper

_NOTHING = object()


class partial:
    def __init__(self, func, /, *args, **keywords):
        self.func, self.args, self.keywords = func, args, keywords

    def __call__(self, /, *args, **keywords):
        return self.func(*self.args, *args, **{**self.keywords, **keywords})

    def __repr__(self):
        keywords = [f"{name}={value!r}" for name, value in self.keywords.items()]
        return f"functools.partial({', '.join([*map(repr, (self.func, *self.args)), *keywords])})"


def partialmethod(func, /, *args, **keywords):
    def method(self, /, *more, **extra):
        return func(self, *args, *more, **{**keywords, **extra})

    return method


def reduce(function, iterable, initial=_NOTHING, /):
    iterator = iter(iterable)
    total = next(iterator, _NOTHING) if initial is _NOTHING else initial
    if total is _NOTHING:
        raise TypeError("reduce() of empty iterable with no initial value")
    for item in iterator:
        total = function(total, item)
    return total


def lru_cache(maxsize=128, typed=False):
    """Keeps every result, whatever the size."""
    if callable(maxsize):
        return _cached(maxsize, 128)
    return lambda function: _cached(function, maxsize)


def cache(user_function, /):
    return _cached(user_function, None)


def _cached(function, maxsize):
    results = {}
    hits = misses = 0

    def cached(*args, **kwargs):
        nonlocal hits, misses
        key = (*args, _NOTHING, *kwargs.items()) if kwargs else args
        if key in results:
            hits += 1
            return results[key]
        misses += 1
        result = results[key] = function(*args, **kwargs)
        return result

    def clear():
        nonlocal hits, misses
        hits = misses = 0
        results.clear()

    update_wrapper(cached, function)
    cached.cache_info = lambda: cache_info(hits, misses, maxsize, len(results))
    cached.cache_clear = clear
    return cached


def wraps(wrapped, assigned=None, updated=None):
    return lambda wrapper: update_wrapper(wrapper, wrapped)


def cmp_to_key(mycmp):
    class K:
        def __init__(self, obj):
            self.obj = obj

        def __lt__(self, other):
            return mycmp(self.obj, other.obj) < 0

        def __gt__(self, other):
            return mycmp(self.obj, other.obj) > 0

        def __eq__(self, other):
            return mycmp(self.obj, other.obj) == 0

    return K


def singledispatch(func):
    """A function that picks, by the type of its first argument, among those `register`ed with it."""
    choices = []

    def dispatched(*args, **kwargs):
        if not args:
            raise TypeError(f"{func.__name__} requires at least 1 positional argument")
        chosen, best = func, None
        for kind, choice in choices:
            if isinstance(args[0], kind) and (best is None or issubclass(kind, best)):
                chosen, best = choice, kind
        return chosen(*args, **kwargs)

    def register(cls, func=None):
        if func is None:
            return register(annotated(cls), cls) if type(cls) is type(register) else lambda func: register(cls, func)
        choices.append((cls, func))
        return func

    dispatched.register = register
    return update_wrapper(dispatched, func)
