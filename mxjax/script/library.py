"""One table of everything that a script finds in the language.

These are built-in names, the methods of each type, and the modules.

What is not listed here does not exist for a script. `docs/script.md` describes it.
"""

from __future__ import annotations

from collections import deque

from mxjax.script import attributes, builtins, classes, containers, dunders, generators, strings
from mxjax.script.builtins import BUILTINS
from mxjax.script.modules import MODULES, hashlib_, inert, json_, random_, re_
from mxjax.script.values import (
    CounterDict,
    DefaultDict,
    Generator,
    HostIterator,
    Native,
    Set,
    Slice,
    Wrapper,
)

# Functions `fn(machine, owner, ...)` of each type of the host
_METHODS = {
    str: {**strings.STR, "encode": hashlib_.encode},
    bytes: hashlib_.BYTES,
    bool: {},
    int: strings.INT,
    float: strings.FLOAT,
    tuple: containers.TUPLE,
    list: containers.LIST,
    deque: containers.DEQUE,
    range: containers.RANGE,
    dict: containers.DICT,
    DefaultDict: containers.DICT,
    CounterDict: containers.COUNTER,
    Set: containers.SET,
    Slice: {"indices": containers.slice_indices},
    HostIterator: {"__next__": containers.next_of_host},
    Generator: generators.GENERATOR,
    Wrapper: builtins.WRAPPER,
    hashlib_.Hash: hashlib_.HASH,
    inert.Handle: inert.HANDLE,
    inert.Output: inert.OUTPUT,
    json_.Decoder: json_.DECODER,
    random_.Source: random_.SOURCE,
    re_.Match: re_.MATCH,
    re_.Pattern: re_.PATTERN,
}

# Functions `fn(machine, owner)` that give the value of an attribute
_PROPERTIES = {
    deque: {"maxlen": lambda m, owner: owner.maxlen},
    DefaultDict: {"default_factory": lambda m, owner: owner.factory},
    range: {
        "start": lambda m, owner: owner.start,
        "stop": lambda m, owner: owner.stop,
        "step": lambda m, owner: owner.step,
    },
    Slice: {
        "start": lambda m, owner: owner.parts[0],
        "stop": lambda m, owner: owner.parts[1],
        "step": lambda m, owner: owner.parts[2],
    },
    hashlib_.Hash: hashlib_.HASH_PROPERTIES,
    inert.Handle: {"handlers": lambda m, owner: []},
    re_.Match: re_.MATCH_PROPERTIES,
    re_.Pattern: re_.PATTERN_PROPERTIES,
}

for _kind, _table in _METHODS.items():
    _table = {**_table, **dunders.of(_kind)} if _kind in dunders.KINDS else _table
    attributes.METHODS[_kind] = {name: Native(name, function) for name, function in _table.items()}
attributes.PROPERTIES.update(_PROPERTIES)
attributes.CONSTRUCTORS.update(classes.CONSTRUCTORS)
attributes.OF_METACLASSES.update(classes.OF_METACLASSES)
attributes.OF_OBJECTS.update({name: Native(name, function) for name, function in classes.OF_OBJECTS.items()})

__all__ = ["BUILTINS", "MODULES"]
