"""`time`: the clock of the execution, which moves when the script sleeps."""

from _native import clock, park

_EPOCH = 1767225600  # when every execution begins: 2026-01-01 00:00 UTC
timezone = 0
tzname = ("UTC", "UTC")


def time():
    return _EPOCH + clock()


def time_ns():
    return int(time() * 1e9)


monotonic = perf_counter = process_time = thread_time = clock


def monotonic_ns():
    return int(clock() * 1e9)


perf_counter_ns = monotonic_ns


def sleep(seconds, /):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    park(seconds)


class struct_time:
    """The parts of a moment, as a tuple would hold them."""

    def __init__(self, moment):
        self._moment = moment
        day = moment.timetuple_parts()
        self.tm_year, self.tm_mon, self.tm_mday, self.tm_hour, self.tm_min, self.tm_sec, self.tm_wday, self.tm_yday = (
            day
        )
        self.tm_isdst = 0

    def __iter__(self):
        return iter((*self._moment.timetuple_parts(), 0))

    def __getitem__(self, index):
        return tuple(self)[index]

    def __len__(self):
        return 9


def gmtime(secs=None):
    from datetime import datetime

    return struct_time(datetime.fromtimestamp(time() if secs is None else secs))


localtime = gmtime


def strftime(format, t=None):
    return (t or gmtime())._moment.strftime(format)


def ctime(secs=None):
    return strftime("%a %b %e %H:%M:%S %Y", gmtime(secs))


def asctime(t=None):
    return strftime("%a %b %e %H:%M:%S %Y", t)
