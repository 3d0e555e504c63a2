"""The methods of `str`, `int` and `float`."""

from __future__ import annotations

from mxjax.script import formatting
from mxjax.script.exceptions import binds_arguments, may_raise
from mxjax.script.iteration import take_all
from mxjax.script.values import DICTS, plain, type_name


def _wanted(value, kind: type, name: str):
    """An argument's plain value; TypeError if its type is wrong."""
    value = plain(value)
    if type(value) is not kind and not (kind is int and type(value) is bool):
        raise TypeError(f"{name}() argument must be {kind.__name__}, not {type_name(value)}")
    return value


def _host(name: str):
    """A host method, with its text accounted for.

    It takes and makes no more than its own text.
    """
    function = getattr(str, name)

    @may_raise(TypeError, ValueError)
    def method(m, owner, *args):
        args = tuple(map(plain, args))
        for argument in args:
            if type(argument) not in (str, int, bool, tuple, type(None)):
                raise TypeError(f"{name}() argument must be str, not {type_name(argument)}")
            if type(argument) is tuple:
                m.charge(len(argument) + sum(len(item) for item in argument if type(item) is str) // 64)
        m.allocate((1 if name not in _WIDENED and owner.isascii() else 13) * len(owner))
        return function(owner, *args)

    return method


_WIDENED = ("capitalize", "title", "swapcase", "casefold")  # the host works on four bytes a character, thrice


def _reversed_search(name: str):
    """A search from the right.

    The host's worst case is the product of the lengths.
    """
    search = _host(name)

    @binds_arguments
    def method(m, owner, part, *args):
        part = _wanted(part, str, name)
        m.charge(max(0, len(owner) - len(part)) * len(part) >> 10)
        return search(m, owner, part, *args)

    return method


def _stripped(name: str):
    function = getattr(str, name)

    def method(m, owner, chars=None):
        m.allocate(len(owner) if owner.isascii() else 4 * len(owner))
        chars = plain(chars)
        if type(chars) is str:
            m.charge(len(chars) >> 4)
            chars = "".join(dict.fromkeys(chars))
            m.charge(len(owner) * len(chars) >> 10)
        elif chars is not None:
            raise TypeError(f"{name} arg must be None or str")
        return function(owner, chars)

    return method


def join(m, owner, iterable):
    if type(iterable) is list or type(iterable) is tuple:
        return _join(m, owner, iterable)
    return _join_slow(m, owner, iterable)


def _join_slow(m, owner, iterable):
    return _join(m, owner, (yield from take_all(m, iterable)))


def _join(m, owner: str, items) -> str:
    total = len(owner) * max(0, len(items) - 1)
    ascii = owner.isascii()
    m.charge(len(items) >> 2)
    if not all(type(item) is str for item in items):
        items = list(map(plain, items))
    for index, item in enumerate(items):
        if type(item) is not str:
            raise TypeError(f"sequence item {index}: expected str instance, {type_name(item)} found")
        total += len(item)
        ascii = ascii and item.isascii()
    m.need_string(total, ascii)
    return owner.join(items)


@may_raise(TypeError, OverflowError)
def replace(m, owner, old, new, count=-1):
    count = _wanted(count, int, "replace")
    old, new = plain(old), plain(new)
    if type(old) is not str or type(new) is not str:
        wrong = type_name(new if type(old) is str else old)
        raise TypeError(f"replace() argument {1 if type(old) is not str else 2} must be str, not {wrong}")
    m.charge(len(owner) >> 4)
    times = owner.count(old)
    length = len(owner) + max(0, len(new) - len(old)) * (min(times, count) if count >= 0 else times)
    m.need_string(length, owner.isascii() and new.isascii())
    return owner.replace(old, new, count)


def split(m, owner, sep=None, maxsplit=-1):
    return _split(m, owner, owner.split, sep, maxsplit)


def rsplit(m, owner, sep=None, maxsplit=-1):
    if sep is not None:
        sep = _wanted(sep, str, "rsplit")
        m.charge(max(0, len(owner) - len(sep)) * len(sep) >> 10)
    return _split(m, owner, owner.rsplit, sep, maxsplit)


@may_raise(ValueError, OverflowError)
def _split(m, owner, function, sep, maxsplit):
    if type(maxsplit) not in (int, bool):
        raise TypeError(f"'{type_name(maxsplit)}' object cannot be interpreted as an integer")
    sep = None if sep is None else _wanted(sep, str, "split")
    parts = len(owner) // 2 + 1 if sep is None else owner.count(sep) + 1
    parts = min(parts, maxsplit + 1) if maxsplit >= 0 else parts
    if sep is not None:
        m.need_items(parts)
    m.allocate(len(owner) if owner.isascii() else 4 * len(owner))
    found = function(sep, maxsplit)
    if sep is None:
        m.need_items(len(found))
    m.allocate(60 * len(found))
    return found


def splitlines(m, owner, keepends=False):
    m.allocate(2 * len(owner))
    lines = owner.splitlines(bool(keepends))
    m.need_items(len(lines))
    m.allocate(60 * len(lines))
    return lines


def _padded(name: str):
    function = getattr(str, name)

    @may_raise(TypeError, OverflowError)
    def method(m, owner, width, *fill):
        width, fill = _wanted(width, int, name), tuple(_wanted(part, str, name) for part in fill)
        m.need_string(max(len(owner), width), owner.isascii() and "".join(fill).isascii())
        return function(owner, width, *fill)

    return method


@may_raise(OverflowError)
def expandtabs(m, owner, tabsize=8):
    tabsize = _wanted(tabsize, int, "expandtabs")
    m.need_string(len(owner) + owner.count("\t") * max(0, tabsize), owner.isascii())
    return owner.expandtabs(tabsize)


@may_raise(TypeError, ValueError)
def translate(m, owner, table):
    if type(table) not in DICTS:
        raise TypeError(f"translate() needs a dict, not {type_name(table)}")
    m.charge(len(table) + len(owner) >> 2)
    longest = max((len(value) for value in table.values() if type(value) is str), default=1)
    m.need_string(len(owner) * max(1, longest), False)
    return owner.translate(table)


@may_raise(ValueError, OverflowError)
def integer_ratio(m, owner: float):
    return owner.as_integer_ratio()


_PLAIN = """
    capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower
    isnumeric isprintable isspace istitle isupper lower partition removeprefix removesuffix startswith swapcase title
    upper
"""

STR = {
    **{name: _host(name) for name in _PLAIN.split()},
    **{name: _reversed_search(name) for name in ("rfind", "rindex", "rpartition")},
    **{name: _stripped(name) for name in ("strip", "lstrip", "rstrip")},
    **{name: _padded(name) for name in ("center", "ljust", "rjust", "zfill")},
    "join": join,
    "replace": replace,
    "split": split,
    "rsplit": rsplit,
    "splitlines": splitlines,
    "expandtabs": expandtabs,
    "translate": translate,
    "format": formatting.str_format,
    "format_map": formatting.format_map,
}
INT = {
    "bit_length": lambda m, owner: owner.bit_length(),
    "bit_count": lambda m, owner: owner.bit_count(),
    "is_integer": lambda m, owner: True,
    "conjugate": lambda m, owner: owner,
}
FLOAT = {
    "is_integer": lambda m, owner: owner.is_integer(),
    "as_integer_ratio": integer_ratio,
    "hex": lambda m, owner: owner.hex(),
}
