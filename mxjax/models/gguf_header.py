"""Check the header of a GGUF file before anything reads it.

Every count and offset is compared with the file's real size. The `gguf` package trusts the header: an array that claims
2^60 elements would be read for years.
"""

from __future__ import annotations

import math
import mmap
import os
import pathlib
import struct

import gguf
from gguf import GGMLQuantizationType, GGUFValueType

from mxjax.errors import UserError

MAX_FIELDS, MAX_TENSORS, MAX_ELEMENTS, MAX_DIMS = 4096, 1 << 17, 1 << 21, 4
MAX_NAME = 1024  # bytes, of a field's or tensor's name
_ALIGNMENT = "general.alignment"
_SIZES = {
    GGUFValueType.UINT8: 1,
    GGUFValueType.INT8: 1,
    GGUFValueType.BOOL: 1,
    GGUFValueType.UINT16: 2,
    GGUFValueType.INT16: 2,
    GGUFValueType.UINT32: 4,
    GGUFValueType.INT32: 4,
    GGUFValueType.FLOAT32: 4,
    GGUFValueType.UINT64: 8,
    GGUFValueType.INT64: 8,
    GGUFValueType.FLOAT64: 8,
}


def check_header(path: str) -> None:
    """Raise ValueError if a GGUF header does not match its file.

    The message says what is wrong.
    """
    size = os.path.getsize(path)
    if size < 24:
        raise UserError(f"{path} is not a whole GGUF file (it has {size} bytes)")
    with pathlib.Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _Scan(data).check()
        except (ValueError, struct.error) as error:
            raise UserError(f"{path} is not a whole GGUF file ({error})") from error


class _Scan:
    """A walk over the header; `at` is the next byte."""

    def __init__(self, data: mmap.mmap):
        self.data, self.at, self.elements = data, 4, 0

    def check(self) -> None:
        if self.data[:4] != b"GGUF":
            raise UserError("it does not begin with GGUF")
        if (version := self.number("I", 4)) not in (2, 3):
            raise UserError(f"version {version}, and 2 and 3 are known")
        tensors, fields = self.number("Q", 8), self.number("Q", 8)
        if fields > MAX_FIELDS or tensors > MAX_TENSORS:
            raise UserError(f"it says that it has {fields} fields and {tensors} tensors")
        alignment = gguf.GGUF_DEFAULT_ALIGNMENT
        for _ in range(fields):
            name, start = self.name(), self.at
            self.value(self.number("I", 4))
            if name == _ALIGNMENT:
                alignment = int.from_bytes(self.data[start + 4 : start + 8], "little")
                if self.at - start != 8 or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
                    raise UserError(f"{_ALIGNMENT} is no power of two")
        parts = [self.tensor(alignment) for _ in range(tensors)]
        first = -(-self.at // alignment) * alignment
        last, before = 0, ""
        for offset, length, name in sorted(parts):
            if first + offset + length > len(self.data):
                raise UserError(f"the tensor {name} ends after the file does")
            if offset < last:
                raise UserError(f"the tensors {before} and {name} overlap")
            last, before = offset + length, name

    def take(self, count: int) -> int:
        """Where the next `count` bytes begin."""
        if count > len(self.data) - self.at:
            raise UserError(f"it ends within its header, at byte {self.at}")
        self.at += count
        return self.at - count

    def number(self, form: str, size: int) -> int:
        return struct.unpack_from("<" + form, self.data, self.take(size))[0]

    def name(self) -> str:
        length = self.number("Q", 8)
        if length > MAX_NAME:
            raise UserError(f"a name of {length} bytes at byte {self.at}")
        start = self.take(length)
        return self.data[start : start + length].decode()

    def value(self, kind: int) -> None:
        kind = GGUFValueType(kind)
        if kind == GGUFValueType.STRING:
            self.take(self.number("Q", 8))
        elif kind == GGUFValueType.ARRAY:
            element, count = GGUFValueType(self.number("I", 4)), self.number("Q", 8)
            self.elements += count
            if element == GGUFValueType.ARRAY:
                raise UserError("it has an array of arrays, which no field of a model is")
            if self.elements > MAX_ELEMENTS:
                raise UserError(f"it says that its fields have over {MAX_ELEMENTS:,} elements")
            if element == GGUFValueType.STRING:
                for _ in range(count):
                    self.take(self.number("Q", 8))
            else:
                self.take(_SIZES[element] * count)
        else:
            self.take(_SIZES[kind])

    def tensor(self, alignment: int) -> tuple[int, int, str]:
        """Offset, bytes and name of the next tensor."""
        name, dims = self.name(), self.number("I", 4)
        if not 0 < dims <= MAX_DIMS:
            raise UserError(f"the tensor {name} has {dims} dimensions")
        shape = [self.number("Q", 8) for _ in range(dims)]
        kind, offset = self.number("I", 4), self.number("Q", 8)
        if kind not in list(GGMLQuantizationType):
            raise UserError(f"the tensor {name} is of the unknown type {kind}")
        block, block_bytes = gguf.GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if min(shape) < 1 or shape[0] % block:
            raise UserError(f"the tensor {name} has the shape {shape} in blocks of {block}")
        if offset % alignment:
            raise UserError(f"the tensor {name} is not aligned to {alignment} bytes")
        return offset, math.prod(shape) // block * block_bytes, name
