"""The importable modules of the script language, by name.

Each entry makes the module for one machine.
"""

from __future__ import annotations

from mxjax.script import tasks
from mxjax.script.exceptions import EXCEPTIONS
from mxjax.script.modules import (
    collections_,
    dataclasses_,
    enum_,
    functools_,
    hashlib_,
    heapq_,
    inert,
    itertools_,
    json_,
    math_,
    random_,
    re_,
    textwrap_,
)
from mxjax.script.values import Module, Native
from mxjax.script.written import Written


def module(name: str, functions: dict, constants: dict | None = None) -> Module:
    """A module of functions `fn(machine, ...)` and plain constants."""
    return Module(name, {key: Native(key, fn) for key, fn in functions.items()} | (constants or {}))


MODULES = {
    "collections": module("collections", collections_.FUNCTIONS, collections_.TYPES),
    "functools": module("functools", functools_.FUNCTIONS),
    "itertools": module("itertools", itertools_.FUNCTIONS),
    "dataclasses": module("dataclasses", dataclasses_.FUNCTIONS, dataclasses_.CONSTANTS),
    "enum": module("enum", enum_.FUNCTIONS, enum_.CONSTANTS),
    "hashlib": module("hashlib", hashlib_.FUNCTIONS),
    "json": module("json", json_.FUNCTIONS, json_.CONSTANTS),
    "math": module("math", math_.FUNCTIONS, math_.CONSTANTS),
    "random": random_.make,
    "re": module("re", re_.FUNCTIONS, re_.CONSTANTS),
    "textwrap": module("textwrap", textwrap_.FUNCTIONS),
    "heapq": module("heapq", heapq_.FUNCTIONS),
    "copy": module("copy", functools_.COPY),
    "operator": module("operator", functools_.OPERATOR),
    **inert.MODULES,
}
MODULES["typing"].members["NamedTuple"] = enum_.NAMED_TUPLE

_IN_THE_LANGUAGE = (
    "_decimal _sync ast asyncio bisect collections concurrent concurrent.futures contextlib datetime decimal "
    "fractions functools io itertools operator pprint queue statistics string threading time types uuid"
)
_TIME_OUT = {"TimeoutError": EXCEPTIONS["TimeoutError"]}
_MORE = {"asyncio": _TIME_OUT, "concurrent.futures": _TIME_OUT}
_MORE |= {name: MODULES[name].members for name in _IN_THE_LANGUAGE.split() if name in MODULES}
_NATIVES = tasks.FUNCTIONS | functools_.HELPERS
MODULES |= {name: Written(name, _NATIVES, MODULES, _MORE.get(name, {})) for name in _IN_THE_LANGUAGE.split()}
