"""Exact value of an arithmetic expression.

A generated gold answer is believed only when it equals that value. Generators do err: reasoning-gym's
`basic_arithmetic` without parentheses applies operators left to right, and rounds inexact divisions down. Whole
numbers, `+ - * /`, signs and parentheses; nothing is ever evaluated as Python.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_LENGTH = 2_000
_MAX_DEPTH = 50
_EXPRESSION = re.compile(r"[0-9()+*/\s-]+")
_TOKEN = re.compile(r"[0-9]+|[()+*/-]")


def is_expression(text: str) -> bool:
    """Whether `text` is made of whole numbers, operators and parentheses.

    It needs at least one number.
    """
    return _EXPRESSION.fullmatch(text) is not None and any(c.isdigit() for c in text)


def evaluate(expression: str) -> int | Fraction:
    """The exact value of `expression` under the usual precedence.

    An int while divisions come out even.

    Raises:
        ValueError: it is not an expression of this language, divides by zero, or is too long or too deep.
    """
    if len(expression) > MAX_LENGTH or not is_expression(expression):
        raise ValueError(f"Not an arithmetic expression: {expression[:80]!r}.")
    tokens = _TOKEN.findall(expression)
    try:
        value, end = _sum(tokens, 0, 0)
    except (IndexError, ZeroDivisionError) as error:
        raise ValueError(f"Not a complete arithmetic expression: {expression[:80]!r}.") from error
    if end != len(tokens):
        raise ValueError(f"Unexpected {tokens[end]!r} in the arithmetic expression {expression[:80]!r}.")
    return value


def _sum(tokens: list[str], at: int, depth: int) -> tuple[int | Fraction, int]:
    value, at = _product(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "+-":
        term, after = _product(tokens, at + 1, depth)
        value, at = (value + term if tokens[at] == "+" else value - term), after
    return value, at


def _product(tokens: list[str], at: int, depth: int) -> tuple[int | Fraction, int]:
    value, at = _factor(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "*/":
        factor, after = _factor(tokens, at + 1, depth)
        value, at = (value * factor if tokens[at] == "*" else _quotient(value, factor)), after
    return value, at


def _factor(tokens: list[str], at: int, depth: int) -> tuple[int | Fraction, int]:
    if depth > _MAX_DEPTH:
        raise ValueError("Arithmetic expression nested too deeply.")
    token = tokens[at]
    if token in "+-":
        value, at = _factor(tokens, at + 1, depth + 1)
        return (value if token == "+" else -value), at
    if token == "(":
        value, at = _sum(tokens, at + 1, depth + 1)
        if tokens[at] != ")":
            raise ValueError(f"Expected ')' before {tokens[at]!r} in an arithmetic expression.")
        return value, at + 1
    if not token.isdigit():
        raise ValueError(f"Unexpected {token!r} in an arithmetic expression.")
    return int(token), at + 1


def _quotient(value: int | Fraction, divisor: int | Fraction) -> int | Fraction:
    quotient = Fraction(value) / divisor
    return quotient.numerator if quotient.denominator == 1 else quotient
