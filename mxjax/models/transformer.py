"""The transformer as pure functions.

Sampling (`mxjax.sampling.programs`) calls the same `layer` with an attention over its cache, so the network is written
once. Shape suffixes: B rows, T tokens, L layers, D model, N query heads, K kv heads, G = N/K, H head dim, F ffn,
V vocab.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from mxjax.models.attention import packed_attention
from mxjax.models.config import SLIDING, ModelConfig
from mxjax.sharding import constrain, on_shards

LOGIT_BLOCK = 128  # tokens of a row whose logits exist at once
LAYER_INPUT = "layer_input"  # what remat "offload" keeps


def rms_norm(x: jax.Array, weight_D: jax.Array, cfg: ModelConfig) -> jax.Array:
    """x / rms(x) * weight over the last axis.

    The statistics are float32. Gemma multiplies by 1 + weight in float32.
    """
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + cfg.rms_norm_eps)
    if cfg.norm_offset:
        return (normed * (1 + weight_D.astype(jnp.float32))).astype(x.dtype)
    return normed.astype(x.dtype) * weight_D.astype(x.dtype)


def rope_frequencies(cfg: ModelConfig, kind: str) -> np.ndarray:
    """Angles per position f32[H / 2], scaled by `cfg.rope_scaling`."""
    half, scaling = cfg.head_dim // 2, cfg.rope_scaling
    theta = cfg.rope_local_base_freq if kind == SLIDING else cfg.rope_theta
    frequencies = theta ** (-np.arange(half) / half)
    if scaling is None or kind == SLIDING:
        return frequencies.astype(np.float32)
    kept: float | np.ndarray = 0.0
    if scaling.rope_type == "llama3":
        turns = scaling.original_max_position_embeddings * frequencies / (2 * np.pi)  # within the original context
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (frequencies * (kept + (1 - kept) / scaling.factor)).astype(np.float32)


def rope(x_BTNH: jax.Array, positions_BT: jax.Array, frequencies: jax.Array | np.ndarray) -> jax.Array:
    """Rotary position embedding in the half-split form: pairs (i, i + H/2).

    Angles are computed in float32.
    """
    angles = positions_BT[..., None, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTNH.dtype)


class LayerKind(NamedTuple):
    """What differs between layers besides their parameters.

    Rotary frequencies are f32[H / 2]. `window` is how many tokens a token sees, its own included; None if it sees all
    before it.
    """

    frequencies: jax.Array | np.ndarray
    window: int | jax.Array | np.ndarray | None


def layer_kind(cfg: ModelConfig, index: int) -> LayerKind:
    """The kind of layer `index`."""
    kind = cfg.kinds[index]
    return LayerKind(rope_frequencies(cfg, kind), cfg.sliding_window if kind == SLIDING else None)


def _stacked_kinds(cfg: ModelConfig) -> LayerKind | None:
    """The kinds of all layers, stacked for `lax.scan`.

    None if all are the same.
    """
    if len(set(cfg.kinds)) == 1:
        return None
    kinds = [layer_kind(cfg, index) for index in range(cfg.num_hidden_layers)]
    everything = np.iinfo(np.int32).max
    windows = [everything if kind.window is None else kind.window for kind in kinds]
    return LayerKind(np.stack([kind.frequencies for kind in kinds]), np.array(windows, np.int32))


def layer(p: dict, cfg: ModelConfig, x_BTD: jax.Array, positions_BT: jax.Array, kind: LayerKind, attend) -> jax.Array:
    """One decoder layer.

    `attend(q_BTNH, k_BTKH, v_BTKH) -> BTNH` decides what a token may look at and scales scores by H**-0.5.
    """
    h = rms_norm(x_BTD, p["attn_norm"], cfg)
    dtype = h.dtype
    q = jnp.einsum("btd,dnh->btnh", h, p["wq"].astype(dtype))
    k = jnp.einsum("btd,dkh->btkh", h, p["wk"].astype(dtype))
    v = jnp.einsum("btd,dkh->btkh", h, p["wv"].astype(dtype))
    if cfg.attention_bias:
        q, k, v = q + p["q_bias"].astype(dtype), k + p["k_bias"].astype(dtype), v + p["v_bias"].astype(dtype)
    if cfg.qk_norm:
        q, k = rms_norm(q, p["q_norm"], cfg), rms_norm(k, p["k_norm"], cfg)
    q, k = rope(q, positions_BT, kind.frequencies), rope(k, positions_BT, kind.frequencies)
    if cfg.query_pre_attn_scalar not in (None, cfg.head_dim):
        q = q * (cfg.head_dim / cfg.query_pre_attn_scalar) ** 0.5
    out = jnp.einsum("btnh,nhd->btd", attend(q, k, v), p["wo"].astype(dtype))
    x_BTD = x_BTD + (rms_norm(out, p["post_attn_norm"], cfg) if cfg.sandwich_norms else out)
    h = rms_norm(x_BTD, p["mlp_norm"], cfg)
    activate = jax.nn.silu if cfg.hidden_act == "silu" else functools.partial(jax.nn.gelu, approximate=True)
    gate = activate(jnp.einsum("btd,df->btf", h, p["w_gate"].astype(dtype)))
    up = jnp.einsum("btd,df->btf", h, p["w_up"].astype(dtype))
    out = jnp.einsum("btf,fd->btd", gate * up, p["w_down"].astype(dtype))
    return x_BTD + (rms_norm(out, p["post_mlp_norm"], cfg) if cfg.sandwich_norms else out)


def _remat(fn, name: str):
    """`fn` with the rematerialisation that `ModelConfig.remat` names; it calls its input LAYER_INPUT."""
    if name == "none":
        return fn
    policies = jax.checkpoint_policies
    policy = {
        "full": None,
        "dots": policies.checkpoint_dots_with_no_batch_dims,
        "offload": policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=[LAYER_INPUT],
            offload_src="device",
            offload_dst="pinned_host",
        ),
    }[name]
    return jax.checkpoint(fn, policy=policy)


def embed(params: dict, cfg: ModelConfig, tokens_BT: jax.Array) -> jax.Array:
    """Token embeddings in the compute dtype, [B, T, D].

    The table is gathered over `fsdp` first: looked up in shards, each device would get the rows of the whole batch.
    """
    x_BTD = constrain(params["embed"], "vocab", None)[tokens_BT].astype(cfg.dtype)
    return x_BTD * jnp.asarray(cfg.hidden_size**0.5, cfg.dtype) if cfg.scale_embeddings else x_BTD


def hidden_states(params: dict, cfg: ModelConfig, tokens_BT, positions_BT, segment_ids_BT) -> jax.Array:
    """Normed output of the last layer, [B, T, D] in compute dtype.

    Layers run under `lax.scan`.
    """

    def body(x_BTD, xs):
        p, kind = xs
        x_BTD = checkpoint_name(x_BTD, LAYER_INPUT)
        kind = kind or layer_kind(cfg, 0)
        attend = functools.partial(packed_attention, segment_ids_BT=segment_ids_BT, window=kind.window)
        x_BTD = layer(p, cfg, x_BTD, positions_BT, kind, attend=attend)
        return constrain(x_BTD, "batch", None, None), None

    table = {"embed": params["embed"].astype(jnp.float32)}  # the gradients of a token's places add up in its dtype
    x_BTD = constrain(embed(table, cfg, tokens_BT), "batch", None, None)
    x_BTD, _ = jax.lax.scan(_remat(body, cfg.remat), x_BTD, (params["layers"], _stacked_kinds(cfg)))
    return rms_norm(x_BTD, params["final_norm"], cfg)


def unembed(params: dict, cfg: ModelConfig, x_BTD: jax.Array) -> jax.Array:
    """Logits f32[B, T, V] of normed hidden states."""
    if cfg.tie_word_embeddings:
        return jnp.einsum("btd,vd->btv", x_BTD, params["embed"].astype(x_BTD.dtype), preferred_element_type=jnp.float32)
    return jnp.einsum("btd,dv->btv", x_BTD, params["lm_head"].astype(x_BTD.dtype), preferred_element_type=jnp.float32)


def forward(params: dict, cfg: ModelConfig, tokens_BT, positions_BT, segment_ids_BT) -> jax.Array:
    """Logits f32[B, T, V] of packed rows.

    tokens_BT, positions_BT (from 0 within each segment) and segment_ids_BT (0 = padding) are int32[B, T]. A token sees
    those before it in its own segment only. Use `token_logprobs` for training: it never holds all logits.
    """
    return unembed(params, cfg, hidden_states(params, cfg, tokens_BT, positions_BT, segment_ids_BT))


def token_stats(params: dict, cfg: ModelConfig, tokens_BT, positions_BT, segment_ids_BT, temperature=1.0):
    """(log-probabilities, entropies), each f32[B, T] in nats, of softmax(logits / temperature).

    Position t holds the log-probability of token t given those before it in its segment, and the entropy of that
    distribution; both are 0 at the first token of a segment and at padding. `temperature` is a scalar or [B, T],
    given at the position of the token that it drew. Logits exist for LOGIT_BLOCK tokens of each row at a time, also
    in the backward pass.
    """
    x_BTD = hidden_states(params, cfg, tokens_BT, positions_BT, segment_ids_BT)
    temperature_BT = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), tokens_BT.shape)
    # Hidden state t predicts token t+1: shift targets left, score, and shift the scores back right.
    targets_BT = jnp.roll(tokens_BT, -1, axis=1)
    temperature_BT = jnp.roll(jnp.where(temperature_BT > 0, temperature_BT, 1.0), -1, axis=1)
    # The head is gathered over `fsdp` once, its gradient summed once; in float32, since all blocks' gradients add up.
    name, axes = ("embed", ("vocab", None)) if cfg.tie_word_embeddings else ("lm_head", (None, "vocab"))
    head, rows = constrain(params[name].astype(jnp.float32), *axes), ("batch", None)
    score = on_shards(functools.partial(_score_rows, cfg, name), ((*rows, None), rows, rows, (None, None)), rows)
    stats = score(x_BTD, targets_BT, temperature_BT, head)
    same = (segment_ids_BT == jnp.roll(segment_ids_BT, 1, axis=1)) & (segment_ids_BT > 0)
    same = same.at[:, 0].set(False)
    logprobs_BT, entropies_BT = (jnp.where(same, jnp.roll(a, 1, axis=1), 0.0) for a in stats)
    return logprobs_BT, entropies_BT


def _score_rows(cfg: ModelConfig, name: str, x_BTD, targets_BT, temperature_BT, head) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of the targets and entropies, block by block.

    `head` is `params[name]`.
    """
    B, T = targets_BT.shape
    blocks = -(-T // LOGIT_BLOCK)
    size = -(-T // blocks)

    def blocked(a, fill=0):
        pad = [(0, 0), (0, blocks * size - T)] + [(0, 0)] * (a.ndim - 2)
        return jnp.pad(a, pad, constant_values=fill).reshape(B, blocks, size, *a.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def score(args):
        x_BtD, target_Bt, temperature_Bt = args
        logits = unembed({name: head}, cfg, x_BtD) / temperature_Bt[..., None]
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        chosen = jnp.take_along_axis(logits, target_Bt[..., None], axis=-1)[..., 0]
        entropy = normaliser - jnp.sum(jnp.exp(logits - normaliser[..., None]) * logits, axis=-1)
        return chosen - normaliser, entropy

    stats = jax.lax.map(score, (blocked(x_BTD), blocked(targets_BT), blocked(temperature_BT, fill=1)))
    unblocked = lambda a: a.swapaxes(0, 1).reshape(B, blocks * size)[:, :T]
    return unblocked(stats[0]), unblocked(stats[1])


def token_logprobs(params: dict, cfg: ModelConfig, tokens_BT, positions_BT, segment_ids_BT, temperature=1.0):
    """Log-probabilities f32[B, T].

    Position t holds that of token t given those before it. See `token_stats`.
    """
    return token_stats(params, cfg, tokens_BT, positions_BT, segment_ids_BT, temperature=temperature)[0]
