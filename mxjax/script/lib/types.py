"""`types`: namespaces, read-only mappings, and the names of the built-in types."""


class SimpleNamespace:
    def __init__(self, mapping=(), /, **kwargs):
        self.__dict__.update({**dict(mapping), **kwargs})

    def __eq__(self, other):
        return self.__dict__ == other.__dict__ if isinstance(other, SimpleNamespace) else NotImplemented

    def __repr__(self):
        return f"namespace({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


class MappingProxyType:
    def __init__(self, mapping):
        self._of = mapping

    def get(self, key, default=None):
        return self._of.get(key, default)

    def keys(self):
        return self._of.keys()

    def values(self):
        return self._of.values()

    def items(self):
        return self._of.items()

    def copy(self):
        return self._of.copy()

    def __getitem__(self, key):
        return self._of[key]

    def __contains__(self, key):
        return key in self._of

    def __iter__(self):
        return iter(self._of)

    def __len__(self):
        return len(self._of)

    def __eq__(self, other):
        return self._of == (other._of if isinstance(other, MappingProxyType) else other)

    def __setitem__(self, key, value):
        raise TypeError("'mappingproxy' object does not support item assignment")

    def __delitem__(self, key):
        raise TypeError("'mappingproxy' object does not support item deletion")

    def __str__(self):
        return str(self._of)

    def __repr__(self):
        return f"mappingproxy({self._of!r})"


def coroutine(func):
    return func


async def _coroutine():
    pass


def _generator():
    yield


FunctionType = LambdaType = type(_generator)
GeneratorType = type(_generator())
CoroutineType = type(_coroutine())
MethodType = type(SimpleNamespace().__repr__)
BuiltinFunctionType = type(len)
NoneType = type(None)
