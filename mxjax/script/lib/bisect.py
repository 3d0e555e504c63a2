"""`bisect`: places in sorted lists."""


def bisect_left(a, x, lo=0, hi=None, *, key=None):
    return _place(a, hi, lo, lambda item: item < x, key)


def bisect_right(a, x, lo=0, hi=None, *, key=None):
    return _place(a, hi, lo, lambda item: not x < item, key)


def _place(a, hi, lo, before, key):
    if lo < 0:
        raise ValueError("lo must be non-negative")
    hi = len(a) if hi is None else hi
    while lo < hi:
        middle = (lo + hi) // 2
        if before(a[middle] if key is None else key(a[middle])):
            lo = middle + 1
        else:
            hi = middle
    return lo


def insort_left(a, x, lo=0, hi=None, *, key=None):
    a.insert(bisect_left(a, x if key is None else key(x), lo, hi, key=key), x)


def insort_right(a, x, lo=0, hi=None, *, key=None):
    a.insert(bisect_right(a, x if key is None else key(x), lo, hi, key=key), x)


bisect, insort = bisect_right, insort_right
