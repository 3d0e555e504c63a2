"""Cost of a compiled program per device.

It has matrix FLOPs, HBM traffic, collectives and the least time that a run can take.

Reads the optimised HLO text, because `Compiled.cost_analysis` counts the body of a loop once, however often it runs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "bf16": 16, "token": 0, "opaque": 0}  # others carry their width in their name
_FREE = {  # neither computes nor touches memory by itself
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "partition-id",
    "replica-id",
    "copy-done",
    "slice-done",
    "async-done",
    "async-update",
    "opt-barrier",
    "iota",
}
_ARRAY = re.compile(r"\b([a-z]+[0-9]*[a-z0-9]*)\[([0-9,<=]*)\](?:\{([^{}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%?[\w.\-]+)"
)


class Rates(NamedTuple):
    """Peak rates of a device, per second.

    Matrix FLOPs, bytes of its memory, and bytes sent to other devices.
    """

    flops: float
    hbm: float
    link: float


class Traffic(NamedTuple):
    """Collectives of one kind.

    How many run, and the bytes that a device sends for them on a ring.
    """

    runs: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one run of a program costs a device.

    Attributes:
      flops: of matrix products and convolutions.
      bytes: read from and written to HBM; what stays in on-chip memory is not counted.
      collectives: `Traffic` by kind.
      busy_s: seconds if every instruction runs at the rate that limits it, one after the other; 0 without `Rates`.
      link_s: seconds that the collectives take.
    """

    flops: float = 0.0
    bytes: float = 0.0
    collectives: Mapping[str, Traffic] = dataclasses.field(default_factory=dict)
    busy_s: float = 0.0
    link_s: float = 0.0

    @property
    def seconds(self) -> float:
        """The least time: collectives can hide behind computation, and computation behind collectives."""
        return max(self.busy_s, self.link_s)

    def __add__(self, other: Cost) -> Cost:
        kinds = {*self.collectives, *other.collectives}
        none = Traffic(0, 0)
        merged = {
            kind: Traffic(*map(sum, zip(self.collectives.get(kind, none), other.collectives.get(kind, none))))
            for kind in sorted(kinds)
        }
        busy_s, link_s = self.busy_s + other.busy_s, self.link_s + other.link_s
        return Cost(self.flops + other.flops, self.bytes + other.bytes, merged, busy_s, link_s)

    def __mul__(self, times: float) -> Cost:
        collectives = {kind: Traffic(n * times, size * times) for kind, (n, size) in self.collectives.items()}
        return Cost(self.flops * times, self.bytes * times, collectives, self.busy_s * times, self.link_s * times)


class _Instruction(NamedTuple):
    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    rest: str  # operands in full and attributes
    root: bool


class _Call(NamedTuple):
    """The calling context of a fusion.

    It gives the values of the fusion's parameters in the computation around it.
    """

    computation: str
    operands: tuple[str, ...]
    outer: _Call | None


class _Value(NamedTuple):
    """An instruction, and where it stands."""

    computation: str
    made_by: _Instruction
    outer: _Call | None


def _constant(value: _Value) -> int | None:
    """The integer value of a constant; None if it is computed."""
    found = re.match(r"\((-?\d+)\)", value.made_by.rest) if value.made_by.opcode == "constant" else None
    return int(found[1]) if found else None


def _closing(text: str, start: int) -> int:
    """Index of the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError(f"unbalanced parentheses in the HLO line {text[:80]!r}")


def _instruction(line: str) -> _Instruction | None:
    head, equals, body = line.strip().partition(" = ")
    if not equals or not head.removeprefix("ROOT ").startswith("%"):
        return None
    body = re.sub(r"/\*.*?\*/", "", body)
    end = _closing(body, 0) + 1 if body.startswith("(") else body.index(" ")
    kind, rest = body[:end], body[end:].strip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[opening : closing + 1]))
    name = head.removeprefix("ROOT ").lstrip("%")
    return _Instruction(name, kind, rest[:opening], operands, rest[opening:], root=head.startswith("ROOT "))


def _arrays(kind: str, hbm_only: bool = True):
    """(bits, dimensions) of every array in a type.

    With `hbm_only`, of those in the default memory space.
    """
    for name, dims, layout in _ARRAY.findall(kind):
        if hbm_only and (space := re.search(r"S\((\d+)\)", layout)) and space[1] != "0":
            continue
        bits = _BITS.get(name) or int((re.search(r"\d+", name) or [0])[0])
        yield bits, [int(n.removeprefix("<=")) for n in dims.split(",") if n]


def _bytes(kind: str, hbm_only: bool = True) -> float:
    return sum(bits / 8 * math.prod(dims) for bits, dims in _arrays(kind, hbm_only))


def _dims(kind: str) -> list[int]:
    return next(_arrays(kind, hbm_only=False))[1]


def _integers(text: str, attribute: str) -> list[int]:
    found = re.search(attribute + r"=\{([0-9,]*)\}", text)
    return [int(n) for n in found[1].split(",") if n] if found else []


class _Module:
    """The computations of an HLO module, and their costs."""

    def __init__(self, text: str, trips: Sequence[float], rates: Rates | None):
        self.trips, self.rates = tuple(trips), rates
        self.computations: dict[str, dict[str, _Instruction]] = {}
        current: dict[str, _Instruction] | None = None
        for line in text.splitlines():
            if current is None:
                if found := _COMPUTATION.match(line):
                    current = self.computations[found[2]] = {}
                    if found[1]:
                        self.entry = found[2]
            elif line.startswith("}"):
                current = None
            elif instruction := _instruction(line):
                current[instruction.name] = instruction

    def _called(self, instruction: _Instruction) -> dict[str, list[str]]:
        found = {}
        for match in _CALLED.finditer(instruction.rest):
            found[match[0].partition("=")[0]] = re.findall(r"[\w.\-]+", match[1])
        return found

    @functools.cache  # noqa: B019  the module lives for one analysis
    def cost(self, name: str, depth: int = 0) -> Cost:
        """The cost of a computation inside `depth` loops of unknown length."""
        total, seen = Cost(), set[str]()
        for instruction in self.computations[name].values():
            if instruction.opcode in _FREE:
                continue
            total += self._control(name, instruction, depth) or self._plain(name, instruction, seen)
        return total

    def _control(self, name: str, instruction: _Instruction, depth: int) -> Cost | None:
        """The cost of an instruction that runs other computations step by step.

        None for other instructions.
        """
        called = self._called(instruction)
        if instruction.opcode == "while":
            trips = self._trip_count(name, instruction, called["condition"][0], called["body"][0])
            if trips is not None:
                return self.cost(called["body"][0], depth) * trips
            trips_inside = self.trips[min(depth, len(self.trips) - 1)] if self.trips else 1
            return self.cost(called["body"][0], depth + 1) * trips_inside
        if instruction.opcode == "conditional":
            branches = [self.cost(b, depth) for names in called.values() for b in names]
            return max(branches, key=lambda cost: (cost.seconds, cost.flops))
        if instruction.opcode in ("call", "async-start"):
            return sum((self.cost(n, depth) for n in called.get("calls", called.get("to_apply", []))), Cost())
        return None

    def _trip_count(self, name: str, loop: _Instruction, condition: str, body: str) -> int | None:
        """Trip count of a loop from one constant to another.

        None if it depends on data.
        """
        if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(known[1])
        less = self._source(condition, self._root(condition).name)
        if less.made_by.opcode != "compare" or "direction=LT" not in less.made_by.rest:
            return None
        counter, limit = (self._source(less.computation, operand, less.outer) for operand in less.made_by.operands)
        index = re.search(r"index=(\d+)", counter.made_by.rest)
        if counter.made_by.opcode != "get-tuple-element" or index is None:
            return None
        begin = self._source(name, loop.operands[0], index=int(index[1]))
        after = self._source(body, self._root(body).name, index=int(index[1]))
        if after.made_by.opcode != "add":
            return None
        added = (_constant(self._source(after.computation, o, after.outer)) for o in after.made_by.operands)
        step = next((value for value in added if value is not None), None)
        first, last = _constant(begin), _constant(limit)
        return None if first is None or last is None or step is None else -(-(last - first) // step)

    def _root(self, computation: str) -> _Instruction:
        return next(i for i in self.computations[computation].values() if i.root)

    def _source(self, computation: str, name: str, outer: _Call | None = None, index: int | None = None) -> _Value:
        """Where a value, or part `index` of a tuple, is computed.

        The search looks through copies, tuples and fusions.
        """
        made_by = self.computations[computation][name]
        if made_by.opcode in ("copy", "bitcast", "copy-start", "copy-done"):
            return self._source(computation, made_by.operands[0], outer, index)
        if made_by.opcode == "tuple" and index is not None:
            return self._source(computation, made_by.operands[index], outer)
        if made_by.opcode == "fusion":
            (fused,) = self._inside(made_by)
            call = _Call(computation, made_by.operands, outer)
            return self._source(fused, self._root(fused).name, call, index)
        if made_by.opcode == "parameter" and outer is not None:
            return self._source(outer.computation, outer.operands[_parameter_number(made_by)], outer.outer, index)
        if made_by.opcode == "get-tuple-element" and index is None:
            part = int(_match(r"index=(\d+)", made_by.rest)[1])
            found = self._source(computation, made_by.operands[0], outer, part)
            return _Value(computation, made_by, outer) if found.made_by.opcode == "parameter" else found
        return _Value(computation, made_by, outer)

    def _plain(self, name: str, instruction: _Instruction, seen: set) -> Cost:
        """The cost of one instruction that runs as a whole.

        `seen` holds the channels counted before.
        """
        flops = self._flops(name, instruction)
        size = self._traffic(name, instruction)
        flops_rate, hbm_rate, link_rate = self.rates or (math.inf,) * 3
        cost = Cost(flops, size, busy_s=max(flops / flops_rate, size / hbm_rate))
        for kind, traffic in self._collectives(name, instruction, seen):
            cost += Cost(collectives={kind: traffic}, link_s=traffic.bytes / link_rate)
        return cost

    def _inside(self, instruction: _Instruction) -> list[str]:
        return self._called(instruction).get("calls", []) if instruction.opcode == "fusion" else []

    def _flops(self, name: str, instruction: _Instruction) -> float:
        for fused in self._inside(instruction):
            return sum(self._flops(fused, i) for i in self.computations[fused].values())
        if instruction.opcode not in ("dot", "convolution"):
            return 0.0
        left, right = (_dims(self.computations[name][o].type) for o in instruction.operands[:2])
        out = _dims(instruction.type)
        if instruction.opcode == "dot":
            contracted = _integers(instruction.rest, "lhs_contracting_dims")
            return 2.0 * math.prod(out) * math.prod(left[d] for d in contracted)
        return _convolution_flops(instruction.rest, left, right, out)

    def _traffic(self, name: str, instruction: _Instruction) -> float:
        """Bytes of HBM that an instruction reads and writes.

        Slices and scatters count what they move.
        """
        here = self.computations[name]
        kinds = [here[o].type for o in instruction.operands]
        if instruction.opcode == "copy-start":
            return _bytes(kinds[0]) + _bytes(_nth_array(instruction.type, 0))
        if instruction.opcode == "slice-start":
            taken = _nth_array(instruction.type, 1)
            return min(_bytes(kinds[0]), _bytes(taken, False)) + _bytes(taken)
        if instruction.opcode in ("dynamic-slice", "gather", "slice"):
            return _bytes(instruction.type) + min(_bytes(kinds[0]), _bytes(instruction.type, False))
        if instruction.opcode == "dynamic-update-slice":
            return 2 * _bytes(kinds[1], False) if _bytes(kinds[0]) else _bytes(kinds[1])
        if instruction.opcode == "scatter":
            return 2 * sum(map(_bytes, _scattered(kinds)))
        for fused in self._inside(instruction):
            return self._fused_reads(fused, kinds) + self._fused_writes(fused, instruction)
        return sum(map(_bytes, kinds)) + _bytes(instruction.type)

    def _fused_reads(self, fused: str, kinds: Sequence[str]) -> float:
        total = 0.0
        for parameter in (i for i in self.computations[fused].values() if i.opcode == "parameter"):
            kind = kinds[_parameter_number(parameter)]
            if _bytes(kind):
                taken = self._taken(fused, parameter.name)
                total += _bytes(kind) if taken is None else min(_bytes(kind), taken)
        return total

    def _taken(self, computation: str, name: str) -> float | None:
        """Bytes of a value that a fused computation touches.

        None: all of it.
        """
        inside, total = self.computations[computation], 0.0
        for user in (i for i in inside.values() if name in i.operands):
            if user.opcode == "bitcast":
                taken = self._taken(computation, user.name)
            elif user.opcode == "fusion":  # a fusion within one
                (fused,) = self._inside(user)
                inner = {
                    _parameter_number(i): i.name for i in self.computations[fused].values() if i.opcode == "parameter"
                }
                places = [inner[index] for index, operand in enumerate(user.operands) if operand == name]
                parts = [
                    self._taken(computation, user.name) if self._passes(fused, place) else self._taken(fused, place)
                    for place in places
                ]
                whole = [part for part in parts if part is not None]
                taken = sum(whole) if len(whole) == len(parts) else None
            else:
                continued = user.opcode in COLLECTIVES and _continues(computation)
                taken = 0.0 if continued else _slice_bytes(inside, user, name)
            if taken is None:
                return None
            total += taken
        return total

    def _passes(self, computation: str, name: str) -> bool:
        """Whether a computation returns its value `name`, apart from the shape."""
        given = self._root(computation)
        while given.opcode == "bitcast":
            given = self.computations[computation][given.operands[0]]
        return given.name == name

    def _fused_writes(self, fused: str, instruction: _Instruction) -> float:
        inside = self.computations[fused]
        root = self._root(fused)
        parts = [inside[o] for o in root.operands] if root.opcode == "tuple" else [root]
        outer = [instruction.type] if root.opcode != "tuple" else [m[0] for m in _ARRAY.finditer(instruction.type)]
        total = 0.0
        for part, kind in zip(parts, outer, strict=False):
            while part.opcode == "bitcast":
                part = inside[part.operands[0]]
            if part.opcode == "dynamic-update-slice" and _bytes(kind):
                total += _bytes(inside[part.operands[1]].type, False)
            elif part.opcode == "scatter" and _bytes(kind):
                total += sum(_bytes(k, False) for k in _scattered([inside[o].type for o in part.operands]))
            elif part.opcode != "parameter" and not (part.opcode in COLLECTIVES and _continues(fused)):
                # one that is passed through is not written
                total += _bytes(kind)
        return total

    def _collectives(self, name: str, instruction: _Instruction, seen: set):
        """(kind, `Traffic`) of the collective that an instruction is or holds.

        An asynchronous one shows in each of the fusions that begin, continue and end it, under one channel.
        """
        for fused in self._inside(instruction):
            for inner in self.computations[fused].values() if not _continues(fused) else ():
                yield from self._collectives(fused, inner, seen)
            return
        kind = instruction.opcode.removesuffix("-start")
        channel = re.search(r"channel_id=(\d+)", instruction.rest)
        if kind not in COLLECTIVES or (channel and channel[1] in seen):
            return
        if channel:
            seen.add(channel[1])
        here = self.computations[name]
        sent = sum(_bytes(here[o].type, False) for o in instruction.operands)
        users = [i for i in here.values() if instruction.name in i.operands]
        if kind == "all-reduce" and users and all(u.opcode == "dynamic-slice" and u.root for u in users):
            kind = "reduce-scatter"  # how a TPU's compiler writes it
        devices = _group_size(instruction.rest)
        share = (devices - 1) / devices
        factor = {"all-gather": devices - 1, "all-reduce": 2 * share, "collective-permute": 1}.get(kind, share)
        yield kind, Traffic(1, sent * factor)


def _continues(computation: str) -> bool:
    """Whether a fusion of this computation continues an earlier collective.

    The collective may have begun outside of a loop.
    """
    return computation.startswith("async_collective_fusion")


def _match(pattern: str, text: str) -> re.Match[str]:
    if (match := re.search(pattern, text)) is None:
        raise ValueError(f"there is no {pattern} in {text!r:.200}")
    return match


def _parameter_number(parameter: _Instruction) -> int:
    return int(_match(r"^\((\d+)\)", parameter.rest)[1])


def _nth_array(kind: str, n: int) -> str:
    return list(_ARRAY.finditer(kind))[n][0]


def _slice_bytes(inside: Mapping[str, _Instruction], user: _Instruction, name: str) -> float | None:
    """Bytes of a value that one user inside a fusion touches.

    None: all of it.
    """
    if user.opcode in ("dynamic-slice", "gather", "slice") and user.operands[0] == name:
        return _bytes(user.type, False)
    written = {"dynamic-update-slice": 1, "scatter": len(user.operands) // 2}.get(user.opcode, 0)
    if name in user.operands[:written]:
        return 0.0  # written in place; the fusion's output counts it
    return None


def _scattered(kinds: Sequence[str]) -> Sequence[str]:
    """Types of a scatter's updates, from those of its operands.

    The operands are arrays, one set of indices, and as many updates as arrays.
    """
    return kinds[len(kinds) // 2 + 1 :]


def _group_size(attributes: str) -> int:
    """How many devices take part in each group of a collective."""
    if "source_target_pairs" in attributes:
        return 2
    groups = _match(r"replica_groups=(.*)", attributes)[1]
    if listed := re.match(r"\{\{([0-9,]+)\}", groups):
        return len(listed[1].split(","))
    if iota := re.match(r"\[(\d+),(\d+)\]", groups):
        return int(iota[2])
    if mesh := re.match(r"mesh\[([^\]]*)\] \{([^}]*)\}", groups):
        sizes = dict(re.findall(r"('[^']*')=(\d+)", mesh[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'[^']*'", mesh[2]))
    return 2


def _convolution_flops(attributes: str, left: list[int], right: list[int], out: list[int]) -> float:
    """FLOPs of a convolution, 2 × multiply-adds.

    A batched product is written as a convolution whose window meets one element of each batch.
    """
    inputs, kernel, outputs = _match(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes).groups()
    window = re.search(r"window=\{([^}]*)\}", attributes)
    settings = dict(part.split("=") for part in window[1].split()) if window else {}

    def setting(name, index, default):
        return int(settings[name].split("x")[index]) if name in settings else default

    pairs = 1.0
    for index in range(len(kernel) - 2):
        label = str(index)
        size, taps, length = out[outputs.index(label)], right[kernel.index(label)], left[inputs.index(label)]
        pad = int(settings["pad"].split("x")[index].split("_")[0]) if "pad" in settings else 0
        dilation = setting("lhs_dilate", index, 1)
        at = (
            np.arange(size)[:, None] * setting("stride", index, 1)
            + np.arange(taps) * setting("rhs_dilate", index, 1)
            - pad
        )
        pairs *= float(np.sum((at >= 0) & (at % dilation == 0) & (at // dilation < length)))
    return 2.0 * pairs * out[outputs.index("b")] * out[outputs.index("f")] * right[kernel.index("i")]


def program_cost(text: str, trips: Sequence[float] = (), rates: Rates | None = None) -> Cost:
    """The cost of one run of a program, from `Compiled.as_text()`.

    A loop that counts to a constant is multiplied by its trip count. `trips` gives those of loops that depend on data,
    by nesting depth among such loops: the last entry holds for all deeper ones, and without any each runs once.
    """
    module = _Module(text, trips, rates)
    return module.cost(module.entry)
