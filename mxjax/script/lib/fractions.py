"""`fractions`: exact quotients of integers."""

import math
import re

_FORM = re.compile(r"\s*([-+]?)(\d[\d_]*)?(?:/(\d+)|(?:\.(\d*))?(?:[eE]([-+]?\d+))?)\s*")


class Fraction:
    def __init__(self, numerator=0, denominator=None):
        if denominator is None:
            numerator, denominator = _parts(numerator)
        elif isinstance(numerator, (int, Fraction)) and isinstance(denominator, (int, Fraction)):
            above, below = _parts(numerator), _parts(denominator)
            numerator, denominator = above[0] * below[1], above[1] * below[0]
        else:
            raise TypeError("both arguments should be Rational instances")
        if denominator == 0:
            raise ZeroDivisionError(f"Fraction({numerator}, 0)")
        common = math.gcd(numerator, denominator) * (-1 if denominator < 0 else 1)
        self.numerator, self.denominator = numerator // common, denominator // common

    @classmethod
    def from_float(cls, f):
        return cls(f)

    @classmethod
    def from_decimal(cls, dec):
        return cls(dec)

    def as_integer_ratio(self):
        return self.numerator, self.denominator

    def is_integer(self):
        return self.denominator == 1

    def limit_denominator(self, max_denominator=1000000):
        if max_denominator < 1:
            raise ValueError("max_denominator should be at least 1")
        if self.denominator <= max_denominator:
            return Fraction(self)
        p0, q0, p1, q1 = 0, 1, 1, 0
        n, d = self.numerator, self.denominator
        while True:
            a = n // d
            q2 = q0 + a * q1
            if q2 > max_denominator:
                break
            p0, q0, p1, q1 = p1, q1, p0 + a * p1, q2
            n, d = d, n - a * d
        k = (max_denominator - q0) // q1
        if 2 * d * (q0 + k * q1) <= self.denominator:
            return Fraction(p1, q1)
        return Fraction(p0 + k * p1, q0 + k * q1)

    def _with(self, other, exact, inexact):
        """The exact operation on the parts of both, or that of floats where the other one is a float."""
        if isinstance(other, (int, Fraction)):
            return exact(self, other if isinstance(other, Fraction) else Fraction(other))
        if isinstance(other, float):
            return inexact(float(self), other)
        return NotImplemented

    def __add__(self, other):
        return self._with(other, _add, lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other):
        return self._with(other, _subtract, lambda a, b: a - b)

    def __rsub__(self, other):
        return self._with(other, lambda a, b: _subtract(b, a), lambda a, b: b - a)

    def __mul__(self, other):
        return self._with(other, _multiply, lambda a, b: a * b)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._with(other, _divide, lambda a, b: a / b)

    def __rtruediv__(self, other):
        return self._with(other, lambda a, b: _divide(b, a), lambda a, b: b / a)

    def __floordiv__(self, other):
        return self._with(other, _floor_divide, lambda a, b: a // b)

    def __rfloordiv__(self, other):
        return self._with(other, lambda a, b: _floor_divide(b, a), lambda a, b: b // a)

    def __mod__(self, other):
        return self._with(other, _modulo, lambda a, b: a % b)

    def __rmod__(self, other):
        return self._with(other, lambda a, b: _modulo(b, a), lambda a, b: b % a)

    def __pow__(self, other):
        if isinstance(other, float):
            return float(self) ** other
        if isinstance(other, Fraction):
            if other.denominator != 1:
                return float(self) ** float(other)
            other = other.numerator
        if other >= 0:
            return Fraction(self.numerator**other, self.denominator**other)
        return Fraction(self.denominator**-other, self.numerator**-other)

    def __rpow__(self, other):
        return other**self.numerator if self.denominator == 1 else float(other) ** float(self)

    def __neg__(self):
        return Fraction(-self.numerator, self.denominator)

    def __pos__(self):
        return self

    def __abs__(self):
        return Fraction(abs(self.numerator), self.denominator)

    def _compared(self, other, test):
        if isinstance(other, float) and (other != other or other in (float("inf"), -float("inf"))):
            return test(0.0, other)
        if not isinstance(other, (int, float, Fraction)):
            return NotImplemented
        numerator, denominator = _parts(other)
        return test(self.numerator * denominator, numerator * self.denominator)

    def __eq__(self, other):
        return self._compared(other, lambda a, b: a == b)

    def __lt__(self, other):
        return self._compared(other, lambda a, b: a < b)

    def __le__(self, other):
        return self._compared(other, lambda a, b: a <= b)

    def __gt__(self, other):
        return self._compared(other, lambda a, b: a > b)

    def __ge__(self, other):
        return self._compared(other, lambda a, b: a >= b)

    def __hash__(self):
        return self.numerator if self.denominator == 1 else self.numerator * 1000003 ^ self.denominator

    def __bool__(self):
        return self.numerator != 0

    def __int__(self):
        return self.numerator // self.denominator if self.numerator >= 0 else -(-self.numerator // self.denominator)

    def __trunc__(self):
        return int(self)

    def __floor__(self):
        return self.numerator // self.denominator

    def __ceil__(self):
        return -(-self.numerator // self.denominator)

    def __float__(self):
        return self.numerator / self.denominator

    def __round__(self, ndigits=None):
        if ndigits is None:
            whole, rest = divmod(self.numerator, self.denominator)
            twice = 2 * rest
            return whole + int(twice > self.denominator or (twice == self.denominator and whole % 2 == 1))
        shift = 10 ** abs(ndigits)
        return Fraction(round(self * shift), shift) if ndigits > 0 else Fraction(round(self / shift) * shift)

    def __str__(self):
        return str(self.numerator) if self.denominator == 1 else f"{self.numerator}/{self.denominator}"

    def __repr__(self):
        return f"Fraction({self.numerator}, {self.denominator})"

    def __format__(self, spec):
        return (
            format(float(self), spec) if spec[-1:] in ("f", "F", "e", "E", "g", "G", "%") else format(str(self), spec)
        )


def _parts(value):
    if isinstance(value, int):
        return int(value), 1
    if isinstance(value, float) or hasattr(value, "as_integer_ratio"):
        return value.as_integer_ratio()
    if not isinstance(value, str):
        raise TypeError("argument should be a string or a Rational instance")
    found = _FORM.fullmatch(value)
    if not found or (found[2] is None and not found[4]):
        raise ValueError(f"Invalid literal for Fraction: {value!r}")
    sign, whole, below, digits, exponent = found.groups()
    digits = digits or ""
    above = int((whole or "0").replace("_", "") + digits) * (-1 if sign == "-" else 1)
    power = int(exponent or 0) - len(digits)
    if below is not None:
        return above, int(below)
    return (above * 10**power, 1) if power >= 0 else (above, 10**-power)


def _add(a, b):
    return Fraction(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator)


def _subtract(a, b):
    return Fraction(a.numerator * b.denominator - b.numerator * a.denominator, a.denominator * b.denominator)


def _multiply(a, b):
    return Fraction(a.numerator * b.numerator, a.denominator * b.denominator)


def _divide(a, b):
    return Fraction(a.numerator * b.denominator, a.denominator * b.numerator)


def _floor_divide(a, b):
    return (a.numerator * b.denominator) // (a.denominator * b.numerator)


def _modulo(a, b):
    return _subtract(a, _multiply(b, Fraction(_floor_divide(a, b))))
