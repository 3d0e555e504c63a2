r"""Reads the LaTeX that answers are written in: spacing and wrappers removed, lists split, tokens compared.

Everything is a bounded pass over at most 512 characters. Nothing here knows arithmetic.
"""

from __future__ import annotations

import re

from mxjax.rewards.extract import closing_brace

_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"−", "-"),
        (r"∞", r"\\infty "),
        (r"°", r"^\\circ "),
        (r"×", r"\\times "),
        (r"∪", r"\\cup "),
        (r"π", r"\\pi "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])", ""),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r",\s*\\!\s*", ","),
        (r"\{,\}", ","),
        (r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", ""),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\%", "%"),
        (r"\\circ(?![A-Za-z])", r"\\circ "),
    )
)
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|mbox|hbox|boxed|fbox|bm)\s*\{"
)
_DOLLAR = re.compile(r"(?<!\\)\$")
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\S")
_DELIMITER = re.compile(r"\\cup(?![A-Za-z])|\\[{}]|\\.|[()\[\]{},]")
_CONJUNCTION = re.compile(r"\s*(?:,\s*)?(?:\\text\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
_OPENING = frozenset(("(", "[", "{", r"\{"))
_CLOSING = frozenset((")", "]", "}", r"\}"))


def clean(text: str) -> str:
    r"""One spelling for what LaTeX can spell in many: no math delimiters, wrappers, spacing or final full stop.

    A lone unescaped `$` is money and becomes `\$`; single spaces stay, since `1 4/5` is not `14/5`.
    """
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    dollars = len(_DOLLAR.findall(text))
    text = _DOLLAR.sub(r"\\$" if dollars % 2 else "", text)
    text = " ".join(text.split())
    for _ in range(4):
        bare = _unwrap(text.strip(" *`"))
        if bare == text:
            break
        text = bare
    return text


def _unwrap(text: str) -> str:
    r"""`text` without one outer `\text{...}` or `{...}` or one final full stop, if it has any of them."""
    wrapper = _WRAPPER.match(text)
    start = wrapper.end() if wrapper else 1 if text.startswith("{") else 0
    if start and closing_brace(text, start) == len(text) - 1:
        return text[start:-1].strip()
    return text[:-1].rstrip() if text.endswith(".") else text


def tokens(text: str) -> tuple[str, ...]:
    r"""The LaTeX tokens of cleaned text: no white space, no braces around a single token, no leading plus.

    `\frac{1}{2}` and `\frac12` agree; `2^{10}` and `2^10` do not, since the second is `2^{1} 0` to LaTeX.
    """
    kept: list[str] = []
    for token in _TOKEN.findall(text):
        if token == "}" and len(kept) >= 2 and kept[-2] == "{" and kept[-1] != "{":
            del kept[-2]
        else:
            kept.append(token)
    return tuple(kept[1:] if kept[:1] == ["+"] else kept)


def split_top(text: str, separator: str) -> list[str]:
    r"""Splits at `separator` ("," or `\cup`) where no bracket of any kind is open."""
    parts, depth, start = [], 0, 0
    for mark in _DELIMITER.finditer(text):
        if mark.group() in _OPENING:
            depth += 1
        elif mark.group() in _CLOSING:
            depth -= 1
        elif depth == 0 and mark.group() == separator:
            parts.append(text[start : mark.start()].strip())
            start = mark.end()
    parts.append(text[start:].strip())
    return parts


def split_list(text: str) -> list[str]:
    """Splits a bare list at commas and at the words "and" and "or"."""
    return split_top(_CONJUNCTION.sub(",", text), ",")


def split_brackets(text: str) -> tuple[str, list[str], str] | None:
    r"""(opening, elements, closing) of a `(...)`, `[...]`, `(...]` or `\{...\}`; None for any other text."""
    marks = list(_DELIMITER.finditer(text))
    if len(marks) < 2 or marks[0].start() != 0 or marks[-1].end() != len(text):
        return None
    opening, closing = marks[0].group(), marks[-1].group()
    if opening not in _OPENING - {"{"} or closing not in _CLOSING - {"}"}:
        return None
    if (opening == r"\{") != (closing == r"\}"):
        return None
    depth = 0
    for mark in marks:
        depth += (mark.group() in _OPENING) - (mark.group() in _CLOSING)
        if depth <= 0 and mark is not marks[-1]:
            return None
    inner = text[marks[0].end() : marks[-1].start()]
    return (opening, split_top(inner, ","), closing) if depth == 0 else None
