"""`decimal`: decimal numbers of a chosen precision, as coefficient and exponent."""

import re
from _decimal import DecimalException, DivisionByZero, Inexact, InvalidOperation, Overflow
from _decimal import root as _root
from _decimal import rounded as _round

ROUND_UP, ROUND_DOWN, ROUND_CEILING, ROUND_FLOOR = "ROUND_UP", "ROUND_DOWN", "ROUND_CEILING", "ROUND_FLOOR"
ROUND_HALF_UP, ROUND_HALF_DOWN, ROUND_HALF_EVEN = "ROUND_HALF_UP", "ROUND_HALF_DOWN", "ROUND_HALF_EVEN"
ROUND_05UP = "ROUND_05UP"
_FORM = r"([-+])?(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([-+]?\d+))?"
_MOST_EXPONENT = 999999
_MOST_PRECISION = 4000  # larger integers are not to be had anyway


class Context:
    def __init__(self, prec=28, rounding=ROUND_HALF_EVEN, **options):
        self.prec, self.rounding = prec, rounding

    def copy(self):
        return Context(self.prec, self.rounding)

    def create_decimal(self, num="0"):
        return _fitted(Decimal(num), self)

    def divide(self, a, b):
        return _divide(_of(a), _of(b), self)


_current = [Context()]


def getcontext():
    return _current[0]


def setcontext(context):
    _current[0] = context


class localcontext:
    def __init__(self, ctx=None, **options):
        self._new = (ctx or getcontext()).copy()
        for name, value in options.items():
            setattr(self._new, name, value)

    def __enter__(self):
        self._old = getcontext()
        setcontext(self._new)
        return self._new

    def __exit__(self, kind, error, trace):
        setcontext(self._old)


def _operator(function):
    """A method that calculates with two numbers, and the one for the number on the right."""

    def apply(self, other):
        other = _number(other)
        return NotImplemented if other is NotImplemented else function(self, other)

    def mirrored(self, other):
        other = _number(other)
        return NotImplemented if other is NotImplemented else function(other, self)

    return apply, mirrored


def _comparison(test):
    """A method that compares; nothing is true of NaN."""

    def apply(self, other):
        other = _number(Decimal(other) if isinstance(other, float) else other)
        if other is NotImplemented:
            return NotImplemented
        return not self.is_nan() and not other.is_nan() and test(_order(self, other))

    return apply


class Decimal:
    """`_whole` times ten to the power of `_exponent`; infinities and NaN have a `_special` name."""

    def __init__(self, value="0", context=None):
        self._special, self._exponent, self._negative = "", 0, False
        if isinstance(value, Decimal):
            self._whole, self._exponent, self._special = value._whole, value._exponent, value._special
            self._negative = value._negative
        elif isinstance(value, int):
            self._whole = int(value)
            self._negative = value < 0
        elif isinstance(value, float):
            self._from_float(value)
        elif isinstance(value, str):
            self._from_text(value.strip().replace("_", ""))
        elif isinstance(value, (tuple, list)):
            sign, digits, self._exponent = value
            self._whole = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
            self._negative = bool(sign)
        else:
            raise TypeError(f"conversion from {type(value).__name__} to Decimal is not supported")

    def _from_float(self, value):
        if value != value or value in (float("inf"), -float("inf")):
            self._from_text(str(value))
            return
        above, below = value.as_integer_ratio()
        self._exponent = 1 - below.bit_length()
        self._whole = above * 5**-self._exponent
        self._negative = str(value)[0] == "-"

    def _from_text(self, text):
        found = re.fullmatch(_FORM, text)
        if found:
            sign, whole, after, alone, exponent = found.groups()
            digits = alone if whole is None else after or ""
            self._whole = int((whole or "") + digits or "0") * (-1 if sign == "-" else 1)
            self._exponent = int(exponent or 0) - len(digits)
            self._negative = sign == "-"
            return
        names = {"inf": "Infinity", "infinity": "Infinity", "nan": "NaN", "snan": "sNaN"}
        name = names.get(text.lstrip("+-").lower())
        if name is None:
            raise InvalidOperation(["<class 'decimal.ConversionSyntax'>"])
        self._whole, self._special, self._negative = 0, name, text[:1] == "-"

    @classmethod
    def from_float(cls, f):
        return cls(f)

    # What it is

    def is_nan(self):
        return self._special in ("NaN", "sNaN")

    def is_infinite(self):
        return self._special == "Infinity"

    def is_finite(self):
        return not self._special

    def is_zero(self):
        return not self._special and not self._whole

    def is_signed(self):
        return self._negative

    def is_integer(self):
        return not self._special and self == self.to_integral_value()

    def adjusted(self):
        return self._exponent + len(str(abs(self._whole))) - 1

    def as_tuple(self):
        exponent = {"Infinity": "F", "NaN": "n", "sNaN": "N"}.get(self._special, self._exponent)
        return DecimalTuple(int(self._negative), tuple(map(int, str(abs(self._whole)))), exponent)

    def as_integer_ratio(self):
        if self._special:
            raise ValueError(f"cannot convert {self._special} to integer ratio")
        from fractions import Fraction

        scale = 10 ** abs(self._exponent)
        exact = Fraction(self._whole * scale) if self._exponent >= 0 else Fraction(self._whole, scale)
        return exact.numerator, exact.denominator

    # Arithmetic

    __add__, __radd__ = _operator(lambda a, b: _add(a, b))
    __sub__, __rsub__ = _operator(lambda a, b: _add(a, b._negated()))
    __mul__, __rmul__ = _operator(lambda a, b: _multiply(a, b))
    __truediv__, __rtruediv__ = _operator(lambda a, b: _divide(a, b, getcontext()))
    __floordiv__, __rfloordiv__ = _operator(lambda a, b: _divided(a, b)[0])
    __mod__, __rmod__ = _operator(lambda a, b: _remainder(a, b))

    def __pow__(self, other):
        other = _number(other)
        if other is NotImplemented:
            return NotImplemented
        if other._special or other != other.to_integral_value():
            if other == Decimal("0.5"):
                return self.sqrt()
            return _fitted(Decimal(repr(float(self) ** float(other))), getcontext())
        power = int(other)
        if self._special or abs(power) > 10**6:
            raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
        result, base, left = Decimal(1), self, abs(power)
        wide = Context(getcontext().prec + 8, ROUND_HALF_EVEN)
        while left:
            if left & 1:
                result = _multiply(result, base, wide)
            left >>= 1
            if left:
                base = _multiply(base, base, wide)
        return _fitted(result, getcontext()) if power >= 0 else _divide(Decimal(1), result, getcontext())

    def __rpow__(self, other):
        return _of(other) ** self

    def sqrt(self, context=None):
        context = context or getcontext()
        if self._special or self < 0:
            if self._special == "Infinity" and not self._negative:
                return self
            raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
        half = self._exponent // 2
        whole = self._whole * (10 if self._exponent % 2 else 1)
        shift = max(0, context.prec + 1 - (len(str(whole)) + 1) // 2)
        root = _root(whole * 100**shift)
        if root * root == whole * 100**shift:
            exact = _made(root, half - shift)
            while exact._exponent < half and exact._whole % 10 == 0:
                exact = _made(exact._whole // 10, exact._exponent + 1)
            return _fitted(exact, context)
        return _fitted(_made(root if root % 5 else root + 1, half - shift), context, ROUND_HALF_EVEN)

    def _negated(self):
        made = Decimal(self)
        made._whole, made._negative = -self._whole, not self._negative
        return made

    def __neg__(self):
        return _fitted(self._negated() if self._whole or self._special else abs(self), getcontext())

    def __pos__(self):
        return _fitted(self, getcontext())

    def __abs__(self):
        made = Decimal(self)
        made._whole, made._negative = abs(self._whole), False
        return _fitted(made, getcontext())

    def copy_abs(self):
        return self._negated() if self._negative else Decimal(self)

    def copy_negate(self):
        return self._negated()

    # Rounding

    def quantize(self, exp, rounding=None, context=None):
        exponent = _of(exp)._exponent
        if self._special:
            return Decimal(self)
        made = _at(self, exponent, rounding or getcontext().rounding)
        if len(str(abs(made._whole))) > getcontext().prec:
            raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
        return made

    def to_integral_value(self, rounding=None, context=None):
        if self._special or self._exponent >= 0:
            return Decimal(self)
        return _at(self, 0, rounding or getcontext().rounding)

    to_integral = to_integral_exact = to_integral_value

    def normalize(self, context=None):
        made = _fitted(self, getcontext())
        if made._special:
            return made
        whole, exponent = made._whole, made._exponent
        if not whole:
            return _signed(0, 0, self._negative)
        while whole % 10 == 0:
            whole //= 10
            exponent += 1
        return _made(whole, exponent)

    def __round__(self, ndigits=None):
        if ndigits is None:
            return int(_at(self, 0, ROUND_HALF_EVEN))
        return self.quantize(_made(1, -ndigits), ROUND_HALF_EVEN)

    def __trunc__(self):
        return int(self)

    def __floor__(self):
        return int(_at(self, 0, ROUND_FLOOR))

    def __ceil__(self):
        return int(_at(self, 0, ROUND_CEILING))

    def __int__(self):
        if self._special:
            error = OverflowError if self._special == "Infinity" else ValueError
            raise error(f"cannot convert {'Infinity' if error is OverflowError else 'NaN'} to integer")
        return _at(self, 0, ROUND_DOWN)._whole

    def __float__(self):
        return float(str(self))

    def __bool__(self):
        return bool(self._special or self._whole)

    # Comparison

    def compare(self, other):
        other = _of(other)
        return Decimal(-1 if self < other else 1 if self > other else 0)

    def max(self, other):
        return self if self >= other else _of(other)

    def min(self, other):
        return self if self <= other else _of(other)

    __eq__ = _comparison(lambda order: order == 0)
    __lt__ = _comparison(lambda order: order < 0)
    __le__ = _comparison(lambda order: order <= 0)
    __gt__ = _comparison(lambda order: order > 0)
    __ge__ = _comparison(lambda order: order >= 0)

    def __hash__(self):
        made = self.normalize()
        return made._whole * 10**made._exponent if 0 <= made._exponent < 40 else made._whole * 1000003 ^ made._exponent

    # Text

    def __str__(self):
        sign = "-" if self._negative else ""
        if self._special:
            return sign + self._special
        digits = str(abs(self._whole))
        point = len(digits) + self._exponent
        if self._exponent <= 0 and point > -6:
            if not self._exponent:
                return sign + digits
            if point <= 0:
                return f"{sign}0.{'0' * -point}{digits}"
            return f"{sign}{digits[:point]}.{digits[point:]}"
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}E{point - 1:+d}"

    def __repr__(self):
        return f"Decimal('{self}')"

    def __format__(self, spec):
        found = re.fullmatch(r"(?:(.)?([<>^=]))?([-+ ])?(0)?(\d+)?(,)?(?:\.(\d+))?([feEgGF%])?", spec)
        if not found:
            raise ValueError("invalid format string")
        fill, align, plus, zero, width, comma, digits, kind = found.groups()
        if kind in ("e", "E", "g", "G"):
            return format(float(self), spec)
        value = _multiply(self, Decimal(100)) if kind == "%" else self
        if digits is not None and not value._special and (kind in ("f", "F", "%") or -int(digits) > value._exponent):
            places = int(digits) if kind in ("f", "F", "%") else int(digits) - 1 - value.adjusted()
            value = _at(value, -places, ROUND_HALF_EVEN)
        text = _plain(value) if kind in ("f", "F", "%") or comma else str(value)
        sign = "-" if text[0] == "-" else plus if plus in ("+", " ") else ""
        text = text.lstrip("-")
        if comma:
            whole, point, rest = text.partition(".")
            text = f"{int(whole):,}" + point + rest
        text += "%" if kind == "%" else ""
        room = int(width or 0) - len(sign)
        if zero and not align:
            return sign + text.rjust(room, "0")
        if align == "=":
            return sign + text.rjust(room, fill or " ")
        if align:
            return format(sign + text, f"{fill or ' '}{align}{width or ''}")
        return (sign + text).rjust(int(width or 0))


class DecimalTuple:
    def __init__(self, sign, digits, exponent):
        self.sign, self.digits, self.exponent = sign, digits, exponent

    def __iter__(self):
        return iter((self.sign, self.digits, self.exponent))

    def __getitem__(self, index):
        return (self.sign, self.digits, self.exponent)[index]

    def __eq__(self, other):
        return tuple(self) == tuple(other)

    def __repr__(self):
        return f"DecimalTuple(sign={self.sign}, digits={self.digits}, exponent={self.exponent!r})"


def _plain(value):
    if value._special:
        return str(value)
    if value._exponent >= 0:
        return ("-" if value._negative else "") + str(abs(value._whole)) + "0" * value._exponent
    digits = str(abs(value._whole)).rjust(1 - value._exponent, "0")
    return ("-" if value._negative else "") + digits[: value._exponent] + "." + digits[value._exponent :]


def _of(value):
    return value if isinstance(value, Decimal) else Decimal(value)


def _number(value):
    if isinstance(value, Decimal):
        return value
    return Decimal(value) if isinstance(value, int) else NotImplemented


def _made(whole, exponent):
    return _signed(whole, exponent, whole < 0)


def _signed(whole, exponent, negative):
    made = Decimal(0)
    made._whole, made._exponent, made._negative = whole, exponent, negative
    return made


def _named(name, negative=False):
    return Decimal(("-" if negative else "") + name)


def _at(value, exponent, rounding):
    """The number with the given exponent, rounded where digits are lost."""
    if value._special:
        error = OverflowError if value._special == "Infinity" else ValueError
        raise error(f"cannot convert {'Infinity' if error is OverflowError else 'NaN'} to integer")
    if exponent <= value._exponent:
        if value._exponent - exponent > _MOST_PRECISION and value._whole:
            raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
        whole = value._whole * 10 ** (value._exponent - exponent) if value._whole else 0
        return _signed(whole, exponent, value._negative)
    return _signed(_round(value._whole, exponent - value._exponent, rounding), exponent, value._negative)


def _fitted(value, context, rounding=None):
    """The number within the precision of a context."""
    if value._special:
        return value
    digits = len(str(abs(value._whole)))
    cut = digits - min(context.prec, _MOST_PRECISION)
    if cut > 0:
        whole = _round(value._whole, cut, rounding or context.rounding)
        value = _signed(whole, value._exponent + cut, value._negative)
        if len(str(abs(whole))) > context.prec:
            value = _signed(whole // 10 if whole > 0 else -(-whole // 10), value._exponent + 1, value._negative)
    if value._whole and value.adjusted() > _MOST_EXPONENT:
        raise Overflow(["<class 'decimal.Overflow'>", "<class 'decimal.Rounded'>"])
    return value


def _add(a, b):
    if a._special or b._special:
        if a.is_nan() or b.is_nan():
            return _named("NaN")
        if a._special and b._special and a._negative != b._negative:
            raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
        return Decimal(a if a._special else b)
    context = getcontext()
    a, b = _near(a, b, context.prec), _near(b, a, context.prec)
    exponent = min(a._exponent, b._exponent)
    whole = a._whole * 10 ** (a._exponent - exponent) + b._whole * 10 ** (b._exponent - exponent)
    negative = whole < 0 or (not whole and a._negative and b._negative)
    return _fitted(_signed(whole, exponent, negative), context)


def _near(value, other, precision):
    """The number, or where it is far too small to matter beside the other one, one that matters as little."""
    if not other._whole or not value._whole:
        return value if value._whole or value._exponent > other._exponent - precision - 4 else _made(0, other._exponent)
    least = other.adjusted() - max(precision, len(str(abs(other._whole)))) - 4
    return value if value.adjusted() >= least else _made(-1 if value._whole < 0 else 1, least)


def _multiply(a, b, context=None):
    negative = a._negative != b._negative
    if a._special or b._special:
        if a.is_nan() or b.is_nan():
            return _named("NaN")
        if a.is_zero() or b.is_zero():
            raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
        return _named("Infinity", negative)
    return _fitted(_signed(a._whole * b._whole, a._exponent + b._exponent, negative), context or getcontext())


def _divide(a, b, context):
    negative = a._negative != b._negative
    if a._special or b._special:
        if a.is_nan() or b.is_nan():
            return _named("NaN")
        if a._special and b._special:
            raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
        return _named("Infinity", negative) if a._special else _signed(0, 0, negative)
    _refuse_zero(a, b)
    ideal = a._exponent - b._exponent
    if not a._whole:
        return _signed(0, ideal, negative)
    shift = max(0, len(str(abs(b._whole))) - len(str(abs(a._whole))) + context.prec + 1)
    whole, rest = divmod(abs(a._whole) * 10**shift, abs(b._whole))
    exponent = ideal - shift
    if rest:
        whole = whole * 10 + 1
        exponent -= 1
    else:
        while exponent < ideal and whole % 10 == 0:
            whole //= 10
            exponent += 1
    return _fitted(_signed(-whole if negative else whole, exponent, negative), context)


def _refuse_zero(a, b):
    if not b._whole:
        if not a._whole:
            raise InvalidOperation(["<class 'decimal.DivisionUndefined'>"])
        raise DivisionByZero(["<class 'decimal.DivisionByZero'>"])


def _divided(a, b):
    """Quotient towards zero, and the rest, which has the sign of `a`."""
    if a._special or b._special:
        raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
    _refuse_zero(a, b)
    exponent = min(a._exponent, b._exponent)
    if a._whole and a.adjusted() - b.adjusted() > getcontext().prec:
        raise InvalidOperation(["<class 'decimal.DivisionImpossible'>"])
    if b.adjusted() - a.adjusted() > 2:
        return _signed(0, 0, a._negative != b._negative), _fitted(a, getcontext())
    above, below = abs(_at(a, exponent, ROUND_DOWN)._whole), abs(_at(b, exponent, ROUND_DOWN)._whole)
    whole, rest = divmod(above, below)
    negative = a._negative != b._negative
    quotient = _signed(-whole if negative else whole, 0, negative)
    return quotient, _fitted(_signed(-rest if a._negative else rest, exponent, a._negative), getcontext())


def _remainder(a, b):
    if b.is_zero() and not a._special:
        raise InvalidOperation(["<class 'decimal.InvalidOperation'>"])
    return _divided(a, b)[1]


def _order(a, b):
    """A number below, at or above zero as `a` is below, at or above `b`."""
    if a._special or b._special:
        size = lambda x: 0 if not x._special else -1 if x._negative else 1
        return size(a) - size(b)
    if not a._whole or not b._whole or (a._whole < 0) != (b._whole < 0):
        return (a._whole > 0) - (a._whole < 0) - (b._whole > 0) + (b._whole < 0)
    sign = 1 if a._whole > 0 else -1
    if a.adjusted() != b.adjusted():
        return sign if a.adjusted() > b.adjusted() else -sign
    exponent = min(a._exponent, b._exponent)
    left, right = a._whole * 10 ** (a._exponent - exponent), b._whole * 10 ** (b._exponent - exponent)
    return (left > right) - (left < right)
