"""The learner's compiled programs: zeros, accumulate, apply and score.

Each has one fixed shape. They are kept apart from the learner so that they can be lowered ahead of time, for any
topology, from shapes alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mxjax.models.config import ModelConfig
from mxjax.models.params import abstract_params, param_shardings
from mxjax.models.transformer import token_logprobs, token_stats
from mxjax.rl.losses import LossFn, Terms
from mxjax.rl.optimizer import all_finite, apply_updates, optimizer_shardings
from mxjax.rl.packing import ROW_DTYPES
from mxjax.sharding import named_sharding


class Programs:
    """The programs of one architecture, loss and row shape.

    Each is built, compiled once and run here.

    - `zeros() -> (gradients, stats)`
    - `accumulate(params, gradients, stats, rows) -> (gradients, stats)`: adds one micro-batch; both are donated.
      The loss is the sum over roles of sum(w l): `rows["weights_BT"]` must already hold w * alpha_r / sum of w_r.
    - `apply(params, optimizer_state, gradients, stats, seed) -> (params, optimizer_state, norm, ok)`: one optimiser
      step; params and state are donated, `seed` uint32[] is that of `apply_updates`. A loss, a gradient, a parameter or
      a moment that is not finite, or would not be, changes nothing, and `ok` is False.
    - `score(params, rows) -> logprobs f32[B, T]` at the rows' temperatures.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        optimizer: optax.GradientTransformation,
        loss: LossFn,
        roles: Sequence[str],
        shape: tuple[int, int],
        mesh: jax.sharding.Mesh | None = None,
    ):
        self.mesh = mesh
        self.abstract_params = abstract_params(cfg, mesh)
        self.params_sharding = self.state_sharding = self.rows_sharding = replicated = None
        if mesh is not None:
            replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
            self.params_sharding = param_shardings(cfg, mesh)
            self.state_sharding = optimizer_shardings(optimizer, self.abstract_params, self.params_sharding, replicated)
            self.rows_sharding = named_sharding(mesh, ("batch", None), shape)
        self.abstract_rows = {
            name: jax.ShapeDtypeStruct(shape, dtype, sharding=self.rows_sharding) for name, dtype in ROW_DTYPES.items()
        }
        losses = _role_losses(cfg, loss, roles)
        stats = jax.eval_shape(losses, self.abstract_params, self.abstract_rows)[1]
        p, s, r, rep = self.params_sharding, self.state_sharding, self.rows_sharding, replicated
        self._jitted = {
            "zeros": _jit(_zeros(self.abstract_params, stats), (), (p, rep), mesh),
            "accumulate": _jit(_accumulate(losses), (p, p, rep, r), (p, rep), mesh, donate=(1, 2)),
            "apply": _jit(_apply(optimizer), (p, s, p, rep, rep), (p, s, rep, rep), mesh, donate=(0, 1)),
            "score": _jit(_score(cfg), (p, r), r, mesh),
        }
        self.abstract_optimizer_state = jax.eval_shape(optimizer.init, self.abstract_params)
        self._compiled: dict[tuple, Any] = {}

    @property
    def compiles(self) -> int:
        """How many programs have been compiled so far."""
        return len(self._compiled)

    def lower(self, kind: str) -> jax.stages.Lowered:
        """Lower the program `kind` from shapes alone.

        For ahead-of-time compilation and memory analysis.
        """
        gradients, stats = jax.eval_shape(self._jitted["zeros"])
        arguments = {
            "zeros": (),
            "accumulate": (self.abstract_params, gradients, stats, self.abstract_rows),
            "apply": (self.abstract_params, self.abstract_optimizer_state, gradients, stats, np.uint32(0)),
            "score": (self.abstract_params, self.abstract_rows),
        }
        with self._in_mesh():
            return self._jitted[kind].lower(*arguments[kind])

    def run(self, kind: str, *arguments):
        """Run the program `kind`, compiling it for shapes not seen before."""
        leaves, structure = jax.tree.flatten(arguments)
        key = (kind, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._compiled:
            with self._in_mesh():
                self._compiled[key] = self._jitted[kind].lower(*arguments).compile()
        return self._compiled[key](*arguments)

    def _in_mesh(self):
        return contextlib.nullcontext() if self.mesh is None else jax.set_mesh(self.mesh)


def _jit(function, inputs, outputs, mesh, donate=()):
    if mesh is None:
        return jax.jit(function, donate_argnums=donate)
    return jax.jit(function, in_shardings=inputs, out_shardings=outputs, donate_argnums=donate)


def _role_losses(cfg: ModelConfig, loss: LossFn, roles: Sequence[str]):
    """(params, rows) -> (sum of the roles' losses, {role: Terms})."""

    def losses(params, rows):
        sequences = rows["tokens_BT"], rows["positions_BT"], rows["segment_ids_BT"]
        logprobs_BT, entropies_BT = token_stats(params, cfg, *sequences, temperature=rows["temperature_BT"])
        stats, total = {}, jnp.zeros((), jnp.float32)
        for index, role in enumerate(roles):
            weights_BT = jnp.where(rows["roles_BT"] == index, rows["weights_BT"], 0.0)
            stats[role] = loss(logprobs_BT, entropies_BT, rows, weights_BT)
            total += stats[role].sums["loss"][0]
        return total, stats

    return losses


def _zeros(params, stats):
    def zeros():
        return (
            jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params),
            jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), stats),
        )

    return zeros


def _accumulate(losses):
    def accumulate(params, gradients, stats, rows):
        (_, more), gradient = jax.value_and_grad(losses, has_aux=True)(params, rows)
        gradients = jax.tree.map(lambda total, g: total + g.astype(jnp.float32), gradients, gradient)
        return gradients, {role: _combine(stats[role], more[role]) for role in stats}

    return accumulate


def _combine(a: Terms, b: Terms) -> Terms:
    return Terms(jax.tree.map(jnp.add, a.sums, b.sums), jax.tree.map(jnp.maximum, a.maxima, b.maxima))


def _apply(optimizer: optax.GradientTransformation):
    def moved(params, optimizer_state, gradients, seed):
        updates, new_state = optimizer.update(gradients, optimizer_state, params)
        return apply_updates(params, updates, seed), new_state

    def apply(params, optimizer_state, gradients, stats, seed):
        norm = optax.tree.norm(gradients)
        losses = [terms.sums["loss"] for terms in stats.values()]  # each a sum and its weight
        # Computed twice: what decides is reduced on the way, where keeping it until then would hold all of it twice.
        here = jax.lax.optimization_barrier((params, optimizer_state, gradients))
        ahead = moved(here[0], here[1], here[2], seed)
        ok = jnp.isfinite(norm) & all_finite((losses, ahead))
        old = params, optimizer_state
        new = moved(params, optimizer_state, gradients, seed)
        params, optimizer_state = jax.tree.map(lambda new, old: jnp.where(ok, new, old), new, old)
        return params, optimizer_state, norm, ok

    return apply


def _score(cfg: ModelConfig):
    def score(params, rows):
        sequences = rows["tokens_BT"], rows["positions_BT"], rows["segment_ids_BT"]
        return token_logprobs(params, cfg, *sequences, temperature=rows["temperature_BT"])

    return score
