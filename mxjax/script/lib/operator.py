"""What `operator` has besides the operators, which are the interpreter's own."""


def itemgetter(item, /, *items):
    if items:
        return lambda owner: tuple([owner[key] for key in (item, *items)])
    return lambda owner: owner[item]


def attrgetter(attr, /, *attrs):
    if attrs:
        getters = [attrgetter(name) for name in (attr, *attrs)]
        return lambda owner: tuple([get(owner) for get in getters])
    if "." not in attr:
        return lambda owner: getattr(owner, attr)
    first, rest = attr.split(".", 1)
    inner = attrgetter(rest)
    return lambda owner: inner(getattr(owner, first))


def methodcaller(name, /, *args, **kwargs):
    return lambda owner: getattr(owner, name)(*args, **kwargs)
