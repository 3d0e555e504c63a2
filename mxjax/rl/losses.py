"""Losses over packed rows, each as (sum, weight), and their diagnostics.

A term is never a mean: the caller divides by a weight that is global over one optimiser step, which is why
micro-batches, packing and the number of devices cannot change a gradient.

`weights_BT` is everywhere the weight w of each token, 0 where it does not count. `policy_loss` calls it `mask_BT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to ±20 (a ratio of 5e8): exact for any policy one could train, never inf or NaN beyond."""

Pair = tuple[jax.Array, jax.Array]


class Terms(NamedTuple):
    """The values of a loss function over a micro-batch.

    They add up over those of an optimiser step.

    Attributes:
      sums: (sum f32[], weight f32[]) by name; sum / weight is the weighted mean. "loss" is what is minimised.
      maxima: f32[] by name.
    """

    sums: dict[str, Pair]
    maxima: dict[str, jax.Array]


LossFn = Callable[[jax.Array, jax.Array, Mapping[str, jax.Array], jax.Array], Terms]
"""(logprobs_BT, entropies_BT, rows, weights_BT) -> Terms; `rows` is a micro-batch of `mxjax.rl.packing.Rows`."""


def _weighted(values_BT, weights_BT) -> Pair:
    """(sum of w * value, sum of w).

    Values may be anything, even NaN, where w is 0.
    """
    weights_BT = jnp.asarray(weights_BT, jnp.float32)
    return jnp.sum(jnp.where(weights_BT > 0, values_BT * weights_BT, 0.0)), jnp.sum(weights_BT)


def _log_ratio(logprobs_BT, old_logprobs_BT, weights_BT) -> jax.Array:
    """log(pi_theta / pi_old), clamped to ±MAX_LOG_RATIO, 0 where the weight is 0."""
    difference_BT = jnp.asarray(logprobs_BT, jnp.float32) - jnp.asarray(old_logprobs_BT, jnp.float32)
    return jnp.clip(jnp.where(jnp.asarray(weights_BT) > 0, difference_BT, 0.0), -MAX_LOG_RATIO, MAX_LOG_RATIO)


def _surrogates(log_ratio_BT, advantages_BT, weights_BT, clip_low, clip_high) -> Pair:
    """The unclipped and the clipped surrogate, each f32[B, T].

    They are rho A and clip(rho, 1 - clip_low, 1 + clip_high) A.
    """
    advantages_BT = jnp.where(jnp.asarray(weights_BT) > 0, jnp.asarray(advantages_BT, jnp.float32), 0.0)
    ratio_BT = jnp.exp(log_ratio_BT)
    return ratio_BT * advantages_BT, jnp.clip(ratio_BT, 1 - clip_low, 1 + clip_high) * advantages_BT


def policy_loss(logprobs_BT, old_logprobs_BT, advantages_BT, mask_BT, clip_low=0.2, clip_high=0.2) -> Pair:
    """The clipped surrogate as (sum f32[], weight f32[]).

    The loss is sum / weight over an optimiser step.

        rho = pi_theta / pi_old,   l = -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A),   sum of w l,   sum of w

    All arrays are [B, T]; log-probabilities in nats, before truncation, at the sampling temperature. `mask_BT` is the
    weight w of each token, 0 where it does not count; what other arrays hold there is ignored. log rho is clamped to
    ±MAX_LOG_RATIO, outside which the gradient is 0. Raises ValueError when shapes differ.
    """
    shapes = {jnp.shape(a) for a in (logprobs_BT, old_logprobs_BT, advantages_BT, mask_BT)}
    if len(shapes) > 1:
        raise ValueError(f"policy_loss needs four arrays of one shape, got {sorted(shapes)}")
    log_ratio_BT = _log_ratio(logprobs_BT, old_logprobs_BT, mask_BT)
    plain, clipped = _surrogates(log_ratio_BT, advantages_BT, mask_BT, clip_low, clip_high)
    return _weighted(-jnp.minimum(plain, clipped), mask_BT)


def nll_loss(logprobs_BT, weights_BT) -> Pair:
    """Negative log-likelihood as (sum of -w log pi, sum of w).

    The loss of supervised fine-tuning. Arrays are [B, T].
    """
    return _weighted(-jnp.asarray(logprobs_BT, jnp.float32), weights_BT)


def entropy_loss(entropies_BT, weights_BT) -> Pair:
    """Negative entropy as (sum of -w H, sum of w), nats.

    Added with a coefficient it is an entropy bonus.
    """
    return _weighted(-jnp.asarray(entropies_BT, jnp.float32), weights_BT)


def kl_loss(logprobs_BT, reference_logprobs_BT, weights_BT) -> Pair:
    """KL(pi_theta || reference) at the sampled tokens as (sum, weight).

    The estimator is r - 1 - log r >= 0 (k3), r = pi_ref / pi_theta; arrays are [B, T], log-probabilities in nats, log r
    clamped to ±MAX_LOG_RATIO.
    """
    log_r_BT = _log_ratio(reference_logprobs_BT, logprobs_BT, weights_BT)
    return _weighted(jnp.expm1(log_r_BT) - log_r_BT, weights_BT)


def policy_stats(
    logprobs_BT, old_logprobs_BT, advantages_BT, weights_BT, entropies_BT, clip_low=0.2, clip_high=0.2
) -> Terms:
    """Figures to watch in a policy update.

    Arguments as in `policy_loss`, entropies_BT in nats.

    Sums: `clip_fraction` (tokens whose clipped branch is the minimum, so without gradient), `kl` (KL(pi_old ||
    pi_theta) by k3), `entropy`, `logprob_difference` (|log pi_theta - log pi_old|; before the first update of a step
    it is how far the sampling engine and the training forward pass are apart). Maxima: `ratio`, `logprob_difference`.
    No gradient flows.
    """
    logprobs_BT, entropies_BT = jax.lax.stop_gradient((logprobs_BT, entropies_BT))
    log_ratio_BT = _log_ratio(logprobs_BT, old_logprobs_BT, weights_BT)
    plain, clipped = _surrogates(log_ratio_BT, advantages_BT, weights_BT, clip_low, clip_high)
    counts_BT = jnp.asarray(weights_BT) > 0
    difference_BT = jnp.where(counts_BT, jnp.abs(logprobs_BT - old_logprobs_BT), 0.0)
    sums = {
        "clip_fraction": _weighted((clipped < plain).astype(jnp.float32), weights_BT),
        "kl": _weighted(jnp.expm1(log_ratio_BT) - log_ratio_BT, weights_BT),
        "entropy": _weighted(entropies_BT, weights_BT),
        "logprob_difference": _weighted(difference_BT, weights_BT),
    }
    maxima = {
        "ratio": jnp.max(jnp.where(counts_BT, jnp.exp(log_ratio_BT), 0.0)),
        "logprob_difference": jnp.max(difference_BT),
    }
    return Terms(sums, maxima)


def make_policy_loss(clip_low=0.2, clip_high=0.2, entropy_coefficient=0.0, kl_coefficient=0.0) -> LossFn:
    """The loss function of reinforcement learning.

    It is clipped surrogate - c_H entropy + c_KL KL(pi_theta || reference). Both coefficients are 0 in the paper. All
    terms share one weight, the sum of w. With a `kl_coefficient` the rows must hold `reference_logprobs_BT` f32[B, T]
    beside the arrays of `mxjax.rl.packing.Rows`.
    """

    def loss_fn(logprobs_BT, entropies_BT, rows, weights_BT) -> Terms:
        arrays = logprobs_BT, rows["old_logprobs_BT"], rows["advantages_BT"], weights_BT
        total, weight = policy_loss(*arrays, clip_low=clip_low, clip_high=clip_high)
        stats = policy_stats(*arrays, entropies_BT, clip_low=clip_low, clip_high=clip_high)
        sums = {"policy_loss": (total, weight), **stats.sums}
        if entropy_coefficient:
            total += entropy_coefficient * entropy_loss(entropies_BT, weights_BT)[0]
        if kl_coefficient:
            sums["reference_kl"] = kl_loss(logprobs_BT, rows["reference_logprobs_BT"], weights_BT)
            total += kl_coefficient * sums["reference_kl"][0]
        return Terms({"loss": (total, weight), **sums}, stats.maxima)

    return loss_fn


def sft_loss(logprobs_BT, entropies_BT, rows, weights_BT) -> Terms:
    """The loss function of supervised fine-tuning: `nll_loss`, with the entropy beside it."""
    del rows
    entropies_BT = jax.lax.stop_gradient(entropies_BT)
    sums = {"loss": nll_loss(logprobs_BT, weights_BT), "entropy": _weighted(entropies_BT, weights_BT)}
    return Terms(sums, {})
