"""What kind of value a setting or a row holds.

Whole numbers and real numbers, never booleans.
"""

from __future__ import annotations

import math
import numbers
from typing import TypeGuard


def is_integer(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number, numpy's included.

    Booleans and floats are not.
    """
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number, numpy's included.

    Booleans are not, infinity and NaN are.
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number other than infinity and NaN.

    Booleans are not.
    """
    return is_number(value) and math.isfinite(value)
