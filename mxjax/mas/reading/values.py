"""What is known of a value: a constant, a list (also for tuples, sets, iterators), a dict, a node, or one of these."""

from __future__ import annotations

import ast
import dataclasses


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """One of several values; of none, if nothing is known."""

    options: tuple


UNKNOWN = Choice(())


@dataclasses.dataclass(eq=False)
class Env:
    names: dict
    outer: Env | None = None
    depth: int = 0
    shared: dict[str, Env] = dataclasses.field(default_factory=dict)  # names that are global or nonlocal here

    def inner(self) -> Env:
        return Env({}, self, self.depth + 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    env: Env
    defaults: dict


@dataclasses.dataclass(frozen=True, eq=False)
class OwnClass:
    name: str
    base: str  # the class of the library that it derives from, or ""
    methods: dict


@dataclasses.dataclass(frozen=True, eq=False)
class Instance:
    cls: OwnClass


@dataclasses.dataclass(frozen=True)
class Library:
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """A method of a value that has been looked up and not yet called."""

    owner: object
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What flows returned when they ran, or something made of that."""

    flows: tuple


class Text(str):
    """A text in which results of `flows` are filled in."""

    flows: tuple = ()


class Unnamed:
    """The key of an entry of a dict, or of an option, that is not a constant."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, Unnamed) and self.value is other.value

    def __hash__(self):
        return id(self.value)


def key_of(value):
    constant = value is None or isinstance(value, str | int | float)
    return value if constant else Unnamed(value)


def put_in(owner: dict, key, value):
    named = key_of(key)
    owner[Unnamed(value) if isinstance(named, Unnamed) else named] = value
