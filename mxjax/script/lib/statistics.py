"""`statistics`, on ints and floats."""

from math import exp, fsum, log, sqrt


class StatisticsError(ValueError):
    pass


def _numbers(data, name, least=1):
    items = list(data)
    if len(items) < least:
        raise StatisticsError(f"{name} requires at least {least} data point{'s' * (least > 1)}")
    return items


def _tidy(value, items):
    """An int where all data are ints and the value is whole."""
    return int(value) if value == int(value) and float not in map(type, items) else value


def mean(data):
    items = _numbers(data, "mean")
    return _tidy(fsum(items) / len(items), items)


def fmean(data):
    items = _numbers(data, "fmean")
    return fsum(items) / len(items)


def median(data):
    items = sorted(_numbers(data, "median"))
    half = len(items) // 2
    return items[half] if len(items) % 2 else (items[half - 1] + items[half]) / 2


def median_low(data):
    items = sorted(_numbers(data, "median"))
    return items[(len(items) - 1) // 2]


def median_high(data):
    items = sorted(_numbers(data, "median"))
    return items[len(items) // 2]


def harmonic_mean(data):
    items = _numbers(data, "harmonic_mean")
    if min(items) < 0:
        raise StatisticsError("harmonic mean does not support negative values")
    return 0 if 0 in items else len(items) / fsum([1 / item for item in items])


def geometric_mean(data):
    items = _numbers(data, "geometric_mean")
    if min(items) <= 0:
        raise StatisticsError("geometric mean requires a non-empty dataset containing positive numbers")
    return exp(fsum(map(log, items)) / len(items))


def quantiles(data, *, n=4, method="exclusive"):
    if not isinstance(n, int) or n < 1:
        raise StatisticsError("n must be at least 1")
    items = sorted(_numbers(data, "quantiles", 2))
    size, cuts = len(items), []
    for i in range(1, n):
        if method == "inclusive":
            at, rest = divmod(i * (size - 1), n)
        else:
            at = min(max(i * (size + 1) // n, 1), size - 1)
            rest, at = i * (size + 1) - at * n, at - 1
        cuts.append((items[at] * (n - rest) + items[at + 1] * rest) / n)
    return cuts


def mode(data):
    ranked = multimode(data)
    if not ranked:
        raise StatisticsError("no mode for empty data")
    return ranked[0]


def multimode(data):
    from collections import Counter  # here, since a script pays for what it imports

    counts = Counter(data)
    most = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == most]


def _spread(data, name, sample):
    """The variance and the data: the mean square of the distances from the mean, over one less in a sample."""
    items = _numbers(data, name, 1 + sample)
    centre = fsum(items) / len(items)
    return fsum([(item - centre) ** 2 for item in items]) / (len(items) - sample), items


def variance(data):
    return _tidy(*_spread(data, "variance", True))


def pvariance(data):
    return _tidy(*_spread(data, "pvariance", False))


def stdev(data):
    return sqrt(_spread(data, "stdev", True)[0])


def pstdev(data):
    return sqrt(_spread(data, "pstdev", False)[0])
