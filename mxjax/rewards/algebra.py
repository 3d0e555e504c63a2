"""Whether two LaTeX formulas are equal, decided exactly.

The program of the process that `symbolic` asks. It runs on its own, so that computer algebra on text that a policy
wrote can be ended at any moment. Equality is proved (the difference simplifies to zero) or refuted (the difference is
not zero to a precision that grows until it is relative to the values); no tolerance takes part. What is neither proved
nor refuted is undecided.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import resource
import signal
import sys

import sympy
from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from sympy.core.evalf import PrecisionExhausted

DIGITS = (30, 120, 480, 1920)  # known of a difference before it counts as not zero, each with four times the work
POINTS = tuple(
    sympy.Rational(*value)
    for value in ((7, 3), (-17, 6), (3, 1), (5, 1), (-1, 8), (2, 1), (13, 7), (-3, 1), (1, 9), (19, 4))
)
DIGITS_AT_POINTS = DIGITS[:2]
ENOUGH = 3  # points with real values on both sides, after which no others are looked at
_READING = ConversionConfig(lowercase_symbols=False)
_DECIMAL = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]+)")


def read(text: str) -> sympy.Expr:
    r"""The expression that `text` writes.

    Decimals are exact, `i` is the imaginary unit. Raises for anything else.
    """
    exact = _DECIMAL.sub(lambda m: rf"(\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}})", text)
    tree = latex2sympy(exact, normalization_config=None, conversion_config=_READING)
    if not isinstance(tree, sympy.Expr) or tree.has(sympy.Float):
        raise ValueError(f"{text!r} is not one exact expression")
    tree = tree.xreplace({sympy.Symbol("i"): sympy.I}).doit().replace(_is_odd_root, _real_root)
    if tree.has(sympy.zoo, sympy.nan):
        raise ValueError(f"{text!r} has no value")
    return tree


def _is_odd_root(tree: sympy.Expr) -> bool:
    if not (tree.is_Pow and tree.exp.is_Rational and tree.base.is_number and tree.base.is_negative):
        return False
    return tree.exp.q > 1 and tree.exp.q % 2 == 1


def _real_root(tree: sympy.Expr) -> sympy.Expr:
    """The root that school mathematics means.

    The cube root of -8 is -2.
    """
    return (-1) ** tree.exp.p * (-tree.base) ** tree.exp


def equal(gold: str, answer: str) -> bool | None:
    """Whether both texts write the same value or function.

    Returns None if that is neither proved nor refuted. Text that cannot be read as an expression equals nothing.
    """
    try:
        left, right = read(gold), read(answer)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the parser has no error type of its own
        return False
    if left == right:
        return True
    if sympy.oo in (left, right, -left, -right) or left.has(sympy.oo) or right.has(sympy.oo):
        return False
    return is_zero(left, right)


def equivalent(gold: str, answer: str) -> bool | None:
    """Whether two equations `a = b` hold for the same values.

    Their differences agree up to a constant factor.
    """
    try:
        (a, b), (c, d) = (map(read, text.split("=")) for text in (gold, answer))
        ratio = sympy.cancel((a - b) / (c - d))
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return False
    return bool(ratio.is_constant() and ratio.is_zero is False)


def is_zero(left: sympy.Expr, right: sympy.Expr) -> bool | None:
    """Whether `left - right` is zero everywhere.

    Returns None if that is neither proved nor refuted.
    """
    difference = left - right
    if difference == 0 or sympy.expand(difference) == 0:
        return True
    letters = sorted(difference.free_symbols, key=str)
    if not letters:
        if _differs(difference, DIGITS[:2]):
            return False
        if _proved(difference):
            return True
        return False if _differs(difference, DIGITS[2:]) else None
    if _differs_at_points(left, right, letters):
        return False
    real = {letter: sympy.Dummy(letter.name, real=True) for letter in letters}
    positive = {letter: sympy.Dummy(letter.name, positive=True) for letter in letters}
    for assumed in (real, positive):
        if _proved(difference.xreplace(assumed)):
            return True
    return None


def _differs(value: sympy.Expr, precisions: tuple[int, ...]) -> bool:
    """Whether a constant is certainly not zero.

    Known to some digits at one of the precisions.
    """
    for digits in precisions:
        try:
            number = value.evalf(digits, maxn=4 * digits, strict=True)
        except PrecisionExhausted:
            continue
        if number.is_number and number.is_zero is False and number.is_finite:
            return True
        if number == 0:
            return False
    return False


def _differs_at_points(left: sympy.Expr, right: sympy.Expr, letters: list[sympy.Symbol]) -> bool:
    """Whether both sides differ where both are real.

    Or are nowhere real and differ at complex values.
    """
    seen, elsewhere = 0, False
    orders = [POINTS[k:] + POINTS[:k] for k in range(len(letters))]
    for point in itertools.islice(zip(*orders), len(POINTS)):
        values = dict(zip(letters, point))
        a, b = left.xreplace(values).doit(), right.xreplace(values).doit()
        if a.has(sympy.zoo, sympy.nan, sympy.oo) or b.has(sympy.zoo, sympy.nan, sympy.oo):
            continue
        differs = _differs(a - b, DIGITS_AT_POINTS)
        if _is_real(a) and _is_real(b):
            if differs:
                return True
            seen += 1
            if seen >= ENOUGH and any(value < 0 for value in point):
                break
        else:
            elsewhere |= differs
    return elsewhere and seen < ENOUGH


def _is_real(value: sympy.Expr) -> bool:
    if value.is_real is not None:
        return value.is_real
    return abs(sympy.im(value.evalf(30))) < sympy.Rational(1, 10**20)


def _proved(difference: sympy.Expr) -> bool:
    """Whether exact rewriting ends in zero."""
    rewritings = (
        lambda d: sympy.cancel(sympy.together(d)),
        lambda d: sympy.radsimp(sympy.sqrtdenest(sympy.expand(d))),
        sympy.powsimp,
        lambda d: sympy.expand_log(d, force=False),
        sympy.trigsimp,
        lambda d: sympy.expand(sympy.expand_func(d.rewrite(sympy.exp))),
        sympy.simplify,
    )
    for rewriting in rewritings:
        try:
            if sympy.expand(rewriting(difference)) == 0:
                return True
        except (MemoryError, RecursionError):
            raise
        except Exception:  # a rewriting that does not fit the expression
            continue
    if not difference.free_symbols and difference.is_algebraic:
        letter = sympy.Dummy()
        return sympy.minimal_polynomial(difference, letter) == letter
    return False


def main(cpu_s: float, memory_bytes: int) -> None:
    """Answer lines `[kind, gold, answer]` of standard input until it ends.

    Each answer is true, false or null. Each answer may take `cpu_s` seconds of processor time, after which the process
    is ended by its timer.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    logging.disable(logging.CRITICAL)
    kinds = {"formula": equal, "equation": equivalent}
    equal("x+1", "1+x")  # what the first question would otherwise load
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        kind, gold, answer = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            verdict = kinds[kind](gold, answer)
        except MemoryError:
            os._exit(1)  # a new process, with all of the memory that there may be, is asked again
        except Exception:  # a fault of computer algebra proves nothing and refutes nothing
            verdict = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(verdict), file=out, flush=True)
