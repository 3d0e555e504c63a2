"""The transformer as pure functions: one layer body, and the training forward pass built from it.

Sampling (`mxjax.sampling.programs`) calls the same `layer` with an attention over its cache, so the network is written
once. Shape suffixes: B rows, T tokens, L layers, D model, N query heads, K kv heads, G = N/K, H head dim, F ffn,
V vocab.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from mxjax.models.attention import packed_attention
from mxjax.models.config import ModelConfig
from mxjax.sharding import constrain

LOGIT_BLOCK = 128  # tokens of a row whose logits exist at once


def rms_norm(x: jax.Array, weight_D: jax.Array, eps: float) -> jax.Array:
    """x / rms(x) * weight over the last axis; the statistics are float32."""
    x32 = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * scale).astype(x.dtype) * weight_D.astype(x.dtype)


def rope(x_BTNH: jax.Array, positions_BT: jax.Array, theta: float) -> jax.Array:
    """Rotary position embedding in the half-split form of Llama and Qwen; angles are float32."""
    half = x_BTNH.shape[-1] // 2
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions_BT[..., None, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTNH.dtype)


def layer(p: dict, cfg: ModelConfig, x_BTD: jax.Array, positions_BT: jax.Array, attend) -> jax.Array:
    """One decoder layer. `attend(q_BTNH, k_BTKH, v_BTKH) -> BTNH` decides what a token may look at."""
    h = rms_norm(x_BTD, p["attn_norm"], cfg.rms_norm_eps)
    dtype = h.dtype
    q = jnp.einsum("btd,dnh->btnh", h, p["wq"].astype(dtype))
    k = jnp.einsum("btd,dkh->btkh", h, p["wk"].astype(dtype))
    v = jnp.einsum("btd,dkh->btkh", h, p["wv"].astype(dtype))
    if cfg.qk_norm:
        q = rms_norm(q, p["q_norm"], cfg.rms_norm_eps)
        k = rms_norm(k, p["k_norm"], cfg.rms_norm_eps)
    q = rope(q, positions_BT, cfg.rope_theta)
    k = rope(k, positions_BT, cfg.rope_theta)
    x_BTD = x_BTD + jnp.einsum("btnh,nhd->btd", attend(q, k, v), p["wo"].astype(dtype))
    h = rms_norm(x_BTD, p["mlp_norm"], cfg.rms_norm_eps)
    gate = jax.nn.silu(jnp.einsum("btd,df->btf", h, p["w_gate"].astype(dtype)))
    up = jnp.einsum("btd,df->btf", h, p["w_up"].astype(dtype))
    return x_BTD + jnp.einsum("btf,fd->btd", gate * up, p["w_down"].astype(dtype))


def _remat(fn, name: str):
    if name == "none":
        return fn
    policy = jax.checkpoint_policies.checkpoint_dots_with_no_batch_dims if name == "dots" else None
    return jax.checkpoint(fn, policy=policy)


def embed(params: dict, cfg: ModelConfig, tokens_BT: jax.Array) -> jax.Array:
    """Token embeddings in the compute dtype, [B, T, D]."""
    return params["embed"][tokens_BT].astype(cfg.dtype)


def hidden_states(params: dict, cfg: ModelConfig, tokens_BT, positions_BT, segment_ids_BT) -> jax.Array:
    """Normed output of the last layer, [B, T, D] in the compute dtype. Layers run under `lax.scan`."""

    def body(x_BTD, p):
        attend = functools.partial(packed_attention, segment_ids_BT=segment_ids_BT)
        x_BTD = layer(p, cfg, x_BTD, positions_BT, attend)
        return constrain(x_BTD, "batch", None, None), None

    x_BTD = constrain(embed(params, cfg, tokens_BT), "batch", None, None)
    x_BTD, _ = jax.lax.scan(_remat(body, cfg.remat), x_BTD, params["layers"])
    return rms_norm(x_BTD, params["final_norm"], cfg.rms_norm_eps)


def unembed(params: dict, cfg: ModelConfig, x_BTD: jax.Array) -> jax.Array:
    """Logits f32[B, T, V] of normed hidden states."""
    if cfg.tie_word_embeddings:
        return jnp.einsum("btd,vd->btv", x_BTD, params["embed"].astype(x_BTD.dtype),
                          preferred_element_type=jnp.float32)  # fmt: skip
    return jnp.einsum("btd,dv->btv", x_BTD, params["lm_head"].astype(x_BTD.dtype),
                      preferred_element_type=jnp.float32)  # fmt: skip


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
    B, T = tokens_BT.shape
    x_BTD = hidden_states(params, cfg, tokens_BT, positions_BT, segment_ids_BT)
    temperature_BT = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (B, T))
    # Hidden state t predicts token t+1: shift targets left, score, and shift the scores back right.
    blocks = -(-T // LOGIT_BLOCK)
    size = -(-T // blocks)

    def blocked(a, fill=0):
        pad = [(0, 0), (0, blocks * size - T)] + [(0, 0)] * (a.ndim - 2)
        return jnp.pad(a, pad, constant_values=fill).reshape(B, blocks, size, *a.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def score(args):
        x_BtD, target_Bt, temperature_Bt = args
        logits = unembed(params, cfg, x_BtD) / temperature_Bt[..., None]
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        chosen = jnp.take_along_axis(logits, target_Bt[..., None], axis=-1)[..., 0]
        entropy = normaliser - jnp.sum(jnp.exp(logits - normaliser[..., None]) * logits, axis=-1)
        return chosen - normaliser, entropy

    targets_BT = jnp.roll(tokens_BT, -1, axis=1)
    temperature_BT = jnp.roll(jnp.where(temperature_BT > 0, temperature_BT, 1.0), -1, axis=1)
    stats = jax.lax.map(score, (blocked(x_BTD), blocked(targets_BT), blocked(temperature_BT, fill=1)))
    same = (segment_ids_BT == jnp.roll(segment_ids_BT, 1, axis=1)) & (segment_ids_BT > 0)
    same = same.at[:, 0].set(False)

    def unblocked(a):
        rows = a.swapaxes(0, 1).reshape(B, blocks * size)[:, :T]
        return jnp.where(same, jnp.roll(rows, 1, axis=1), 0.0)

    return unblocked(stats[0]), unblocked(stats[1])


def token_logprobs(params: dict, cfg: ModelConfig, tokens_BT, positions_BT, segment_ids_BT, temperature=1.0):
    """Log-probabilities f32[B, T]; position t holds that of token t given those before it. See `token_stats`."""
    return token_stats(params, cfg, tokens_BT, positions_BT, segment_ids_BT, temperature)[0]
