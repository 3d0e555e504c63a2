"""`math`, on ints and floats."""

from __future__ import annotations

import math
from types import GeneratorType

from mxjax.script import operators
from mxjax.script.exceptions import may_raise
from mxjax.script.frames import Invoke
from mxjax.script.iteration import take_all
from mxjax.script.values import NUMBERS, UNBOUND, Instance, need_integer, plain, type_name


def _number(value):
    if type(value) not in NUMBERS:
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
    "lcm": lcm,
    "factorial": factorial,
    "comb": comb,
    "perm": perm,
    "prod": prod,
    "fsum": fsum,
    "dist": dist,
    "isclose": isclose,
}
CONSTANTS = {name: getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")}
