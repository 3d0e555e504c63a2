"""The one table of parameters: leaf -> shape, logical axes, initialiser.

Initial values, shapes for loading and restoring, and shardings of parameters and optimiser states all derive from it,
so a layout is changed in one place.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util

from mxjax.models.config import ModelConfig
from mxjax.sharding import AnyMesh, named_sharding, warn_replicated


class Leaf(NamedTuple):
    """One parameter: shape, logical axes, standard deviation at initialisation (None: ones)."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    std: float | None


def param_table(cfg: ModelConfig) -> dict:
    """Nested dict of `Leaf` in the structure of the parameters.

    Layers are stacked on the leading axis.
    """
    L, D, F, V = cfg.num_hidden_layers, cfg.hidden_size, cfg.intermediate_size, cfg.vocab_size
    N, K, H = cfg.num_attention_heads, cfg.num_key_value_heads, cfg.head_dim
    into, out = D**-0.5, (2 * L) ** -0.5  # residual branches start small, so that depth does not blow up the sum
    norm = 0.0 if cfg.norm_offset else None
    layers = {
        "attn_norm": Leaf((L, D), ("layers", None), norm),
        "wq": Leaf((L, D, N, H), ("layers", "embed", "heads", None), into),
        "wk": Leaf((L, D, K, H), ("layers", "embed", "kv_heads", None), into),
        "wv": Leaf((L, D, K, H), ("layers", "embed", "kv_heads", None), into),
        "wo": Leaf((L, N, H, D), ("layers", "heads", None, "embed"), (N * H) ** -0.5 * out),
        "mlp_norm": Leaf((L, D), ("layers", None), norm),
        "w_gate": Leaf((L, D, F), ("layers", "embed", "mlp"), into),
        "w_up": Leaf((L, D, F), ("layers", "embed", "mlp"), into),
        "w_down": Leaf((L, F, D), ("layers", "mlp", "embed"), F**-0.5 * out),
    }
    if cfg.attention_bias:
        layers["q_bias"] = Leaf((L, N, H), ("layers", "heads", None), 0.0)
        layers["k_bias"] = Leaf((L, K, H), ("layers", "kv_heads", None), 0.0)
        layers["v_bias"] = Leaf((L, K, H), ("layers", "kv_heads", None), 0.0)
    if cfg.qk_norm:
        layers["q_norm"] = Leaf((L, H), ("layers", None), norm)
        layers["k_norm"] = Leaf((L, H), ("layers", None), norm)
    if cfg.sandwich_norms:
        layers["post_attn_norm"] = Leaf((L, D), ("layers", None), norm)
        layers["post_mlp_norm"] = Leaf((L, D), ("layers", None), norm)
    table = {
        "embed": Leaf((V, D), ("vocab", "embed"), into),
        "layers": layers,
        "final_norm": Leaf((D,), (None,), norm),
    }
    if not cfg.tie_word_embeddings:
        table["lm_head"] = Leaf((D, V), ("embed", "vocab"), into)
    return table


def _map(table: dict, fn) -> dict:
    return jax.tree.map(fn, table, is_leaf=lambda x: isinstance(x, Leaf))


def param_shardings(cfg: ModelConfig, mesh: jax.sharding.Mesh) -> dict:
    """NamedSharding of every parameter on `mesh`.

    Axes that do not divide over it are replicated, with a warning.
    """

    def sharding(leaf):
        warn_replicated(mesh.shape, leaf.axes, leaf.shape)
        return named_sharding(mesh, leaf.axes, leaf.shape)

    return _map(param_table(cfg), sharding)


def abstract_params(cfg: ModelConfig, mesh: AnyMesh | None = None, dtype=None) -> dict:
    """`jax.ShapeDtypeStruct` of every parameter, with its sharding if there is a mesh.

    The dtype is `cfg.param_dtype` unless one is given.
    """

    def struct(leaf):
        sharding = None if mesh is None else named_sharding(mesh, leaf.axes, leaf.shape)
        return jax.ShapeDtypeStruct(leaf.shape, dtype or cfg.param_dtype, sharding=sharding)

    return _map(param_table(cfg), struct)


def init_params(key: jax.Array, cfg: ModelConfig, mesh: jax.sharding.Mesh | None = None, dtype=None) -> dict:
    """Fresh parameters of dtype `cfg.param_dtype`, laid out on any `mesh`.

    Each leaf has a key of its own, so values depend on neither the mesh (except for rounding) nor the other leaves.
    """
    return _initializer(cfg, mesh, jnp.dtype(dtype or cfg.param_dtype))(key)


@functools.lru_cache(maxsize=8)
def _initializer(cfg: ModelConfig, mesh: jax.sharding.Mesh | None, dtype):
    """The compiled function from a key to parameters."""

    def init(key):
        values = {}
        for index, (path, leaf) in enumerate(sorted(traverse_util.flatten_dict(param_table(cfg)).items())):
            if leaf.std is None:
                values[path] = jnp.ones(leaf.shape, dtype)
            else:
                noise = jax.random.truncated_normal(jax.random.fold_in(key, index), -3, 3, leaf.shape, jnp.float32)
                values[path] = (noise * leaf.std).astype(dtype)
        return traverse_util.unflatten_dict(values)

    return jax.jit(init, out_shardings=None if mesh is None else param_shardings(cfg, mesh))


def num_params(cfg: ModelConfig) -> int:
    """How many parameters a model of this configuration has."""
    return sum(math.prod(leaf.shape) for leaf in traverse_util.flatten_dict(param_table(cfg)).values())
