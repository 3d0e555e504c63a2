r"""Read written numbers exactly, by grammar.

Integers, decimals, fractions, mixed numbers, powers of ten. Only a finished number is a number. `10/2`, `2^{10}`, `5!`
and `3 + 4` are unfinished work and are not read as integers: otherwise a policy earns the reward by handing the
question back.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_EXPONENT = 999

_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)"
_INTEGER = re.compile(rf"([+-]?) ?({_DIGITS})(?:\.0*)?")
_DECIMAL = re.compile(rf"([+-]?) ?({_DIGITS}?\.[0-9]+|{_DIGITS}\.?)")
_FRACTION = re.compile(
    r"([+-]?) ?([0-9]+)? ?\\frac ?(?:\{ ?([+-]?) ?([0-9]+) ?\}|([0-9])) ?(?:\{ ?([0-9]+) ?\}|([0-9]))"
)
_SLASH = re.compile(r"([+-]?) ?(?:([0-9]+) )?([0-9]+) ?/ ?([0-9]+)")
_SCIENTIFIC = re.compile(
    r"(.+?) ?(?:(?:\\times|\\cdot|\*) ?10 ?\^ ?(?:\{ ?([+-]?[0-9]{1,4}) ?\}|([+-]?[0-9]{1,4}))|[eE]([+-]?[0-9]{1,4}))"
)


def read_integer(text: str) -> int | None:
    """`42`, `+42`, `-42`, `007`, `1,234`, `42.` and `42.00`.

    Anything else is not an integer.
    """
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    value = int(match[2].replace(",", ""))
    return -value if match[1] == "-" else value


def read_number(text: str) -> Fraction | None:
    r"""An integer, decimal, fraction or mixed number.

    `a/b`, `\frac{a}{b}`, `\frac12`; `1 4/5`, `1\frac{4}{5}`.
    """
    match = _DECIMAL.fullmatch(text)
    if match is not None:
        value = Fraction(match[2].replace(",", "").rstrip(".") or "0")
        return -value if match[1] == "-" else value
    match = _FRACTION.fullmatch(text)
    if match is not None:
        sign, whole, top_sign, top, top_digit, bottom, bottom_digit = match.groups()
        if whole and top_sign:
            return None
        return _ratio(sign + (top_sign or ""), whole, top or top_digit, bottom or bottom_digit)
    match = _SLASH.fullmatch(text)
    return None if match is None else _ratio(*match.groups())


def read_scientific(text: str) -> Fraction | None:
    r"""`3 \times 10^{8}`, `3 \cdot 10^8`, `3e8`.

    An exponent beyond ±999 is refused.
    """
    match = _SCIENTIFIC.fullmatch(text)
    if match is None:
        return None
    mantissa = _DECIMAL.fullmatch(match[1])
    exponent = int(match[2] or match[3] or match[4])
    if mantissa is None or abs(exponent) > MAX_EXPONENT:
        return None
    value = read_number(match[1])
    return None if value is None else value * Fraction(10) ** exponent


def _ratio(signs: str, whole: str | None, top: str, bottom: str) -> Fraction | None:
    """±(whole + top/bottom).

    Returns None for a zero denominator or a mixed number whose fraction is not proper.
    """
    numerator, denominator = int(top), int(bottom)
    if denominator == 0 or (whole and numerator >= denominator):
        return None
    value = int(whole or 0) + Fraction(numerator, denominator)
    return -value if signs in ("-", "+-", "-+") else value
