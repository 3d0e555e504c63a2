"""`datetime`: dates, times and spans; now is the clock of the execution, in UTC."""

import re
import time as _time

MINYEAR, MAXYEAR = 1, 9999
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_DAY = 86400 * 10**6  # in microseconds


def _leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_in(year, month):
    return 29 if month == 2 and _leap(year) else _DAYS[month - 1]


def _days_before_year(year):
    last = year - 1
    return last * 365 + last // 4 - last // 100 + last // 400


def _ordinal(year, month, day):
    return _days_before_year(year) + sum(_days_in(year, before) for before in range(1, month)) + day


def _from_ordinal(n):
    if not 1 <= n <= 3652059:
        raise OverflowError("date value out of range")
    year = n * 400 // 146097 + 1
    while _days_before_year(year) >= n:
        year -= 1
    day, month = n - _days_before_year(year), 1
    while day > _days_in(year, month):
        day -= _days_in(year, month)
        month += 1
    return year, month, day


def _offset_text(offset):
    sign = "-" if offset < timedelta(0) else "+"
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


class _Ordered:
    """Comparison by `_key`, with objects of the same kind."""

    def __eq__(self, other):
        return self._key() == other._key() if self._comparable(other) else NotImplemented

    def __lt__(self, other):
        return self._key() < other._key() if self._comparable(other) else NotImplemented

    def __le__(self, other):
        return self._key() <= other._key() if self._comparable(other) else NotImplemented

    def __gt__(self, other):
        return self._key() > other._key() if self._comparable(other) else NotImplemented

    def __ge__(self, other):
        return self._key() >= other._key() if self._comparable(other) else NotImplemented

    def _comparable(self, other):
        return isinstance(other, self._kind())


class timedelta(_Ordered):
    def __init__(self, days=0, seconds=0, microseconds=0, milliseconds=0, minutes=0, hours=0, weeks=0):
        whole = ((weeks * 7 + days) * 24 + hours) * 60 + minutes
        total = round((whole * 60 + seconds) * 10**6 + milliseconds * 1000 + microseconds)
        if abs(total) >= 10**9 * _DAY:
            raise OverflowError(f"days={total // _DAY}; must have magnitude <= 999999999")
        self.days, rest = divmod(total, _DAY)
        self.seconds, self.microseconds = divmod(rest, 10**6)

    def _kind(self):
        return timedelta

    def _key(self):
        return self.days * _DAY + self.seconds * 10**6 + self.microseconds

    def __hash__(self):
        return self._key()

    def total_seconds(self):
        return self._key() / 10**6

    def __add__(self, other):
        return timedelta(microseconds=self._key() + other._key()) if isinstance(other, timedelta) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other):
        return timedelta(microseconds=self._key() - other._key()) if isinstance(other, timedelta) else NotImplemented

    def __mul__(self, other):
        return timedelta(microseconds=self._key() * other) if isinstance(other, (int, float)) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other):
        if isinstance(other, timedelta):
            return self._key() / other._key()
        return timedelta(microseconds=self._key() / other) if isinstance(other, (int, float)) else NotImplemented

    def __floordiv__(self, other):
        if isinstance(other, timedelta):
            return self._key() // other._key()
        return timedelta(microseconds=self._key() // other) if isinstance(other, int) else NotImplemented

    def __mod__(self, other):
        return timedelta(microseconds=self._key() % other._key()) if isinstance(other, timedelta) else NotImplemented

    def __neg__(self):
        return timedelta(microseconds=-self._key())

    def __pos__(self):
        return self

    def __abs__(self):
        return timedelta(microseconds=abs(self._key()))

    def __bool__(self):
        return self._key() != 0

    def __str__(self):
        minutes, second = divmod(self.seconds, 60)
        text = f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
        if self.days:
            text = f"{self.days} day{'' if abs(self.days) == 1 else 's'}, {text}"
        return text + (f".{self.microseconds:06d}" if self.microseconds else "")

    def __repr__(self):
        parts = [(name, getattr(self, name)) for name in ("days", "seconds", "microseconds") if getattr(self, name)]
        return f"datetime.timedelta({', '.join(f'{name}={value}' for name, value in parts) or '0'})"


class tzinfo:
    pass


class timezone(tzinfo):
    def __init__(self, offset, name=None):
        self._offset, self._name = offset, name

    def utcoffset(self, dt=None):
        return self._offset

    def tzname(self, dt=None):
        return self._name or ("UTC" if not self._offset else f"UTC{_offset_text(self._offset)}")

    def __eq__(self, other):
        return isinstance(other, timezone) and self._offset == other._offset

    def __hash__(self):
        return self._offset._key()

    def __str__(self):
        return self.tzname()

    def __repr__(self):
        return "datetime.timezone.utc" if self is timezone.utc else f"datetime.timezone({self._offset!r})"


timezone.utc = UTC = timezone(timedelta(0))
_FIELD = re.compile(r"%([-]?[a-zA-Z%])")


class _Formatted:
    """Text of dates and times by the directives of C."""

    def strftime(self, format):
        return _FIELD.sub(lambda found: self._directive(found[1]), format)

    def __format__(self, spec):
        return self.strftime(spec) if spec else str(self)

    def _directive(self, which):
        if which[0] == "-":
            return self._directive(which[1]).lstrip("0") or "0"
        if which in _COMBINED:
            return self.strftime(_COMBINED[which])
        simple = {
            "%": "%", "H": f"{self.hour:02d}", "I": f"{(self.hour + 11) % 12 + 1:02d}", "M": f"{self.minute:02d}",
            "S": f"{self.second:02d}", "f": f"{self.microsecond:06d}", "p": "AM" if self.hour < 12 else "PM",
        }  # fmt: skip
        if which in simple:
            return simple[which]
        if which in "zZ":
            offset = self.utcoffset()
            if offset is None:
                return ""
            return _offset_text(offset).replace(":", "") if which == "z" else self.tzinfo.tzname()
        year, month, day, weekday = self.year, self.month, self.day, self.weekday()
        parts = {
            "Y": f"{year:04d}", "y": f"{year % 100:02d}", "m": f"{month:02d}", "d": f"{day:02d}", "e": f"{day:2d}",
            "B": _MONTHS[month - 1], "b": _MONTHS[month - 1][:3], "A": _WEEKDAYS[weekday],
            "a": _WEEKDAYS[weekday][:3], "w": str((weekday + 1) % 7), "u": str(weekday + 1),
            "j": f"{self.timetuple_parts()[7]:03d}",
        }  # fmt: skip
        return parts.get(which, "%" + which)


_COMBINED = {
    "c": "%a %b %e %H:%M:%S %Y", "x": "%m/%d/%y", "X": "%H:%M:%S", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
}  # fmt: skip


class date(_Ordered, _Formatted):
    hour = minute = second = microsecond = 0
    tzinfo = None

    def __init__(self, year, month, day):
        self._set_date(year, month, day)

    def _set_date(self, year, month, day):
        if not MINYEAR <= year <= MAXYEAR:
            raise ValueError(f"year {year} is out of range")
        if not 1 <= month <= 12:
            raise ValueError("month must be in 1..12")
        if not 1 <= day <= _days_in(year, month):
            raise ValueError("day is out of range for month")
        self.year, self.month, self.day = year, month, day

    @classmethod
    def today(cls):
        return cls.fromtimestamp(_time.time())

    @classmethod
    def fromtimestamp(cls, timestamp):
        return cls.fromordinal(719163 + int(timestamp // 86400))

    @classmethod
    def fromordinal(cls, n):
        return cls(*_from_ordinal(n))

    @classmethod
    def fromisoformat(cls, date_string):
        found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", date_string)
        if not found:
            raise ValueError(f"Invalid isoformat string: {date_string!r}")
        return cls(*map(int, found.groups()))

    def _kind(self):
        return date

    def _comparable(self, other):
        return isinstance(other, date) and isinstance(other, datetime) == isinstance(self, datetime)

    def _key(self):
        return self.toordinal()

    def __hash__(self):
        return self._key()

    def toordinal(self):
        return _ordinal(self.year, self.month, self.day)

    def weekday(self):
        return (self.toordinal() + 6) % 7

    def isoweekday(self):
        return self.weekday() + 1

    def isocalendar(self):
        thursday = _from_ordinal(self.toordinal() - self.weekday() + 3)
        return (thursday[0], (_ordinal(*thursday) - _ordinal(thursday[0], 1, 1)) // 7 + 1, self.isoweekday())

    def timetuple_parts(self):
        yday = self.toordinal() - _ordinal(self.year, 1, 1) + 1
        return (self.year, self.month, self.day, self.hour, self.minute, self.second, self.weekday(), yday)

    def timetuple(self):
        return self.timetuple_parts()

    def utcoffset(self):
        return None

    def replace(self, year=None, month=None, day=None):
        return type(self)(year or self.year, month or self.month, day or self.day)

    def isoformat(self):
        return f"{self.year:04d}-{self.month:02d}-{self.day:02d}"

    def ctime(self):
        return self.strftime("%a %b %e %H:%M:%S %Y")

    def __add__(self, other):
        return type(self).fromordinal(self.toordinal() + other.days) if isinstance(other, timedelta) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other):
        if isinstance(other, timedelta):
            return type(self).fromordinal(self.toordinal() - other.days)
        return timedelta(self.toordinal() - other.toordinal()) if self._comparable(other) else NotImplemented

    def __str__(self):
        return self.isoformat()

    def __repr__(self):
        return f"datetime.date({self.year}, {self.month}, {self.day})"


class _Clock:
    """The parts of a time of day."""

    def _set_time(self, hour, minute, second, microsecond, tzinfo):
        parts = (
            ("hour", hour, 23),
            ("minute", minute, 59),
            ("second", second, 59),
            ("microsecond", microsecond, 999999),
        )
        for name, value, most in parts:
            if not 0 <= value <= most:
                raise ValueError(f"{name} must be in 0..{most}")
        self.hour, self.minute, self.second, self.microsecond = hour, minute, second, microsecond
        self.tzinfo = tzinfo

    def _of_day(self):
        return ((self.hour * 60 + self.minute) * 60 + self.second) * 10**6 + self.microsecond

    def utcoffset(self):
        return None if self.tzinfo is None else self.tzinfo.utcoffset()


class time(_Clock, _Ordered, _Formatted):
    def __init__(self, hour=0, minute=0, second=0, microsecond=0, tzinfo=None):
        self._set_time(hour, minute, second, microsecond, tzinfo)

    def _kind(self):
        return time

    def _key(self):
        return self._of_day()

    def __hash__(self):
        return self._key()

    def isoformat(self, timespec="auto"):
        return _time_text(self, timespec)

    def __str__(self):
        return self.isoformat()

    def __repr__(self):
        return f"datetime.time({', '.join(map(str, _shown_time(self)))})"


def _shown_time(value):
    parts = [value.hour, value.minute, value.second, value.microsecond]
    while len(parts) > 2 and not parts[-1]:
        parts.pop()
    return parts


def _time_text(value, timespec):
    if timespec == "auto":
        timespec = "microseconds" if value.microsecond else "seconds"
    text = f"{value.hour:02d}"
    text += f":{value.minute:02d}" if timespec != "hours" else ""
    text += f":{value.second:02d}" if timespec not in ("hours", "minutes") else ""
    text += f".{value.microsecond // 1000:03d}" if timespec == "milliseconds" else ""
    text += f".{value.microsecond:06d}" if timespec == "microseconds" else ""
    offset = value.utcoffset()
    return text if offset is None else text + _offset_text(offset)


_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:.(\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,6})\d*)?)?)?(?:(Z)|([+-])(\d\d):?(\d\d))?)?"
)
_READ = {
    "Y": r"(\d{4})", "m": r"(\d{1,2})", "d": r"(\d{1,2})", "H": r"(\d{1,2})", "M": r"(\d{1,2})", "S": r"(\d{1,2})",
    "f": r"(\d{1,6})", "y": r"(\d\d)", "I": r"(\d{1,2})", "p": r"([AaPp][Mm])", "B": r"([A-Za-z]+)",
    "b": r"([A-Za-z]+)", "A": r"([A-Za-z]+)", "a": r"([A-Za-z]+)", "j": r"(\d{1,3})", "z": r"(Z|[+-]\d\d:?\d\d)",
}  # fmt: skip


class datetime(_Clock, date):
    def __init__(self, year, month, day, hour=0, minute=0, second=0, microsecond=0, tzinfo=None):
        self._set_date(year, month, day)
        self._set_time(hour, minute, second, microsecond, tzinfo)

    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(_time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(_time.time())

    @classmethod
    def today(cls):
        return cls.fromtimestamp(_time.time())

    @classmethod
    def fromtimestamp(cls, timestamp, tz=None):
        made = cls._of(719163 * _DAY + round(timestamp * 10**6), None)
        return made if tz is None else made.replace(tzinfo=timezone.utc).astimezone(tz)

    @classmethod
    def utcfromtimestamp(cls, timestamp):
        return cls.fromtimestamp(timestamp)

    @classmethod
    def _of(cls, microseconds, tzinfo):
        day, rest = divmod(microseconds, _DAY)
        seconds, micro = divmod(rest, 10**6)
        minutes, second = divmod(seconds, 60)
        return cls(*_from_ordinal(day), minutes // 60, minutes % 60, second, micro, tzinfo)

    @classmethod
    def combine(cls, date, time, tzinfo=None):
        return cls(
            date.year, date.month, date.day, time.hour, time.minute, time.second, time.microsecond,
            tzinfo or time.tzinfo,
        )  # fmt: skip

    @classmethod
    def fromisoformat(cls, date_string):
        found = _ISO.fullmatch(date_string)
        if not found:
            raise ValueError(f"Invalid isoformat string: {date_string!r}")
        year, month, day, hour, minute, second, micro, utc, sign, hours, minutes = found.groups()
        zone = None
        if utc:
            zone = timezone.utc
        elif sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(offset if sign == "+" else -offset) if offset else timezone.utc
        parts = [int(part or 0) for part in (year, month, day, hour, minute, second)]
        return cls(*parts, int((micro or "0").ljust(6, "0")), zone)

    @classmethod
    def strptime(cls, date_string, format):
        fields, pattern, at = [], "", 0
        for found in _FIELD.finditer(format):
            pattern += re.escape(format[at : found.start()])
            at = found.end()
            if found[1] not in _READ:
                raise ValueError(f"{found[1]!r} is a bad directive in format {format!r}")
            pattern += _READ[found[1]]
            fields.append(found[1])
        read = re.fullmatch(pattern + re.escape(format[at:]), date_string)
        if not read:
            raise ValueError(f"time data {date_string!r} does not match format {format!r}")
        got = dict(zip(fields, read.groups()))
        year = int(got.get("Y", 1900))
        if "y" in got:
            year = int(got["y"]) + (2000 if int(got["y"]) < 69 else 1900)
        month = int(got.get("m", 1))
        for which in "Bb":
            if which in got:
                month = [name[:3].lower() for name in _MONTHS].index(got[which][:3].lower()) + 1
        hour = int(got.get("H", got.get("I", 0)))
        if "p" in got:
            hour = hour % 12 + (12 if got["p"].lower() == "pm" else 0)
        zone = cls.fromisoformat("2000-01-01T00:00" + got["z"]).tzinfo if "z" in got else None
        micro = int(got.get("f", "0").ljust(6, "0"))
        return cls(year, month, int(got.get("d", 1)), hour, int(got.get("M", 0)), int(got.get("S", 0)), micro, zone)

    def _local(self):
        return self.toordinal() * _DAY + self._of_day()

    def _key(self):
        offset = self.utcoffset()
        return self._local() - (offset._key() if offset is not None else 0)

    def _comparable(self, other):
        return isinstance(other, datetime)

    def date(self):
        return date(self.year, self.month, self.day)

    def time(self):
        return time(self.hour, self.minute, self.second, self.microsecond)

    def timestamp(self):
        return (self._key() - 719163 * _DAY) / 10**6

    def replace(
        self, year=None, month=None, day=None, hour=None, minute=None, second=None, microsecond=None, tzinfo=True
    ):
        given = (year, month, day, hour, minute, second, microsecond)
        own = (self.year, self.month, self.day, self.hour, self.minute, self.second, self.microsecond)
        parts = [mine if new is None else new for new, mine in zip(given, own)]
        return type(self)(*parts, self.tzinfo if tzinfo is True else tzinfo)

    def astimezone(self, tz=None):
        tz = tz or timezone.utc
        return self._of(self._key() + tz.utcoffset()._key(), tz)

    def isoformat(self, sep="T", timespec="auto"):
        return f"{self.year:04d}-{self.month:02d}-{self.day:02d}{sep}{_time_text(self, timespec)}"

    def __add__(self, other):
        return self._of(self._local() + other._key(), self.tzinfo) if isinstance(other, timedelta) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other):
        if isinstance(other, timedelta):
            return self._of(self._local() - other._key(), self.tzinfo)
        if not isinstance(other, datetime):
            return NotImplemented
        if (self.tzinfo is None) != (other.tzinfo is None):
            raise TypeError("can't subtract offset-naive and offset-aware datetimes")
        return timedelta(microseconds=self._key() - other._key())

    def __str__(self):
        return self.isoformat(" ")

    def __repr__(self):
        zone = "" if self.tzinfo is None else f", tzinfo={self.tzinfo!r}"
        return (
            f"datetime.datetime({self.year}, {self.month}, {self.day}, {', '.join(map(str, _shown_time(self)))}{zone})"
        )
