"""Number format of the report, the same in every column and axis."""

from __future__ import annotations

import math
from typing import TypeGuard

from mxjax.values import is_finite

ABSENT = "–"


def number(value: float | None) -> str:
    """Three significant digits: 0.0123, 12.3, 1,230, 2.1e-13."""
    if not finite(value):
        return ABSENT
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None) -> str:
    """A share as a percentage, with a non-breaking space.

    For example 48.8 % or 100 %.
    """
    return f"{number(100 * value)}\u00a0%" if finite(value) else ABSENT


def duration(seconds: float | None) -> str:
    """Seconds as text: 0.4 s, 12 s or 3 min 05 s."""
    if not finite(seconds):
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def finite(value: object) -> TypeGuard[float]:
    """Whether `value` is a number that can be drawn."""
    return is_finite(value)


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """At most `most` + 1 round numbers within [low, high].

    Their step is 1, 2 or 5 times a power of ten; they are integers if `whole`.
    """
    rough = (high - low) / most
    if not rough > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    step = max(1.0, step) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]
