"""`math` and `statistics`, on ints and floats."""

from __future__ import annotations

import math
from types import GeneratorType

from mxjax.script import operators
from mxjax.script.exceptions import EXCEPTIONS, may_raise
from mxjax.script.frames import Invoke
from mxjax.script.iteration import take_all
from mxjax.script.sorting import sort
from mxjax.script.values import UNBOUND, Class, Instance, Raised, need_integer, plain, type_name


def _number(value):
    if type(value) not in operators.NUMBERS:
        raise TypeError(f"must be real number, not {type_name(value)}")
    return value


def _host(name: str):
    function = getattr(math, name)

    @may_raise(TypeError, ValueError, OverflowError)
    def call(m, *args):
        if any(type(argument) is Instance for argument in args):
            return _of_objects(m, name, call, args)
        for argument in args:
            if type(_number(argument)) is int and argument.bit_length() > 64:
                m.need_int(argument.bit_length())
        return function(*args)

    return call


def _of_objects(m, name: str, call, args: tuple):
    """The function of the numbers that objects of the script stand for."""
    numbers = []
    for argument in args:
        for special in (f"__{name}__", "__float__") if type(argument) is Instance else ():
            if (method := argument.cls.lookup(special)) is not UNBOUND:
                argument = yield Invoke(method, (argument,))
                if special != "__float__":
                    return argument
                break
        numbers.append(_number(plain(argument)))
    return call(m, *numbers)


def _integers(name: str):
    """A function of ints whose cost grows with their size."""
    function = getattr(math, name)

    @may_raise(TypeError, ValueError, OverflowError)
    def call(m, *args):
        for argument in args:
            if type(argument) not in (int, bool):
                raise TypeError(f"'{type_name(argument)}' object cannot be interpreted as an integer")
            bits = int(argument).bit_length()
            m.charge(1 + (bits >> 6) * (bits >> 6))
        return function(*args)

    return call


def lcm(m, *args):
    m.need_int(sum(int(argument).bit_length() for argument in args if type(argument) in (int, bool)))
    return _integers("lcm")(m, *args)


@may_raise(TypeError, ValueError, OverflowError)
def factorial(m, n):
    if type(n) is int and n > 1:
        m.need_int(int(n * math.log2(n)) if n < 1 << 40 else n)
    return math.factorial(n)


@may_raise(TypeError, ValueError, OverflowError)
def comb(m, n, k):
    if type(n) is int and type(k) is int and n > 0 and k > 0:
        small = min(k, max(n - k, 0))
        m.need_int(small * n.bit_length())
        m.charge(small)
    return math.comb(n, k)


@may_raise(TypeError, ValueError, OverflowError)
def perm(m, n, k=None):
    if k is not None:
        need_integer(k)
    if type(n) is int and n > 0:
        m.need_int((n if k is None else k) * n.bit_length())
    return math.perm(n, k)


def prod(m, iterable, *, start=1):
    items = yield from take_all(m, iterable)
    total = start
    for item in items:
        total = operators.multiply(m, total, item)
        total = (yield from total) if type(total) is GeneratorType else total
    return total


@may_raise(ValueError, OverflowError)
def fsum(m, iterable):
    return math.fsum(map(_number, (yield from take_all(m, iterable))))


@may_raise(ValueError, OverflowError)
def dist(m, p, q):
    p, q = (yield from take_all(m, p)), (yield from take_all(m, q))
    return math.dist(list(map(_number, p)), list(map(_number, q)))


_PLAIN = """
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh degrees erf erfc exp exp2 expm1 fabs floor fmod
    frexp gamma hypot isfinite isinf isnan ldexp lgamma log log10 log1p log2 modf pow radians remainder sin sinh sqrt
    tan tanh trunc
"""


@may_raise(TypeError, ValueError)
def isclose(m, a, b, *, rel_tol=1e-09, abs_tol=0.0):
    return math.isclose(_number(a), _number(b), rel_tol=rel_tol, abs_tol=abs_tol)


FUNCTIONS = {
    **{name: _host(name) for name in _PLAIN.split()},
    **{name: _integers(name) for name in ("gcd", "isqrt")},
    "lcm": lcm, "factorial": factorial, "comb": comb, "perm": perm, "prod": prod, "fsum": fsum, "dist": dist,
    "isclose": isclose,
}  # fmt: skip
CONSTANTS = {name: getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")}


# statistics


STATISTICS_ERROR = Class("StatisticsError", (EXCEPTIONS["ValueError"],), {}, shared=True)


def failed(reason: str) -> Raised:
    return Raised(Instance(STATISTICS_ERROR, {"args": (reason,)}))


def _numbers(m, data, name: str, least: int = 1):
    items = [_number(item) for item in (yield from take_all(m, data))]
    if len(items) < least:
        raise failed(f"{name} requires at least {least} data point{'s' * (least > 1)}")
    return items


def _tidy(value, items):
    """An int where all data are ints and the value is whole, as `statistics` returns it."""
    return int(value) if all(type(item) is not float for item in items) and value == int(value) else value


@may_raise(ValueError, OverflowError)
def mean(m, data):
    items = yield from _numbers(m, data, "mean")
    return _tidy(math.fsum(items) / len(items), items)


@may_raise(ValueError, OverflowError)
def fmean(m, data):
    items = yield from _numbers(m, data, "fmean")
    return math.fsum(items) / len(items)


@may_raise(ValueError, OverflowError)
def median(m, data):
    items = yield from _numbers(m, data, "median")
    items = yield from sort(m, items, None, False)
    half = len(items) // 2
    return items[half] if len(items) % 2 else (items[half - 1] + items[half]) / 2


def _middle(low: bool):
    def call(m, data):
        items = yield from _numbers(m, data, "median")
        items = yield from sort(m, items, None, False)
        return items[(len(items) - low) // 2]

    return call


@may_raise(ValueError, OverflowError)
def harmonic_mean(m, data):
    items = yield from _numbers(m, data, "harmonic_mean")
    if min(items) < 0:
        raise failed("harmonic mean does not support negative values")
    return 0 if 0 in items else len(items) / math.fsum(1 / item for item in items)


@may_raise(ValueError, OverflowError)
def geometric_mean(m, data):
    items = yield from _numbers(m, data, "geometric_mean")
    if min(items) <= 0:
        raise failed("geometric mean requires a non-empty dataset containing positive numbers")
    return math.exp(math.fsum(map(math.log, items)) / len(items))


@may_raise(ValueError, OverflowError)
def quantiles(m, data, *, n=4, method="exclusive"):
    if type(n) is not int or n < 1:
        raise failed("n must be at least 1")
    items = yield from _numbers(m, data, "quantiles", 2)
    items = yield from sort(m, items, None, False)
    m.need_items(n)
    inner = method == "inclusive"
    size, found = len(items), []
    for i in range(1, n):
        if inner:
            at, rest = divmod(i * (size - 1), n)
        else:
            at = min(max(i * (size + 1) // n, 1), size - 1)
            rest, at = i * (size + 1) - at * n, at - 1
        found.append((items[at] * (n - rest) + items[at + 1] * rest) / n)
    return found


def mode(m, data):
    ranked = yield from multimode(m, data)
    if not ranked:
        raise failed("no mode for empty data")
    return ranked[0]


def multimode(m, data):
    counts: dict = {}
    for item in (yield from take_all(m, data)):
        operators.hashable(m, item)
        counts[item] = counts.get(item, 0) + 1
    most = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == most]


def _spread(name: str, sample: bool, root: bool):
    @may_raise(ValueError, OverflowError)
    def call(m, data):
        items = yield from _numbers(m, data, name, 2 if sample else 1)
        centre = math.fsum(items) / len(items)
        value = math.fsum((item - centre) ** 2 for item in items) / (len(items) - sample)
        return math.sqrt(value) if root else _tidy(value, items)

    return call


STATISTICS = {
    "mean": mean, "fmean": fmean, "median": median, "median_low": _middle(True),
    "median_high": _middle(False), "harmonic_mean": harmonic_mean, "geometric_mean": geometric_mean,
    "quantiles": quantiles, "mode": mode, "multimode": multimode,
    "variance": _spread("variance", True, False), "pvariance": _spread("pvariance", False, False),
    "stdev": _spread("stdev", True, True), "pstdev": _spread("pstdev", False, True),
}  # fmt: skip
