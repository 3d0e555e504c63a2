"""Training attention over packed rows, with its own backward pass.

Rows hold many short segments, so most blocks of the score matrix are empty. Both passes use an online softmax. They
walk only from the first block that any query of the block may see to the diagonal, and never hold more than one block
of scores per head. B rows, T tokens, N query heads, K kv heads, G = N/K, H head dim, t queries and s keys of a block.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from mxjax.sharding import on_shards

MASKED = -1e30  # finite, so that a query without a visible key stays a number
BLOCK = 128
LONG_ROW, LONG_BLOCK = 4096, 512  # from this length on, larger blocks pass less through memory for the same scores


def block_size(T: int) -> int:
    """Tokens of a block for rows of T tokens."""
    return min(T, BLOCK if T < LONG_ROW else LONG_BLOCK)


def segment_starts(segment_ids_BT: jax.Array) -> jax.Array:
    """Index int32[B, T] at which each token's segment begins.

    A padding token (id 0) begins at itself.
    """
    index_T = jnp.arange(segment_ids_BT.shape[1], dtype=jnp.int32)
    previous_BT = jnp.pad(segment_ids_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    begins_BT = (segment_ids_BT != previous_BT) | (segment_ids_BT == 0)
    return jax.lax.cummax(jnp.where(begins_BT, index_T, 0), axis=1)


def packed_attention(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window=None) -> jax.Array:
    """Causal attention within each segment, [B, T, N, H].

    It is softmax(q k / sqrt(H)) v over the token itself and those before it in its segment. With a `window` (an int or
    an int32 scalar) a token sees at most that many tokens, itself included. The softmax is float32; products are taken
    in the dtype of the arguments and summed in float32.
    """
    repeats = _repeats(q_BTNH.shape[2], k_BTKH.shape[2])
    if repeats > 1:
        k_BTKH, v_BTKH = (jnp.repeat(a, repeats, axis=2) for a in (k_BTKH, v_BTKH))
    heads, row = ("batch", None, "heads", None), ("batch", None)
    if window is None:
        return on_shards(_packed, (heads, heads, heads, row), heads)(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT)
    windowed = on_shards(_packed, (heads, heads, heads, row, ()), heads)
    return windowed(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window)


def _repeats(heads: int, kv_heads: int) -> int:
    """Copies of each kv head needed to shard them like query heads.

    1 where they divide over the mesh as they are.
    """
    ways = jax.sharding.get_abstract_mesh().shape.get("tensor", 1)
    return ways // math.gcd(kv_heads, ways) if heads % ways == 0 else 1


def _packed(q_BTNH, k_BTKH, v_BTKH, segment_ids_BT, window=None) -> jax.Array:
    """`packed_attention` on one device."""
    B, T, N, H = q_BTNH.shape
    K = k_BTKH.shape[2]
    size = block_size(T)
    pad = -T % size
    padded = lambda a: jnp.pad(a, ((0, 0), (0, pad), (0, 0), (0, 0)))
    starts_BT = segment_starts(jnp.pad(segment_ids_BT, ((0, 0), (0, pad))))
    if window is not None:
        starts_BT = jnp.maximum(starts_BT, jnp.arange(T + pad, dtype=jnp.int32) - window + 1)
    q_BKGTH = padded(q_BTNH).reshape(B, T + pad, K, N // K, H).transpose(0, 2, 3, 1, 4)
    k_BKTH, v_BKTH = (padded(a).transpose(0, 2, 1, 3) for a in (k_BTKH, v_BTKH))
    out_BKGTH = _attention(q_BKGTH * H**-0.5, k_BKTH, v_BKTH, starts_BT, size)
    return out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T + pad, N, H)[:, :T]


def _attention(q, k, v, starts_BT, size):
    attend = jax.custom_vjp(lambda q, k, v, starts: _forward(q, k, v, starts, size)[0])
    attend.defvjp(
        lambda q, k, v, starts: _forward_and_residuals(q, k, v, starts, size),
        lambda residuals, grad: (*_backward(residuals, grad, size), None),
    )
    return attend(q, k, v, starts_BT)


def _block(a, index, size, axis):
    return jax.lax.dynamic_slice_in_dim(a, index * size, size, axis)


def _first_block(starts_BT, i, size):
    """The first key block that some query of block i may see."""
    return _block(starts_BT, i, size, 1).min() // size


def _scores(q_BKGtH, k_BKsH, starts_BT, i, j, size):
    """Masked scores of query block i against key block j.

    Their shape is f32[B, K, G, t, s].
    """
    scores = jnp.einsum("bkgth,bksh->bkgts", q_BKGtH, k_BKsH, preferred_element_type=jnp.float32)
    queries_t, keys_s = i * size + jnp.arange(size), j * size + jnp.arange(size)
    starts_Bt = _block(starts_BT, i, size, 1)
    visible_Bts = (keys_s <= queries_t[:, None]) & (keys_s >= starts_Bt[:, :, None])
    return jnp.where(visible_Bts[:, None, None], scores, MASKED)


def _forward(q, k, v, starts_BT, size):
    """(attention, logsumexp of the scores f32[B, K, G, T])."""
    B, K, G, T, H = q.shape

    def query_block(i, outputs):
        q_i = _block(q, i, size, 3)

        def key_block(j, carry):
            best, total, acc = carry
            scores = _scores(q_i, _block(k, j, size, 2), starts_BT, i, j, size=size)
            new_best = jnp.maximum(best, scores.max(-1))
            weights, rescale = jnp.exp(scores - new_best[..., None]), jnp.exp(best - new_best)
            v_j = _block(v, j, size, 2)
            added = jnp.einsum("bkgts,bksh->bkgth", weights.astype(v.dtype), v_j, preferred_element_type=jnp.float32)
            return new_best, total * rescale + weights.sum(-1), acc * rescale[..., None] + added

        rows = (B, K, G, size)
        start = (jnp.full(rows, MASKED), jnp.zeros(rows), jnp.zeros((*rows, H)))
        best, total, acc = jax.lax.fori_loop(_first_block(starts_BT, i, size), i + 1, key_block, start)
        out, lse = outputs
        out = jax.lax.dynamic_update_slice_in_dim(out, (acc / total[..., None]).astype(q.dtype), i * size, 3)
        return out, jax.lax.dynamic_update_slice_in_dim(lse, best + jnp.log(total), i * size, 3)

    empty = jnp.zeros_like(q), jnp.zeros((B, K, G, T), jnp.float32)
    return jax.lax.fori_loop(0, T // size, query_block, empty)


def _forward_and_residuals(q, k, v, starts_BT, size):
    out, lse = _forward(q, k, v, starts_BT, size)
    return out, (q, k, v, starts_BT, out, lse)


def _backward(residuals, grad, size):
    """Gradients of q, k and v.

    The probabilities of each block are recomputed from the saved logsumexp.
    """
    q, k, v, starts_BT, out, lse = residuals
    T = q.shape[3]
    dot = jnp.sum(grad.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)
    einsum = lambda spec, a, b: jnp.einsum(spec, a, b, preferred_element_type=jnp.float32)

    def query_block(i, grads):
        q_i, grad_i = _block(q, i, size, 3), _block(grad, i, size, 3)
        lse_i, dot_i = (_block(a, i, size, 3)[..., None] for a in (lse, dot))

        def key_block(j, carry):
            dq_i, dk, dv = carry
            k_j, v_j = _block(k, j, size, 2), _block(v, j, size, 2)
            weights = jnp.exp(_scores(q_i, k_j, starts_BT, i, j, size=size) - lse_i)
            d_weights = einsum("bkgth,bksh->bkgts", grad_i, v_j)
            d_scores = (weights * (d_weights - dot_i)).astype(q.dtype)
            dv_j = einsum("bkgts,bkgth->bksh", weights.astype(q.dtype), grad_i)
            dk_j = einsum("bkgts,bkgth->bksh", d_scores, q_i)
            add = lambda total, part: jax.lax.dynamic_update_slice_in_dim(
                total, _block(total, j, size, 2) + part, j * size, 2
            )
            return dq_i + einsum("bkgts,bksh->bkgth", d_scores, k_j), add(dk, dk_j), add(dv, dv_j)

        dq, dk, dv = grads
        start = (jnp.zeros(q_i.shape, jnp.float32), dk, dv)
        dq_i, dk, dv = jax.lax.fori_loop(_first_block(starts_BT, i, size), i + 1, key_block, start)
        return jax.lax.dynamic_update_slice_in_dim(dq, dq_i, i * size, 3), dk, dv

    zeros = tuple(jnp.zeros(a.shape, jnp.float32) for a in (q, k, v))
    grads = jax.lax.fori_loop(0, T // size, query_block, zeros)
    return tuple(g.astype(a.dtype) for g, a in zip(grads, (q, k, v), strict=True))
