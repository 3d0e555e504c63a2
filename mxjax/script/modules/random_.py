"""`random`, seeded by the harness.

There is one stream per execution, the same on every machine.
"""

from __future__ import annotations

import random
from collections import deque

from mxjax.script.exceptions import binds_arguments, may_raise
from mxjax.script.iteration import take_all
from mxjax.script.values import NUMBERS, BuiltinType, Module, Native, need_integer, type_name


class Source:
    """A stream of random numbers; `random.Random(seed)` makes one."""

    __slots__ = ("host",)
    holds = ()
    type_name = "Random"
    own_bytes = 3000

    def __init__(self, host: random.Random):
        self.host = host


def seed(m, owner, value=None):
    m.charge(20 + (len(value) >> 4 if type(value) is str else 0))
    owner.host.seed(value if type(value) in (int, str, float, bool) else 0)


def make_source(m, value=0):
    """`random.Random(seed)`; without a seed it is 0, never the clock."""
    m.allocate(Source.own_bytes)
    made = Source(random.Random(0))
    seed(m, made, value)
    return made


def choice(m, owner, items):
    items = yield from take_all(m, items)
    if not items:
        raise IndexError("Cannot choose from an empty sequence")
    return items[owner.host.randrange(len(items))]


@may_raise(ValueError, IndexError)
def choices(m, owner, population, weights=None, *, cum_weights=None, k=1):
    m.need_items(need_integer(k))
    population = yield from take_all(m, population)
    if weights is not None:
        weights = yield from _weights(m, weights)
    if cum_weights is not None:
        cum_weights = yield from _weights(m, cum_weights)
    return owner.host.choices(population, weights, cum_weights=cum_weights, k=k)


def _weights(m, values):
    weights = yield from take_all(m, values)
    if not all(type(weight) in NUMBERS for weight in weights):
        raise TypeError("weights must be numbers")
    return weights


@may_raise(ValueError)
def sample(m, owner, population, k):
    m.need_entries(need_integer(k))
    return owner.host.sample((yield from take_all(m, population)), k)


def shuffle(m, owner, items):
    if type(items) not in (list, deque):
        raise TypeError(f"shuffle() needs a list, not {type_name(items)}")
    m.charge(len(items) if type(items) is list else len(items) * (1 + len(items) >> 9))
    owner.host.shuffle(items)


def _host(name: str):
    function = getattr(random.Random, name)

    @may_raise(TypeError, ValueError, OverflowError)
    def call(m, owner, *args):
        for argument in args:
            if type(argument) not in NUMBERS:
                raise TypeError(f"{name}() needs numbers, not {type_name(argument)}")
            if type(argument) is int:
                m.need_int(argument.bit_length())
        return function(owner.host, *args)

    return call


SOURCE = {
    "seed": seed,
    "choice": choice,
    "choices": choices,
    "sample": sample,
    "shuffle": shuffle,
    **{name: _host(name) for name in ("random", "randint", "randrange", "uniform", "gauss", "triangular")},
}


def _of_shared(method, shared: Source):
    return binds_arguments(lambda m, *args, **kwargs: method(m, shared, *args, **kwargs))


def make(m) -> Module:
    """The module for one machine, whose functions share the machine's stream."""
    shared = Source(random.Random(m.seed))
    functions = {name: Native(name, _of_shared(fn, shared)) for name, fn in SOURCE.items()}
    return Module("random", {**functions, "Random": BuiltinType("Random", (Source,), make_source)})
