"""Sample a token from logits.

Penalties come first, then truncation by threshold, then inverse-CDF sampling in id order. One uniform number per row
replaces Gumbel noise over the vocabulary, which on a CPU costs as much as the layers. All settings are traced per row,
so a new setting never compiles anything. S rows, V vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

CDF_BLOCK = 128
NEVER = -jnp.inf


def _sortable(x: jax.Array) -> jax.Array:
    """Map float32 to uint32 in the same order.

    A threshold can then be found by bisection on bits.
    """
    bits = jax.lax.bitcast_convert_type(jnp.where(x == 0, 0.0, x), jnp.uint32)  # -0.0 is 0.0
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))


def _largest_threshold(keys_SV: jax.Array, enough) -> jax.Array:
    """The largest uint32[S] threshold t with `enough(keys >= t)`.

    It is found bit by bit, in 32 passes.
    """

    def step(i, t_S):
        candidate = t_S | (jnp.uint32(1 << 31) >> i.astype(jnp.uint32))
        return jnp.where(enough(keys_SV >= candidate[:, None]), candidate, t_S)

    return jax.lax.fori_loop(0, 32, step, jnp.zeros(keys_SV.shape[0], jnp.uint32))


def mark_seen(seen_SV: jax.Array, slot, ids_T: jax.Array, prompt_length, length) -> jax.Array:
    """Set the row of `slot` to the state that `penalise` needs.

    ids_T[:prompt_length] is the prompt; the response follows up to `length`. An int32 entry is twice the count of the
    id in the response, plus one if the prompt has it.
    """
    index_T = jnp.arange(ids_T.size)
    empty_V = jnp.zeros(seen_SV.shape[1], jnp.int32)
    prompt_V = empty_V.at[ids_T].max((index_T < prompt_length).astype(jnp.int32))
    response_V = empty_V.at[ids_T].add(jnp.where((index_T >= prompt_length) & (index_T < length), 2, 0))
    return seen_SV.at[slot].set(prompt_V + response_V)


def penalise(logits_SV, seen_SV, repetition_S, presence_S, frequency_S) -> jax.Array:
    """Apply the penalties of `SamplingParams` for the ids in `seen_SV`.

    See `mark_seen`. A row without penalties comes back unchanged; without any, nothing is computed.
    """

    def shaped(logits):
        repetition = jnp.where(seen_SV > 0, repetition_S[:, None], 1.0)
        logits = jnp.where(logits > 0, logits / repetition, logits * repetition)
        count_SV = seen_SV >> 1
        logits = logits - frequency_S[:, None] * count_SV
        return logits - presence_S[:, None] * (count_SV > 0)

    wanted_S = (repetition_S != 1) | (presence_S != 0) | (frequency_S != 0)
    return jax.lax.cond(wanted_S.any(), shaped, lambda logits: logits, logits_SV)


def truncate(logits_SV: jax.Array, top_k_S: jax.Array, top_p_S: jax.Array, min_p_S: jax.Array) -> jax.Array:
    """Set the logits outside top-k, top-p and min-p to -inf.

    Top-p applies to what top-k has left, then min-p. Ties at a threshold are all kept. A row with every setting off
    comes back unchanged, and a setting that is off in every row costs nothing.
    """
    V = logits_SV.shape[1]

    def top_k(logits):
        keys = _sortable(logits)
        k = jnp.where(top_k_S > 0, top_k_S, V)
        return keys >= _largest_threshold(keys, lambda mask: mask.sum(-1) >= k)[:, None]

    def top_p(logits):
        probs = jax.nn.softmax(logits, axis=-1)
        keys = _sortable(probs)
        nucleus = _largest_threshold(keys, lambda mask: jnp.where(mask, probs, 0).sum(-1) >= top_p_S)
        return (keys >= nucleus[:, None]) | (top_p_S >= 1)[:, None]

    def min_p(logits):
        return logits >= logits.max(-1, keepdims=True) + jnp.log(min_p_S)[:, None]

    for wanted_S, keep in ((top_k_S > 0, top_k), (top_p_S < 1, top_p), (min_p_S > 0, min_p)):
        cut = lambda logits, keep=keep: jnp.where(keep(logits), logits, NEVER)
        logits_SV = jax.lax.cond(wanted_S.any(), cut, lambda logits: logits, logits_SV)
    return logits_SV


def argmax(logits_SV: jax.Array) -> jax.Array:
    """The lowest id int32[S] of a row's largest logit.

    On a CPU it is ten times as fast as `jnp.argmax`, which compares pairs.
    """
    V = logits_SV.shape[1]
    ids = jnp.where(logits_SV == logits_SV.max(-1, keepdims=True), jnp.arange(V, dtype=jnp.int32), V - 1)
    return ids.min(-1)


def inverse_cdf(logits_SV: jax.Array, uniform_S: jax.Array) -> jax.Array:
    """Draw ids int32[S] by inverse CDF in id order.

    The id is the first at which the cumulative probability exceeds uniform_S in [0, 1). Two levels (blocks, then ids of
    one block) replace one long sum. A parallel prefix sum rounds by position: it may step over a target at an id
    without probability, or end below it. So only ids with probability count, and if none is left the last of them is
    taken: a masked id is never returned.
    """
    S, V = logits_SV.shape
    blocks = -(-V // CDF_BLOCK)
    weights = jnp.exp(logits_SV - logits_SV.max(-1, keepdims=True))
    weights = jnp.pad(weights, ((0, 0), (0, blocks * CDF_BLOCK - V))).reshape(S, blocks, CDF_BLOCK)

    def pick(mass, cdf, target):
        possible = mass > 0
        beyond = possible & (cdf > target[:, None])
        last = mass.shape[-1] - 1 - jnp.argmax(possible[:, ::-1], axis=-1)
        return jnp.where(beyond.any(-1), jnp.argmax(beyond, axis=-1), last)

    sums = weights.sum(-1)
    cdf = jnp.cumsum(sums, axis=-1)
    target = uniform_S * cdf[:, -1]
    block = pick(sums, cdf, target)
    before = jnp.where(block > 0, jnp.take_along_axis(cdf, jnp.maximum(block - 1, 0)[:, None], 1)[:, 0], 0.0)
    inside = jnp.take_along_axis(weights, block[:, None, None], axis=1)[:, 0]
    return block * CDF_BLOCK + pick(inside, jnp.cumsum(inside, axis=-1), target - before)


def sample(logits_SV, allowed_SV, seeds_S2, index_S, temperature_S, top_k_S, top_p_S, min_p_S):
    """Draw one token per row.

    Returns (ids int32[S], logprobs f32[S], model_logprobs f32[S]), see `Completion`. `allowed_SV` are the logits to
    draw from: after penalties, with -inf for ids that may not be drawn now. The noise is a function of (seed, token
    index) alone, so a row's token depends on neither its slot nor its mates. `seeds_S2` uint32 are the words of a
    threefry key.
    """
    greedy_S = temperature_S <= 0
    divisor_S1 = jnp.where(greedy_S, 1.0, temperature_S)[:, None]
    kept = truncate(allowed_SV / divisor_S1, top_k_S, top_p_S, min_p_S)

    def uniform(seed, index):
        return jax.random.uniform(jax.random.fold_in(jax.random.wrap_key_data(seed, impl="threefry2x32"), index))

    drawn = inverse_cdf(kept, jax.vmap(uniform)(seeds_S2, index_S))
    ids = jnp.where(greedy_S, argmax(kept), drawn).astype(jnp.int32)

    def logprob(values):
        chosen = jnp.take_along_axis(values, ids[:, None], axis=-1)[:, 0]
        return chosen - jax.nn.logsumexp(values, axis=-1)

    return ids, jnp.where(greedy_S, 0.0, logprob(kept)), logprob(logits_SV / divisor_S1)
