"""`textwrap`, by the host's."""

from __future__ import annotations

import textwrap

from mxjax.script.exceptions import may_raise
from mxjax.script.values import type_name


def _needs_texts(name: str, *values):
    for value in values:
        if type(value) is not str:
            raise TypeError(f"{name}() needs a text, not {type_name(value)}")


def dedent(m, text):
    _needs_texts("dedent", text)
    m.need_string(2 * len(text), text.isascii())
    m.need_items(2 * text.count("\n"))
    return textwrap.dedent(text)


def indent(m, text, prefix):
    _needs_texts("indent", text, prefix)
    lines = text.count("\n") + 1
    m.need_items(2 * lines)
    m.need_string(2 * len(text) + len(prefix) * lines, text.isascii() and prefix.isascii())
    return textwrap.indent(text, prefix)


@may_raise(ValueError)
def wrap(m, text, width=70, **options):
    return _wrapper(m, text, width, options).wrap(text)


@may_raise(ValueError)
def fill(m, text, width=70, **options):
    return _wrapper(m, text, width, options).fill(text)


@may_raise(ValueError)
def shorten(m, text, width, **options):
    return _wrapper(m, text, width, {**options, "max_lines": 1}).fill(" ".join(text.strip().split()))


_OPTIONS = {
    "initial_indent": str,
    "subsequent_indent": str,
    "placeholder": str,
    "max_lines": int,
    "tabsize": int,
    **dict.fromkeys(
        (
            "expand_tabs",
            "replace_whitespace",
            "fix_sentence_endings",
            "drop_whitespace",
            "break_long_words",
            "break_on_hyphens",
        ),
        bool,
    ),
}


def _wrapper(m, text, width, options: dict) -> textwrap.TextWrapper:
    """The host's wrapper, with all that it may write accounted for."""
    if type(text) is not str or type(width) not in (int, bool):
        raise TypeError("wrap() needs a text and a width")
    for name, value in options.items():
        if name not in _OPTIONS:
            raise TypeError(f"TextWrapper.__init__() got an unexpected keyword argument '{name}'")
        if type(value) not in (_OPTIONS[name], bool) and not (name == "max_lines" and value is None):
            raise TypeError(f"{name} must be of type {_OPTIONS[name].__name__}, not {type_name(value)}")
    length = len(text) + text.count("\t") * max(0, options.get("tabsize", 8))
    added = sum(len(value) for value in options.values() if type(value) is str)
    m.need_string(2 * length + (length + 1) * added, text.isascii())
    m.allocate(30 * length if text.isascii() else 100 * length)
    longest = max(map(len, text.split()), default=0)  # is copied for each line that it is broken into
    m.charge(longest * (longest // max(1, width)) >> (10 if text.isascii() else 8))
    m.charge(length)
    return textwrap.TextWrapper(width=width, **options)


FUNCTIONS = {"dedent": dedent, "indent": indent, "wrap": wrap, "fill": fill, "shorten": shorten}
