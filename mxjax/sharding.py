"""The mesh, and one table of rules from logical to mesh axes.

Model code names what an axis means ("heads", "batch"); only this file knows which devices that goes to.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from mxjax.errors import UserError

_log = logging.getLogger(__name__)

MESH_AXES = ("data", "fsdp", "tensor")
AnyMesh = Mesh | AbstractMesh

RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "slots": ("data", "fsdp"),
    "embed": ("fsdp",),
    "vocab": ("tensor",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "layers": (),
}


def make_mesh(shape: Mapping[str, int] | None = None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with the axes data, fsdp, tensor.

    `shape` gives sizes by name; one of them may be -1 (the rest). The default puts every device on `fsdp`. Raises
    ValueError when the sizes do not multiply to the device count.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = {axis: 1 for axis in MESH_AXES}
    unknown = set(shape or {}) - set(MESH_AXES)
    if unknown:
        raise UserError(f"unknown mesh axes {sorted(unknown)}; known: {', '.join(MESH_AXES)}")
    sizes.update(shape if shape else {"fsdp": -1})
    free = [axis for axis, size in sizes.items() if size == -1]
    fixed = 1
    for size in sizes.values():
        fixed *= size if size != -1 else 1
    if len(free) > 1:
        raise UserError(f"only one mesh axis may be -1, got {dict(sizes)}")
    if free:
        sizes[free[0]] = max(1, len(devices) // fixed)
    count = fixed * (sizes[free[0]] if free else 1)
    if count != len(devices):
        raise UserError(f"mesh {dict(sizes)} needs {count} devices, there are {len(devices)}; set mesh.* to match")
    return jax.make_mesh(
        tuple(sizes.values()), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES), devices=devices
    )


def partition_spec(mesh_shape: Mapping[str, int], axes: Sequence[str | None], shape: Sequence[int]) -> PartitionSpec:
    """PartitionSpec of an array with these logical axes.

    Mesh axes that do not divide a dimension are left out.
    """
    entries = []
    for axis, size in zip(axes, shape, strict=True):
        used = []
        for mesh_axis in RULES[axis] if axis else ():
            ways = mesh_shape.get(mesh_axis, 1)
            if ways > 1 and size % ways == 0:
                used.append(mesh_axis)
                size //= ways
        entries.append(tuple(used) if len(used) > 1 else used[0] if used else None)
    return PartitionSpec(*entries)


def warn_replicated(mesh_shape: Mapping[str, int], axes: Sequence[str | None], shape: Sequence[int]) -> None:
    """Warn once of each axis that must be replicated.

    Such an axis does not divide over the mesh.
    """
    for axis, size in zip(axes, shape, strict=True):
        for mesh_axis in RULES[axis] if axis else ():
            if size % mesh_shape.get(mesh_axis, 1):
                _warn_replicated(axis, size, mesh_axis, mesh_shape[mesh_axis])


@functools.cache
def _warn_replicated(axis: str, size: int, mesh_axis: str, ways: int) -> None:
    _log.warning("%s (%d) does not divide over mesh.%s=%d: it is replicated", axis, size, mesh_axis, ways)


def named_sharding(mesh: AnyMesh, axes: Sequence[str | None], shape: Sequence[int]) -> NamedSharding:
    """Sharding on `mesh` of an array with these axes and shape.

    Axes are logical.
    """
    return NamedSharding(mesh, partition_spec(mesh.shape, axes, shape))


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Pin a traced array to its logical axes under `jax.set_mesh`.

    Without a mesh it stays as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, partition_spec(mesh.shape, axes, x.shape))


def on_shards(function: Callable, inputs: Sequence[Sequence[str | None]], output: Sequence[str | None]) -> Callable:
    """Wrap `function` so that each device runs its own shards.

    This holds under `jax.set_mesh`; without a mesh, `function` runs as it is. Where the compiler divides a loop,
    devices exchange each step's sums; loops in here run on their own. `inputs` and `output` (one array, or several
    alike) are logical axes, the output's dimensions as the first input's. Mesh axes that split no input stay the
    compiler's.
    """

    def call(*arrays):
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.empty or mesh.size == 1:
            return function(*arrays)
        specs = tuple(partition_spec(mesh.shape, axes, jnp.shape(a)) for axes, a in zip(inputs, arrays, strict=True))
        entries = [entry for spec in specs for entry in spec if entry]
        used = {axis for entry in entries for axis in ([entry] if isinstance(entry, str) else entry)}
        if not used:
            return function(*arrays)
        result = partition_spec(mesh.shape, output, arrays[0].shape[: len(output)])
        mapped = jax.shard_map(function, in_specs=specs, out_specs=result, axis_names=used, check_vma=False)
        return mapped(*arrays)

    return call


def _memories(x: jax.Array) -> tuple[str, set[str]]:
    """Memory kinds of an array's devices: the default, and all."""
    device: Any = next(iter(x.sharding.addressable_devices))  # JAX's types say nothing of a device's memories
    return device.default_memory().kind, {memory.kind for memory in device.addressable_memories()}


def in_device_memory(x: jax.Array) -> bool:
    """Whether an array lies in its devices' own memory, where programs compute."""
    return x.sharding.memory_kind in (None, _memories(x)[0])


def to_memory(x: jax.Array, kind: str | None) -> jax.Array:
    """Move an array to another kind of memory.

    None means its devices' default. An array whose devices have no such memory is returned as it is.
    """
    default, kinds = _memories(x)
    kind = kind or default
    if x.sharding.memory_kind == kind or kind not in kinds:
        return x
    return jax.device_put(x, x.sharding.with_memory_kind(kind))
