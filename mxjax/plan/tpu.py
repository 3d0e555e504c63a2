"""TPU slices by name: chips, hosts, rates, and devices for the compiler.

Figures of chips are those that Google publishes, except `hbm_bytes`: what the compiler lets a program use.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import re

import jax

from mxjax.errors import UserError
from mxjax.plan.hlo import Rates

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One kind of chip.

    It has the usable HBM in bytes, and bf16 FLOPs, HBM bytes and bytes sent to other chips per second. `host` is the
    shape of a host's chips in a slice of several hosts, `alone` the most chips of a single host, `dimensions` those of
    the torus, `cores` the TensorCores of a chip, `smallest` and `largest` the chips of the slices on offer.
    """

    hbm_bytes: int
    rates: Rates
    host: tuple[int, ...]
    alone: int
    smallest: int
    largest: int
    cores: int = 1

    @property
    def sizes(self) -> list[int]:
        """Chips of the slices on offer.

        They are the smallest slice, a host, and doublings of it.
        """
        host = math.prod(self.host)
        doublings = (self.largest // host).bit_length()
        return sorted({self.smallest, *(host << doubling for doubling in range(doublings))})

    def on_host(self, chips: int) -> int:
        """Chips per host in a slice of so many chips.

        A small slice has one host.
        """
        return chips if chips <= self.alone else math.prod(self.host)

    @property
    def dimensions(self) -> int:
        """Dimensions of the torus that the chips form."""
        return len(self.host)


CHIPS = {
    "v5e": Chip(int(15.75 * GIB), Rates(197e12, 819e9, 200e9), (2, 2), alone=8, smallest=1, largest=256),
    "v5p": Chip(int(95.73 * GIB), Rates(459e12, 2765e9, 600e9), (2, 2, 1), alone=4, smallest=4, largest=6144, cores=2),
    "v6e": Chip(int(31.24 * GIB), Rates(918e12, 1638e9, 400e9), (2, 2), alone=8, smallest=1, largest=256),
}
_ALIASES = {"v5litepod": "v5e", "v5lite": "v5e"}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice: its kind of chip ("v5e") and its layout (8, 8)."""

    kind: str
    shape: tuple[int, ...]

    @property
    def chip(self) -> Chip:
        """What one of its chips can do."""
        return CHIPS[self.kind]

    @property
    def chips(self) -> int:
        """How many chips it has."""
        return math.prod(self.shape)

    @property
    def hosts(self) -> int:
        """How many hosts it has; the smallest slices share one."""
        return self.chips // self.chip.on_host(self.chips)

    @property
    def host(self) -> Slice:
        """The chips of one host, as a slice."""
        return Slice(self.kind, self.chip.host) if self.hosts > 1 else self

    def __str__(self) -> str:
        return f"{self.kind}:{'x'.join(map(str, self.shape))}"

    def devices(self) -> list:
        """Devices to compile for, on any machine with libtpu.

        Raises ValueError where libtpu is absent. The calling process must not use a TPU of its own;
        ALLOW_MULTIPLE_LIBTPU_LOAD=1 lets several such processes run.
        """
        if importlib.util.find_spec("libtpu") is None:
            raise UserError(
                "compiling for a TPU needs the libtpu package; install it with: pip install 'mxjax[plan]' "
                "(or let --cpu take the figures from simulated devices)"
            )
        from jax.experimental import topologies

        try:
            return list(topologies.get_topology_desc(platform="tpu", topology_name=str(self)).devices)
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"the TPU compiler has no slice {self}: {reason}") from None


def parse_slice(name: str) -> Slice:
    """Parse a topology ("v5e:8x8") or an accelerator type ("v5litepod-64") into a slice.

    "v5p-16" and "v6e-32" are accelerator types too. The number in a v5p type counts TensorCores, of which a chip has
    two. Raises ValueError for a name that is neither.
    """
    match = re.fullmatch(r"(v\d\w*?)(?::(\d+(?:x\d+)*)|-(\d+))", name.strip().lower())
    kind = _ALIASES.get(match[1], match[1]) if match else ""
    if match is None or kind not in CHIPS:
        raise UserError(
            f"--topology={name} is no known slice; write a topology such as v5e:8x8, v5p:2x2x2 or v6e:4x8, or an "
            "accelerator type such as v5litepod-64, v5p-16 or v6e-32"
        )
    chip = CHIPS[kind]
    if match[2]:
        shape = tuple(map(int, match[2].split("x")))
        if len(shape) != chip.dimensions or 0 in shape:
            example = f"{kind}:{'x'.join(map(str, chip.host))}"
            raise UserError(f"--topology={name}: {kind} slices have {chip.dimensions} dimensions, such as {example}")
        return Slice(kind, shape)
    chips, rest = divmod(int(match[3]), chip.cores)
    if rest or chips < 1 or chips & (chips - 1):
        numbers = f"{chip.cores}, {2 * chip.cores}, {4 * chip.cores}, ..."
        raise UserError(f"--topology={name}: {kind} slices have {numbers} as their number")
    return Slice(kind, _shape(chips, chip))


def _shape(chips: int, chip: Chip) -> tuple[int, ...]:
    """The usual layout of a power of two of chips.

    It is close to a square or a cube: 2x2, 2x4, 4x4; 2x2x1, 2x2x2, 2x2x4.
    """
    doublings = chips.bit_length() - 1
    sides = tuple(2 ** ((doublings + i) // chip.dimensions) for i in range(chip.dimensions))
    return sides if sides[0] > 1 else sides[::-1]
