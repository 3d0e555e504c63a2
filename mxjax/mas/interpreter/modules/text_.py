"""`string` and `textwrap`."""

from __future__ import annotations

import string
import textwrap

_NAMES = """
    ascii_letters ascii_lowercase ascii_uppercase digits hexdigits octdigits punctuation printable whitespace
"""
STRING = {name: getattr(string, name) for name in _NAMES.split()}


def dedent(m, text):
    m.need_string(len(text), text.isascii())
    return textwrap.dedent(text)


def indent(m, text, prefix):
    m.need_string(len(text) + len(prefix) * (text.count("\n") + 1))
    return textwrap.indent(text, prefix)


def wrap(m, text, width=70):
    m.need_string(2 * len(text))
    m.allocate(30 * len(text))
    m.charge(len(text))
    return textwrap.wrap(text, width)


def fill(m, text, width=70):
    return "\n".join(wrap(m, text, width))


def shorten(m, text, width, placeholder=" [...]"):
    m.need_string(2 * len(text))
    m.allocate(30 * len(text))
    m.charge(len(text))
    return textwrap.shorten(text, width, placeholder=placeholder)


TEXTWRAP = {"dedent": dedent, "indent": indent, "wrap": wrap, "fill": fill, "shorten": shorten}
