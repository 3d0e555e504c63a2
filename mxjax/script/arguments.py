"""Bind call arguments to a script function's slots, with Python's rules.

The error messages are Python's too.
"""

from __future__ import annotations

from mxjax.script.values import UNBOUND, Function


def bind(machine, function: Function, args: tuple, kwargs: dict | None) -> list:
    """The slots of a new frame for `function(*args, **kwargs)`.

    Raises TypeError when the arguments do not fit.
    """
    code = function.code
    signature = code.signature
    positional = signature.positional
    expected = len(positional)
    given = len(args)
    if (
        given == expected
        and not kwargs
        and not signature.keyword_only
        and not signature.varkw
        and not signature.varargs
    ):
        return [*args, *[UNBOUND] * (code.slots - given)]
    slots = [*args[:expected], *[UNBOUND] * (code.slots - min(given, expected))]
    at = expected + len(signature.keyword_only)
    if signature.varargs:
        slots[at] = args[expected:]
        machine.need_items(max(0, given - expected))
        at += 1
    elif given > expected:
        raise TypeError(_too_many(function, given))
    rest = {}
    for name, value in (kwargs or {}).items():
        index = signature.by_name.get(name)
        if index is None:
            if not signature.varkw:
                raise TypeError(f"{function.name}() got an unexpected keyword argument '{name}'")
            rest[name] = value
        elif slots[index] is not UNBOUND:
            raise TypeError(f"{function.name}() got multiple values for argument '{name}'")
        else:
            slots[index] = value
    if signature.varkw:
        slots[at] = rest
    _fill_defaults(function, slots, expected)
    return slots


def _fill_defaults(function: Function, slots: list, expected: int):
    signature = function.code.signature
    first = expected - len(function.defaults)
    for index in range(max(first, 0), expected):
        if slots[index] is UNBOUND:
            slots[index] = function.defaults[index - first]
    missing = [name for index, name in enumerate(signature.positional) if slots[index] is UNBOUND]
    if missing:
        raise TypeError(_missing(function, missing, "positional"))
    for index, name in enumerate(signature.keyword_only, expected):
        if slots[index] is UNBOUND:
            if name not in function.kw_defaults:
                missing.append(name)
            else:
                slots[index] = function.kw_defaults[name]
    if missing:
        raise TypeError(_missing(function, missing, "keyword-only"))


def _missing(function: Function, names: list[str], kind: str) -> str:
    quoted = [f"'{name}'" for name in names]
    listed = quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f"{',' * (len(quoted) > 2)} and {quoted[-1]}"
    plural = "s" if len(names) > 1 else ""
    return f"{function.name}() missing {len(names)} required {kind} argument{plural}: {listed}"


def _too_many(function: Function, given: int) -> str:
    most = len(function.code.signature.positional)
    least = most - len(function.defaults)
    takes = f"{most}" if least == most else f"from {least} to {most}"
    were = "was" if given == 1 else "were"
    return f"{function.name}() takes {takes} positional argument{'s' * (takes != '1')} but {given} {were} given"
