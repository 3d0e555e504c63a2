"""`uuid`: identifiers drawn from the seed of the execution."""

import hashlib
import random

from _native import seed_number

_source = random.Random(f"uuid {seed_number()}")
RFC_4122 = "specified in RFC 4122"


class UUID:
    def __init__(self, hex=None, bytes=None, bytes_le=None, fields=None, int=None, version=None):
        if hex is not None:
            digits = hex.replace("urn:", "").replace("uuid:", "").strip("{}").replace("-", "")
            if len(digits) != 32:
                raise ValueError("badly formed hexadecimal UUID string")
            int = _int(digits, 16)
        elif bytes is not None:
            int = _int(bytes.hex(), 16)
        elif int is None:
            raise TypeError("one of the hex, bytes, bytes_le, fields, or int arguments must be given")
        if version is not None:
            int = int & ~(0xC000 << 48) | (0x8000 << 48)
            int = int & ~(0xF000 << 64) | (version << 76)
        self.int = int

    @property
    def hex(self):
        return f"{self.int:032x}"

    @property
    def version(self):
        return (self.int >> 76) & 0xF

    @property
    def variant(self):
        return RFC_4122

    @property
    def time_low(self):
        return self.int >> 96

    def __eq__(self, other):
        return self.int == other.int if isinstance(other, UUID) else NotImplemented

    def __lt__(self, other):
        return self.int < other.int if isinstance(other, UUID) else NotImplemented

    def __hash__(self):
        return self.int

    def __int__(self):
        return self.int

    def __str__(self):
        digits = self.hex
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def __repr__(self):
        return f"UUID('{self}')"


_int = int
NAMESPACE_DNS = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
NAMESPACE_URL = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
NAMESPACE_OID = UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


def uuid4():
    return UUID(int=_source.randrange(1 << 128), version=4)


def uuid1(node=None, clock_seq=None):
    return UUID(int=_source.randrange(1 << 128), version=1)


def uuid3(namespace, name):
    return UUID(hashlib.md5(_named(namespace, name)).hexdigest(), version=3)


def uuid5(namespace, name):
    return UUID(hashlib.sha1(_named(namespace, name)).hexdigest()[:32], version=5)


def _named(namespace, name):
    return bytes.fromhex(namespace.hex + name.encode().hex())
