"""The double-underscore methods of the built-in types.

`super().__setitem__(...)` and `a.__eq__(b)` call these.
"""

from __future__ import annotations

from collections import deque

from mxjax.script import builtins, comparison, formatting, keys, operators, subscripts
from mxjax.script.iteration import size
from mxjax.script.values import CounterDict, DefaultDict, Set

KINDS = (int, float, bool, str, list, tuple, dict, DefaultDict, CounterDict, deque, Set, range)
_CONTAINERS = frozenset(KINDS) - {int, float, bool}
_INDEXED = _CONTAINERS - {Set}
_CHANGED = frozenset({list, dict, DefaultDict, CounterDict, deque})
_ARITHMETIC = {
    "add": operators.add,
    "sub": operators.subtract,
    "mul": operators.multiply,
    "truediv": operators.divide,
    "floordiv": operators.floor_divide,
    "mod": operators.modulo,
    "pow": operators.power,
    "and": operators.and_,
    "or": operators.or_,
    "xor": operators.xor,
    "lshift": operators.left_shift,
    "rshift": operators.right_shift,
}
_ORDERS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def _swapped(operator):
    return lambda m, owner, other: operator(m, other, owner)


_OF_ALL = {
    "__eq__": comparison.equals,
    "__ne__": comparison.differs,
    "__repr__": lambda m, owner: formatting.to_repr(m, owner),
    "__str__": formatting.to_str,
    "__format__": formatting.formatted,
    "__hash__": lambda m, owner: keys.hash_(m, owner),
    **{f"__{name}__": comparison.ordering(symbol) for name, symbol in _ORDERS.items()},
    **{f"__{name}__": operator for name, operator in _ARITHMETIC.items()},
    **{f"__r{name}__": _swapped(operator) for name, operator in _ARITHMETIC.items()},
}
_OF_NUMBERS = {
    "__neg__": operators.negative,
    "__pos__": operators.positive,
    "__abs__": builtins.abs_,
    "__round__": builtins.round_,
}
_OF_CONTAINERS = {
    "__len__": lambda m, owner: size(owner),
    "__iter__": builtins.iter_,
    "__contains__": lambda m, owner, item: comparison.contains(m, item, owner),
}


def of(kind: type) -> dict:
    """The methods of one built-in type."""
    found = {**_OF_ALL, **(_OF_CONTAINERS if kind in _CONTAINERS else _OF_NUMBERS)}
    if kind in _INDEXED:
        found |= {"__getitem__": subscripts.get_item, "__reversed__": builtins.reversed_}
    if kind in _CHANGED:
        found |= {"__setitem__": subscripts.set_item, "__delitem__": subscripts.delete_item}
    return found
