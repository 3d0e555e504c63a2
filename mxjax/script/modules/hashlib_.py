"""`hashlib`, and the methods of `bytes` that its use needs."""

from __future__ import annotations

import hashlib

from mxjax.script.exceptions import may_raise
from mxjax.script.iteration import take_all
from mxjax.script.types import TYPES
from mxjax.script.values import BuiltinType, Native, brief, plain, type_name

ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s")
_CODECS = {"utf8": "utf-8", "ascii": "ascii", "latin1": "latin-1", "iso88591": "latin-1", "usascii": "ascii"}


class Hash:
    """A hash of what it was given so far."""

    __slots__ = ("host",)
    holds = ()
    type_name = "HASH"
    own_bytes = 600

    def __init__(self, host):
        self.host = host


def _data(m, value) -> bytes:
    if type(value) is str:
        raise TypeError("Strings must be encoded before hashing")
    if type(value) is not bytes:
        raise TypeError(f"object supporting the buffer API required, not {type_name(value)}")
    m.charge(len(value) >> 8)
    return value


def _make(name: str):
    @may_raise(ValueError, OverflowError)
    def make(m, string=b"", *, usedforsecurity=True, digest_size=None):
        m.charge(2)
        m.allocate(Hash.own_bytes)
        if digest_size is not None:
            if not name.startswith("blake") or type(digest_size) is not int:
                raise TypeError(f"{name}() takes no digest_size")
            return Hash(getattr(hashlib, name)(_data(m, string), digest_size=digest_size))
        return Hash(hashlib.new(name, _data(m, string), usedforsecurity=False))

    return make


def new(m, name, string=b"", *, usedforsecurity=True):
    if name not in ALGORITHMS:
        raise ValueError(f"unsupported hash type {brief(name)[:80]}")
    return _make(name)(m, string)


def _update(m, owner: Hash, data):
    m.charge(2)
    owner.host.update(_data(m, data))


def _digest(m, owner: Hash):
    m.allocate(200)
    m.charge(2)
    return owner.host.digest()


def _hexdigest(m, owner: Hash):
    m.allocate(200)
    m.charge(2)
    return owner.host.hexdigest()


def _copy(m, owner: Hash):
    m.charge(2)
    m.allocate(Hash.own_bytes)
    return Hash(owner.host.copy())


def _codec(encoding) -> str:
    short = type(encoding) is str and len(encoding) <= 100
    found = _CODECS.get(encoding.lower().replace("-", "").replace("_", "")) if short else None
    if found is None:
        raise LookupError(f"unknown encoding: {brief(encoding)[:80]}")
    return found


_ON_ERRORS = ("strict", "ignore", "replace", "backslashreplace", "xmlcharrefreplace")


def _errors(errors) -> str:
    if errors not in _ON_ERRORS:
        raise LookupError(f"unknown error handler name '{brief(errors)[:80]}'")
    return errors


@may_raise(ValueError)
def encode(m, owner: str, encoding="utf-8", errors="strict"):
    m.need_string(len(owner) if owner.isascii() else 12 * len(owner))
    return owner.encode(_codec(encoding), _errors(errors))


@may_raise(ValueError)
def _decode(m, owner: bytes, encoding="utf-8", errors="strict"):
    m.need_string(4 * len(owner), False)
    return owner.decode(_codec(encoding), _errors(errors))


def _hex(m, owner: bytes):
    m.need_string(2 * len(owner))
    return owner.hex()


@may_raise(ValueError)
def _fromhex(m, text):
    text = plain(text)
    if type(text) is not str:
        raise TypeError(f"fromhex() argument must be str, not {type_name(text)}")
    m.need_string(len(text))
    return bytes.fromhex(text)


@may_raise(ValueError, OverflowError)
def make_bytes(m, source=b"", encoding=None, errors="strict"):
    if type(source) is bytes:
        return source
    if type(source) is str:
        if encoding is None:
            raise TypeError("string argument without an encoding")
        return encode(m, source, encoding, errors)
    if type(source) is int:
        m.need_string(max(0, source))
        return bytes(source)
    return _from_items(m, source)


@may_raise(TypeError, ValueError)
def _from_items(m, source):
    return bytes((yield from take_all(m, source)))


_BYTES_TYPE = TYPES["bytes"]
assert isinstance(_BYTES_TYPE, BuiltinType)
_BYTES_TYPE.make = make_bytes
_BYTES_TYPE.members["fromhex"] = Native("fromhex", _fromhex)
BYTES = {"decode": _decode, "hex": _hex}
HASH = {"update": _update, "digest": _digest, "hexdigest": _hexdigest, "copy": _copy}
HASH_PROPERTIES = {
    "name": lambda m, owner: owner.host.name,
    "digest_size": lambda m, owner: owner.host.digest_size,
    "block_size": lambda m, owner: owner.host.block_size,
}
FUNCTIONS = {**{name: _make(name) for name in ALGORITHMS}, "new": new}
