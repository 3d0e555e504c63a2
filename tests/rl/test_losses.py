"""Losses against NumPy loops, their gradients in closed form and by finite differences, and their safety."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.rl import make_policy_loss, nll_loss, policy_loss, policy_stats, sft_loss
from mxjax.rl.losses import MAX_LOG_RATIO, entropy_loss, kl_loss

SHAPE = (3, 7)


def arrays(seed, spread=0.4):
    """logprobs, old_logprobs, advantages, weights: float32[3, 7], a third of the weights 0."""
    rng = np.random.default_rng(seed)
    old = -rng.random(SHAPE) * 4
    new = old + spread * rng.normal(size=SHAPE)
    weights = rng.random(SHAPE) * (rng.random(SHAPE) > 0.33)
    return [a.astype(np.float32) for a in (new, old, rng.normal(size=SHAPE), weights)]


def loss_loop(new, old, advantages, weights, low, high):
    total, weight = 0.0, 0.0
    for b in range(SHAPE[0]):
        for t in range(SHAPE[1]):
            w, A = float(weights[b, t]), float(advantages[b, t])
            rho = np.exp(float(new[b, t]) - float(old[b, t]))
            total += w * -min(rho * A, min(max(rho, 1 - low), 1 + high) * A)
            weight += w
    return total, weight


def gradient_loop(new, old, advantages, weights, low, high):
    """d loss / d logprob: -w rho A where the unclipped branch is the minimum, else 0."""
    rho = np.exp(new.astype(np.float64) - old)
    clipped_off = np.where(advantages > 0, rho > 1 + high, rho < 1 - low)
    return np.where(clipped_off, 0.0, -weights * rho * advantages)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(0.2, 0.2), (0.1, 0.3)]))
def test_clipped_surrogate_and_its_gradient(seed, clip):
    args = arrays(seed)
    np.testing.assert_allclose(policy_loss(*args, *clip), loss_loop(*args, *clip), rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda new: policy_loss(new, *args[1:], *clip)[0])(args[0])
    np.testing.assert_allclose(gradient, gradient_loop(*args, *clip), rtol=1e-4, atol=1e-6)


def test_gradients_by_finite_differences():
    new, old, advantages, weights = arrays(5)
    rho = np.exp(new - old)
    near_corner = (np.abs(rho - 0.8) < 0.01) | (np.abs(rho - 1.2) < 0.01)
    weights[near_corner] = 0
    entropies = np.abs(new)
    rows = {"old_logprobs_BT": old, "advantages_BT": advantages, "reference_logprobs_BT": old + 0.1}
    loss = make_policy_loss(entropy_coefficient=0.1, kl_coefficient=0.2)

    def total(new, entropies):
        return loss(new, entropies, rows, weights).sums["loss"][0]

    by_rule = jax.grad(total, argnums=(0, 1))(new, entropies)
    for argument in (0, 1):
        for b, t in [(0, 0), (1, 3), (2, 6), (0, 5)]:
            bumped = []
            for h in (1e-2, -1e-2):
                values = [new.copy(), entropies.copy()]
                values[argument][b, t] += h
                bumped.append(float(total(*values)))
            slope = (bumped[0] - bumped[1]) / 2e-2
            np.testing.assert_allclose(by_rule[argument][b, t], slope, rtol=2e-2, atol=2e-3)


def test_ratio_one_gives_the_policy_gradient():
    new, _, advantages, weights = arrays(1)
    total, weight = policy_loss(new, new, advantages, weights)
    np.testing.assert_allclose(total, -(weights * advantages).sum(), rtol=1e-5)
    np.testing.assert_allclose(weight, weights.sum(), rtol=1e-6)
    gradient = jax.grad(lambda new: policy_loss(new, jax.lax.stop_gradient(new), advantages, weights)[0])(new)
    np.testing.assert_allclose(gradient, -weights * advantages, rtol=1e-6)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
def test_garbage_behind_the_mask_changes_nothing(garbage):
    args = arrays(2)
    behind = args[3] == 0
    dirty = [np.where(behind, garbage, a).astype(np.float32) for a in args[:3]]

    def everything(new, old, advantages):
        rows = {"old_logprobs_BT": old, "advantages_BT": advantages, "reference_logprobs_BT": old}
        loss = make_policy_loss(entropy_coefficient=0.1, kl_coefficient=0.1)
        terms = loss(new, new, rows, args[3])
        return terms.sums["loss"][0], terms

    clean = jax.value_and_grad(everything, has_aux=True)(*args[:3])
    found = jax.value_and_grad(everything, has_aux=True)(*dirty)
    jax.tree.map(np.testing.assert_array_equal, found, clean)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("gap", [50.0, 1000.0, np.inf, -50.0, -1000.0, -np.inf])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_large_log_ratios_stay_finite(gap, advantage):
    new, old = jnp.full((1, 2), gap), jnp.zeros((1, 2))
    full = jnp.full((1, 2), advantage), jnp.ones((1, 2))
    value, gradient = jax.value_and_grad(lambda new: policy_loss(new, old, *full)[0])(new)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(policy_stats(new, old, *full, old)._replace(
        sums={k: v for k, v in policy_stats(new, old, *full, old).sums.items() if k != "logprob_difference"},
        maxima={},
    )))  # fmt: skip


def test_the_clamp_is_exact_up_to_its_bound():
    new = jnp.array([[MAX_LOG_RATIO - 0.5]])
    total, _ = policy_loss(new, jnp.zeros((1, 1)), -jnp.ones((1, 1)), jnp.ones((1, 1)))
    np.testing.assert_allclose(total, np.exp(MAX_LOG_RATIO - 0.5), rtol=1e-5)


def test_stats_equal_loops():
    new, old, advantages, weights = arrays(3)
    entropies = np.abs(old)
    stats = policy_stats(new, old, advantages, weights, entropies, 0.2, 0.2)
    rho = np.exp(new - old)
    clipped = np.where(advantages > 0, rho > 1.2, (advantages < 0) & (rho < 0.8))
    expected = {
        "clip_fraction": clipped,
        "kl": rho - 1 - (new - old),
        "entropy": entropies,
        "logprob_difference": np.abs(new - old),
    }
    assert set(stats.sums) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(stats.sums[name], ((weights * values).sum(), weights.sum()), rtol=1e-4)
    np.testing.assert_allclose(stats.maxima["ratio"], rho[weights > 0].max(), rtol=1e-5)
    np.testing.assert_allclose(stats.maxima["logprob_difference"], np.abs(new - old)[weights > 0].max(), rtol=1e-5)


def test_terms_add_up():
    new, old, advantages, weights = arrays(4)
    rows = {"old_logprobs_BT": old, "advantages_BT": advantages, "reference_logprobs_BT": old - 0.3}
    means = make_policy_loss(0.1, 0.3, entropy_coefficient=0.01, kl_coefficient=0.5)(new, -new, rows, weights).sums
    surrogate = loss_loop(new, old, advantages, weights, 0.1, 0.3)[0]
    log_r = (old - 0.3) - new
    kl = (weights * (np.exp(log_r) - 1 - log_r)).sum()
    np.testing.assert_allclose(means["loss"][0], surrogate + 0.01 * (weights * new).sum() + 0.5 * kl, rtol=1e-4)
    np.testing.assert_allclose(means["reference_kl"][0], kl, rtol=1e-4)
    np.testing.assert_allclose(kl_loss(new, new, weights), (0, weights.sum()), atol=1e-5)
    np.testing.assert_allclose(entropy_loss(-new, weights)[0], (weights * new).sum(), rtol=1e-5)


def test_supervised_loss():
    new, _, _, weights = arrays(6)
    expected = -(weights * new).sum(), weights.sum()
    np.testing.assert_allclose(nll_loss(new, weights), expected, rtol=1e-5)
    np.testing.assert_allclose(sft_loss(new, -new, {}, weights).sums["loss"], expected, rtol=1e-5)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        policy_loss(jnp.zeros((1, 2)), jnp.zeros((1, 2)), jnp.zeros((1,)), jnp.zeros((1, 2)))
