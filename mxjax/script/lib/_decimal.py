"""What `decimal` is built on: its exceptions, and rounding and square roots of whole numbers."""


class DecimalException(ArithmeticError):
    pass


class InvalidOperation(DecimalException):
    pass


class DivisionByZero(DecimalException, ZeroDivisionError):
    pass


class Overflow(DecimalException):
    pass


class Inexact(DecimalException):
    pass


def rounded(whole, cut, rounding):
    """`whole` without its last `cut` digits."""
    sign, size = (-1 if whole < 0 else 1), abs(whole)
    if cut > len(str(size)) + 1:
        size, cut = (1 if size else 0), 2
    kept, rest = divmod(size, 10**cut)
    half = 5 * 10 ** (cut - 1)
    if rounding == "ROUND_HALF_EVEN":
        up = rest > half or (rest == half and kept % 2 == 1)
    elif rounding == "ROUND_HALF_UP":
        up = rest >= half
    elif rounding == "ROUND_HALF_DOWN":
        up = rest > half
    elif rounding == "ROUND_UP":
        up = rest > 0
    elif rounding == "ROUND_DOWN":
        up = False
    elif rounding == "ROUND_CEILING":
        up = rest > 0 and sign > 0
    elif rounding == "ROUND_FLOOR":
        up = rest > 0 and sign < 0
    elif rounding == "ROUND_05UP":
        up = rest > 0 and kept % 5 == 0
    else:
        raise TypeError("invalid rounding mode")
    return sign * (kept + int(up))


def root(n):
    """The whole part of the square root."""
    if n < 2:
        return n
    x = 1 << (n.bit_length() + 1) // 2
    while True:
        y = (x + n // x) // 2
        if y >= x:
            return x
        x = y
