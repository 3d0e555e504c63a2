"""The methods of `str`, `int` and `float`."""

from __future__ import annotations

from mxjax.mas.interpreter import text
from mxjax.mas.interpreter.attributes import methods
from mxjax.mas.interpreter.iteration import take_all
from mxjax.mas.interpreter.values import type_name


def _host(name: str):
    """A method that takes and makes no more than its own text: the host's, with the text accounted for."""
    function = getattr(str, name)

    def method(m, owner, *args):
        for argument in args:
            if type(argument) not in (str, int, bool, tuple, type(None)):
                raise TypeError(f"{name}() argument must be str, not {type_name(argument)}")
        m.allocate(len(owner))
        return function(owner, *args)

    return method


def join(m, owner, iterable):
    if type(iterable) is list or type(iterable) is tuple:
        return _join(m, owner, iterable)
    return _join_slow(m, owner, iterable)


def _join_slow(m, owner, iterable):
    return _join(m, owner, (yield from take_all(m, iterable)))


def _join(m, owner: str, items) -> str:
    total = len(owner) * max(0, len(items) - 1)
    m.charge(len(items) >> 2)
    for index, item in enumerate(items):
        if type(item) is not str:
            raise TypeError(f"sequence item {index}: expected str instance, {type_name(item)} found")
        total += len(item)
    m.need_string(total)
    return owner.join(items)


def replace(m, owner, old, new, count=-1):
    if type(old) is not str or type(new) is not str:
        wrong = type_name(new if type(old) is str else old)
        raise TypeError(f"replace() argument {1 if type(old) is not str else 2} must be str, not {wrong}")
    m.charge(len(owner) >> 4)
    times = owner.count(old)
    m.need_string(len(owner) + max(0, len(new) - len(old)) * (min(times, count) if count >= 0 else times))
    return owner.replace(old, new, count)


def split(m, owner, sep=None, maxsplit=-1):
    return _split(m, owner, owner.split, sep, maxsplit)


def rsplit(m, owner, sep=None, maxsplit=-1):
    return _split(m, owner, owner.rsplit, sep, maxsplit)


def _split(m, owner, function, sep, maxsplit):
    parts = len(owner) // 2 + 1 if sep is None else owner.count(sep) + 1
    m.need_items(min(parts, maxsplit + 1) if maxsplit >= 0 else parts)
    m.allocate(len(owner))
    return function(sep, maxsplit)


def splitlines(m, owner, keepends=False):
    m.allocate(2 * len(owner))
    lines = owner.splitlines(bool(keepends))
    m.need_items(len(lines))
    return lines


def _padded(name: str):
    function = getattr(str, name)

    def method(m, owner, width, *fill):
        m.need_string(max(len(owner), width))
        return function(owner, width, *fill)

    return method


def expandtabs(m, owner, tabsize=8):
    m.need_string(len(owner) + owner.count("\t") * max(0, tabsize))
    return owner.expandtabs(tabsize)


def encode(m, owner, *args):
    raise TypeError("bytes are not part of the script language")


def translate(m, owner, table):
    longest = max((len(value) for value in table.values() if type(value) is str), default=1)
    m.need_string(len(owner) * max(1, longest))
    return owner.translate(table)


_PLAIN = """
    capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower
    isnumeric isprintable isspace istitle isupper lower lstrip partition removeprefix removesuffix rfind rindex
    rpartition rstrip startswith strip swapcase title upper
"""

methods(
    str,
    {
        **{name: _host(name) for name in _PLAIN.split()},
        **{name: _padded(name) for name in ("center", "ljust", "rjust", "zfill")},
        "join": join, "replace": replace, "split": split, "rsplit": rsplit, "splitlines": splitlines,
        "expandtabs": expandtabs, "encode": encode, "translate": translate, "format": text.str_format,
        "format_map": lambda m, owner, mapping: text.str_format(m, owner, **mapping),
    },
)  # fmt: skip
methods(
    int,
    {
        "bit_length": lambda m, owner: owner.bit_length(),
        "bit_count": lambda m, owner: owner.bit_count(),
        "is_integer": lambda m, owner: True,
        "conjugate": lambda m, owner: owner,
    },
)
methods(
    float,
    {
        "is_integer": lambda m, owner: owner.is_integer(),
        "as_integer_ratio": lambda m, owner: owner.as_integer_ratio(),
        "hex": lambda m, owner: owner.hex(),
    },
)
