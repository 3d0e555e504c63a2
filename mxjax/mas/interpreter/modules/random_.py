"""`random`, seeded by the harness: one stream per execution, the same on every machine."""

from __future__ import annotations

import random

from mxjax.mas.interpreter.attributes import methods
from mxjax.mas.interpreter.iteration import take_all
from mxjax.mas.interpreter.values import BuiltinType, Module, Native


class Source:
    """A stream of random numbers; `random.Random(seed)` makes one."""

    __slots__ = ("host",)
    type_name = "Random"

    def __init__(self, host: random.Random):
        self.host = host


def seed(m, owner, value=None):
    owner.host.seed(value if type(value) in (int, str, float, bool) else 0)


def choice(m, owner, items):
    items = yield from take_all(m, items)
    if not items:
        raise IndexError("Cannot choose from an empty sequence")
    return items[owner.host.randrange(len(items))]


def choices(m, owner, population, weights=None, *, cum_weights=None, k=1):
    m.need_items(k)
    return owner.host.choices((yield from take_all(m, population)), weights, cum_weights=cum_weights, k=k)


def sample(m, owner, population, k):
    m.need_items(k)
    return owner.host.sample((yield from take_all(m, population)), k)


def shuffle(m, owner, items):
    m.charge(len(items))
    owner.host.shuffle(items)


def _host(name: str):
    function = getattr(random.Random, name)
    return lambda m, owner, *args: function(owner.host, *args)


_TABLE = {
    "seed": seed, "choice": choice, "choices": choices, "sample": sample, "shuffle": shuffle,
    **{name: _host(name) for name in ("random", "randint", "randrange", "uniform", "gauss", "triangular")},
}  # fmt: skip
methods(Source, _TABLE)


def make(m) -> Module:
    """The module for one machine, whose functions share the machine's stream."""
    shared = Source(random.Random(m.seed))
    members = {
        name: Native(name, lambda m, *args, fn=fn, **kwargs: fn(m, shared, *args, **kwargs))
        for name, fn in _TABLE.items()
    }
    members["Random"] = BuiltinType("Random", (Source,), lambda m, value=0: Source(random.Random(value)))
    return Module("random", members)
