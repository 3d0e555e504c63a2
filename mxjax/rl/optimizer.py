"""The optimiser and the training state.

The state holds the policies and one optimiser state per owner; idle ones can be parked on the host. Each role owns an
AdamW state in stage modes. Sharing one and switching learning rates, as the reference does, makes most of a stage's
first updates the other role's left-over momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mxjax.errors import UserError
from mxjax.rl.stages import MODES, ROLES
from mxjax.sharding import to_memory

SCHEDULES = ("constant", "cosine", "linear")
SHARED, COUPLED, SFT = "shared", "coupled", "sft"
SETTINGS = (
    "learning_rate",
    "b1",
    "b2",
    "eps",
    "weight_decay",
    "clip_norm",
    "schedule",
    "warmup_steps",
    "total_steps",
)


def _check(settings: Mapping[str, Any]) -> None:
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise UserError(f"unknown optimizer settings {', '.join(unknown)}; known: {', '.join(SETTINGS)}")
    if missing := [name for name in SETTINGS if name not in settings]:
        raise UserError(f"the optimizer needs settings of {', '.join(missing)}")
    if settings["schedule"] not in SCHEDULES:
        raise UserError(f"schedule must be one of {', '.join(SCHEDULES)}, got {settings['schedule']!r}")
    if settings["schedule"] != "constant" and settings["total_steps"] <= settings["warmup_steps"]:
        raise UserError(
            f"the schedule {settings['schedule']!r} needs total_steps above warmup_steps "
            f"({settings['warmup_steps']}), got {settings['total_steps']}"
        )


def learning_rate_schedule(settings: Mapping[str, Any]) -> optax.Schedule:
    """Learning rate as a function of the optimiser's own update count.

    Settings are as in `make_optimizer`. The rate warms up linearly over `warmup_steps` updates (the first one already
    moves), then stays constant, or falls as a cosine or linearly to 0 at `total_steps`.
    """
    _check(settings)
    peak, warmup, total = settings["learning_rate"], settings["warmup_steps"], settings["total_steps"]

    def schedule(count):
        warm = jnp.minimum(1.0, (count + 1) / max(1, warmup))
        progress = jnp.clip((count - warmup) / max(1, total - warmup), 0.0, 1.0)
        factor = {"constant": 1.0, "cosine": 0.5 * (1 + jnp.cos(jnp.pi * progress)), "linear": 1 - progress}
        return peak * warm * factor[settings["schedule"]]

    return schedule


def _decayed(params) -> Any:
    """Which parameters weight decay acts on: all but norms and biases."""
    spared = ("norm", "bias")
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not any(word in jax.tree_util.keystr(path) for word in spared), params
    )


def make_optimizer(settings: Mapping[str, Any]) -> optax.GradientTransformation:
    """AdamW with a global-norm clip and a learning-rate schedule.

    Norms and biases have no weight decay. `settings` are those of `rl.optimizer` or `sft.optimizer` (docs/settings.md).
    The schedule counts this optimiser's updates, so a role's clock stands still while the other learns. Moments and
    updates are float32, whatever the parameters are; see `apply_updates`. Raises ValueError for unknown or missing
    settings, and for a schedule that ends before its warm-up.
    """
    schedule, s = learning_rate_schedule(settings), settings
    clip = optax.identity() if s["clip_norm"] is None else optax.clip_by_global_norm(s["clip_norm"])
    return optax.chain(
        clip,
        _with_float32_state(optax.scale_by_adam(s["b1"], s["b2"], s["eps"])),
        optax.add_decayed_weights(s["weight_decay"], mask=_decayed),
        optax.scale_by_learning_rate(schedule),
    )


def _with_float32_state(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wrap a transformation so that its state is always float32.

    This holds for bfloat16 parameters too.
    """

    def init(params):
        return transformation.init(jax.tree.map(lambda p: p.astype(jnp.float32), params))

    return optax.GradientTransformation(init, transformation.update)


def apply_updates(params: Any, updates: Any, seed: jax.Array) -> Any:
    """params + updates, in the parameters' dtypes.

    A sum is rounded to bfloat16 stochastically, to either neighbour with the probability that keeps its mean: a
    learning rate of 1e-5 moves a weight by much less than half of its last bit, and rounding to the nearest would
    leave it where it is. `seed` (an integer scalar) decides; float32 parameters do not depend on it.
    """
    leaves, structure = jax.tree.flatten(params)
    moved = jax.tree.leaves(optax.apply_updates(jax.tree.map(lambda p: p.astype(jnp.float32), params), updates))
    for index, leaf in enumerate(leaves):
        if leaf.dtype == jnp.bfloat16:
            key = jax.random.fold_in(jax.random.key(index), seed)
            noise = jax.random.bits(key, leaf.shape, jnp.uint16).astype(jnp.uint32)
            bits = jax.lax.bitcast_convert_type(moved[index], jnp.uint32) + noise
            moved[index] = jax.lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)
    return jax.tree.unflatten(structure, moved)


def all_finite(tree: Any) -> jax.Array:
    """Whether every number of every array is finite, bool[]; whole numbers are."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all() if floats else jnp.array(True)


@flax.struct.dataclass
class TrainState:
    """Everything that training changes; a pytree.

    Attributes:
      policies: {"shared": params} or {"designer": params, "executor": params}.
      optimizers: optax states by owner: a role's name, "coupled" or "sft".
      step: how many RL (or SFT) steps were taken; an RL step may hold several optimiser steps, or none.
    """

    policies: dict[str, Any]
    optimizers: dict[str, Any]
    step: int = 0


def init_state(
    policies: Mapping[str, Any], optimizer: optax.GradientTransformation, mode: str = "stagewise"
) -> TrainState:
    """A fresh state at step 0 for `mode`.

    `mode` is one of `role_weights`, or "sft".

    Optimiser states: one per role that the mode trains; in mode "coupled" on a shared policy a single "coupled" one;
    in mode "sft" one called "sft" on a shared policy, else one per policy. They are laid out like the parameters.
    The state owns its arrays (updates donate them): parameters that two policies share are copied, and a caller who
    still needs `policies` keeps a copy. From `jax.ShapeDtypeStruct` leaves it makes a state of such, to restore into.
    Raises ValueError for an unknown mode or other policy names.
    """
    names = set(policies)
    if names not in ({SHARED}, set(ROLES)):
        raise UserError(f"policies must be named shared, or designer and executor; got {', '.join(sorted(names))}")
    if mode not in (*MODES, SFT):
        raise UserError(f"rl.mode must be one of {', '.join(MODES)}, or sft; got {mode!r}")
    shared = SHARED in names
    owners = {
        "stagewise": ROLES,
        "coupled": (COUPLED,) if shared else ROLES,
        "designer_only": ("designer",),
        "executor_only": ("executor",),
        SFT: (SFT,) if shared else ROLES,
    }[mode]
    policies = _unaliased(dict(policies))
    optimizers = {owner: init_optimizer(optimizer, policies[SHARED if shared else owner]) for owner in owners}
    return TrainState(policies=policies, optimizers=optimizers, step=0)


def _unaliased(policies: dict) -> dict:
    """The policies, with any leaf that occurs twice copied.

    A donated array must have one owner.
    """
    seen: set[int] = set()

    def own(leaf):
        if id(leaf) in seen:
            return jnp.copy(leaf)
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(own, policies)


def optimizer_shardings(optimizer: optax.GradientTransformation, params: Any, shardings: Any, other: Any) -> Any:
    """The optimiser state's shardings: moments like the parameters' `shardings`, everything else `other`."""
    state = jax.eval_shape(optimizer.init, params)
    return optax.tree_map_params(
        optimizer, lambda _, sharding: sharding, state, shardings, transform_non_params=lambda _: other
    )


def init_optimizer(optimizer: optax.GradientTransformation, params: Any) -> Any:
    """A fresh optimiser state, laid out like `params`; abstract if they are."""
    leaf = jax.tree.leaves(params)[0]
    shardings = None
    if isinstance(leaf.sharding, jax.sharding.NamedSharding):
        replicated = jax.sharding.NamedSharding(leaf.sharding.mesh, jax.sharding.PartitionSpec())
        shardings = optimizer_shardings(optimizer, params, jax.tree.map(lambda p: p.sharding, params), replicated)
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.jit(optimizer.init, out_shardings=shardings)(params)
    state = jax.eval_shape(optimizer.init, params)
    placed = lambda struct, sharding: jax.ShapeDtypeStruct(struct.shape, struct.dtype, sharding=sharding)
    return state if shardings is None else jax.tree.map(placed, state, shardings)


def reset_moments(optimizer_state: Any, how: str, fresh: Any) -> Any:
    """The state of an optimiser whose role becomes active again.

    `how` is "keep" (unchanged), "reset_mu" (first moments 0; second moments and count kept) or "reset" (`fresh`).
    """
    if how == "keep":
        return optimizer_state
    if how == "reset":
        return fresh
    return optax.tree.set(optimizer_state, mu=optax.tree.get(fresh, "mu"))


def park(tree: Any) -> Any:
    """Move arrays to pinned host memory, if their device has it.

    An optimiser state that is not being trained needs no HBM.
    """
    return jax.tree.map(lambda x: to_memory(x, "pinned_host"), tree)


def unpark(tree: Any) -> Any:
    """The arrays moved back to their device's own memory."""
    return jax.tree.map(lambda x: to_memory(x, None), tree)


def parking_helps() -> bool:
    """Whether parking frees device memory.

    It does on accelerators; a CPU's device memory is the host's.
    """
    return jax.default_backend() != "cpu"


def update_count(optimizer_state: Any) -> int:
    """How many updates an optimiser state from `make_optimizer` has taken."""
    counts = optax.tree.get_all_with_path(optimizer_state, "count")
    return int(np.asarray(counts[0][1]))
