"""Truncation against a sorting oracle, and draws that never leave the support."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mxjax.sampling.logits import argmax, inverse_cdf, mark_seen, penalise, sample, truncate
from sampling.toys import assert_drawn_from, kept, penalised, truncated_softmax

V = 37
BELOW_ONE = np.float32(1) - np.finfo(np.float32).epsneg
_truncate, _inverse_cdf, _sample = jax.jit(truncate), jax.jit(inverse_cdf), jax.jit(sample)
_mark_seen, _penalise = jax.jit(mark_seen), jax.jit(penalise)

values = st.one_of(
    st.floats(-30, 30, width=32, allow_subnormal=False),  # XLA flushes those to zero
    st.sampled_from([0.0, -0.0, 1.0, -1.0, -np.inf]),
    st.floats(-1e4, -1e3, width=32),
)
rows = st.lists(values, min_size=V, max_size=V).filter(lambda row: max(row) > -np.inf)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows, st.integers(0, V + 3), st.floats(2**-7, 1.0, width=32), st.floats(0.0, 1.0, width=32))
@example([1.0] * V, 3, 0.5, 0.0)  # ties: all kept
@example([-5.0] * V, 0, 1.0, 1.0)
@example([0.0, -0.0] + [-np.inf] * (V - 2), 1, 1.0, 0.0)  # the two zeros are one value
@example([-np.inf] * (V - 1) + [-3.0], 5, 0.9, 0.5)
def test_truncation_agrees_with_sorting(row, top_k, top_p, min_p):
    row = np.array(row, np.float32)
    settings = [np.array([v], d) for v, d in ((top_k, np.int32), (top_p, np.float32), (min_p, np.float32))]
    out = np.asarray(_truncate(row[None], *settings))[0]
    mask = out > -np.inf
    assert np.array_equal(out[mask], row[mask])
    # sums of float32 may put a threshold on either side of a token whose mass ends at it
    least = kept(row, top_k, max(top_p - 1e-5, 1e-9) if top_p < 1 else 1.0, min(min_p * 1.0001, 1.0))
    most = kept(row, top_k, top_p + 1e-5 if top_p < 1 else 1.0, min_p * 0.9999)
    assert mask[least].all() and most[mask].all()
    assert mask.any()


def test_a_row_without_settings_keeps_its_bits_beside_truncated_rows():
    logits = np.random.default_rng(0).normal(size=(3, V)).astype(np.float32) * 5
    logits[1, 4] = -np.inf
    out = _truncate(logits, np.array([2, 0, 0], np.int32), np.float32([0.5, 1, 0.3]), np.float32([0.1, 0, 0.9]))
    assert np.array_equal(np.asarray(out)[1], logits[1])
    assert np.isinf(np.asarray(out)[[0, 2]]).any(-1).all()


@pytest.mark.parametrize("size", [1, 5, 128, 300, 1000])
def test_a_masked_id_is_never_drawn(size):
    rng = np.random.default_rng(size)
    logits = rng.normal(size=(64, size)).astype(np.float32) * 3
    masked = rng.random(logits.shape) < 0.5
    masked[np.arange(64), rng.integers(0, size, 64)] = False
    logits[masked] = -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    bounds = np.cumsum(weights, axis=-1) / weights.sum(-1, keepdims=True)
    edges = [0.0, 1e-30, BELOW_ONE]
    columns = [np.full(64, edge, np.float32) for edge in edges]
    for column in np.linspace(0, size - 1, 25).astype(int):  # exactly at, and a rounding beside, each boundary
        columns += [bounds[:, column].astype(np.float32) + np.float32(d) for d in (0, 6e-8, -6e-8)]
    for u in columns:
        ids = np.asarray(_inverse_cdf(logits, np.clip(u, 0, BELOW_ONE)))
        assert not masked[np.arange(64), ids].any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows, st.floats(0, float(BELOW_ONE), width=32))
@example([-np.inf] * (V - 1) + [2.0], float(BELOW_ONE))
@example([0.0] + [-np.inf] * (V - 1), float(BELOW_ONE))
@example([3e4] + [-3e4] * (V - 1), float(BELOW_ONE))
@example([-3e4] * (V - 1) + [3e4], 0.0)
def test_inverse_cdf_is_the_quantile(row, u):
    row = np.array(row, np.float32)
    id_ = int(_inverse_cdf(row[None], np.float32([u]))[0])
    probs = truncated_softmax(row)
    cdf = np.cumsum(probs)
    assert probs[id_] > 0
    assert cdf[id_] >= u - 1e-5 and (cdf[id_] - probs[id_]) <= u + 1e-5


def test_all_mass_on_the_last_id():
    for size in (1, 128, 129):
        logits = np.full((3, size), -np.inf, np.float32)
        logits[:, -1] = -7.0
        ids = _inverse_cdf(logits, np.float32([0.0, 0.5, BELOW_ONE]))
        assert np.asarray(ids).tolist() == [size - 1] * 3


def test_argmax_takes_the_lowest_of_equal_ids():
    logits = np.random.default_rng(1).integers(-3, 3, (50, 300)).astype(np.float32)
    logits[0] = -np.inf
    logits[0, 299] = -1e30
    assert np.array_equal(argmax(jnp.asarray(logits)), logits.argmax(-1))


ids_of_text = st.lists(st.integers(0, V - 1), max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows, ids_of_text, ids_of_text, st.floats(0.25, 4.0, width=32), *[st.floats(-2.0, 2.0, width=32)] * 2)
@example([1.0, -1.0] * (V // 2) + [0.0], [0, 1], [1, 1, 2], 2.0, 0.5, 1.5)
def test_penalties_agree_with_counting(row, prompt, response, repetition, presence, frequency):
    ids = np.zeros(30, np.int32)  # the rest is id 0, which must not count
    ids[: len(prompt + response)] = prompt + response
    before = np.full((3, V), 7, np.int32)
    seen = _mark_seen(before, np.int32(1), ids, np.int32(len(prompt)), np.int32(len(prompt + response)))
    assert (np.asarray(seen)[[0, 2]] == 7).all()
    row = np.array(row, np.float32)
    neutral = np.ones(3), np.zeros(3), np.zeros(3)
    chosen = [np.where(np.arange(3) == 1, value, off) for value, off in zip((repetition, presence, frequency), neutral)]
    out = np.asarray(_penalise(np.stack([row] * 3), seen, *(np.float32(value) for value in chosen)))
    assert np.array_equal(out[0], row) and np.array_equal(out[2], row)
    expected = penalised(row, prompt, response, repetition, presence, frequency)
    np.testing.assert_allclose(out[1], expected, rtol=1e-5, atol=1e-5)  # a difference may cancel


SETTINGS = [
    {}, {"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 7}, {"top_p": 0.7}, {"min_p": 0.2},
    {"temperature": 1.7, "top_k": 20, "top_p": 0.8}, {"temperature": 0.8, "top_p": 0.95, "min_p": 0.05},
    {"top_k": 1}, {"temperature": 2.0, "top_k": 12, "top_p": 0.9, "min_p": 0.1},
]  # fmt: skip


def _draw(logits, count, seed, index=None, allowed=None, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    seeds = np.stack([np.full(count, seed), np.arange(count)], -1).astype(np.uint32)
    full = lambda value, dtype: np.full(count, value, dtype)
    allowed = logits if allowed is None else allowed
    return map(
        np.asarray,
        _sample(
            np.broadcast_to(logits, (count, logits.size)), np.broadcast_to(allowed, (count, logits.size)), seeds,
            full(0, np.int32) if index is None else index, full(temperature, np.float32), full(top_k, np.int32),
            full(top_p, np.float32), full(min_p, np.float32),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
def test_samples_follow_the_truncated_distribution(chosen):
    logits = (np.random.default_rng(3).normal(size=150) * 2).astype(np.float32)
    ids, logprobs, model_logprobs = _draw(logits, 4000, seed=11, **chosen)
    probs = truncated_softmax(logits, **chosen)
    assert_drawn_from(ids, probs)
    np.testing.assert_allclose(logprobs, np.log(probs[ids]), atol=1e-4)
    untruncated = truncated_softmax(logits, chosen.get("temperature", 1.0))
    np.testing.assert_allclose(model_logprobs, np.log(untruncated[ids]), atol=1e-4)


def test_noise_depends_on_the_token_index_too():
    logits = np.zeros(150, np.float32)
    first, *_ = _draw(logits, 4000, seed=5)
    second, *_ = _draw(logits, 4000, seed=5, index=np.ones(4000, np.int32))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06


def test_forbidden_ids_change_the_sampling_distribution_only():
    logits = np.random.default_rng(4).normal(size=150).astype(np.float32)
    forbidden = np.arange(150) % 3 == 0
    allowed = np.where(forbidden, -np.inf, logits)
    ids, logprobs, model_logprobs = _draw(logits, 4000, seed=2, allowed=allowed)
    probs = truncated_softmax(allowed)
    assert_drawn_from(ids, probs)
    np.testing.assert_allclose(logprobs, np.log(probs[ids]), atol=1e-4)
    np.testing.assert_allclose(model_logprobs, np.log(truncated_softmax(logits)[ids]), atol=1e-4)


def test_greedy_is_certain_and_scored_at_temperature_one():
    logits = np.random.default_rng(5).normal(size=150).astype(np.float32)
    ids, logprobs, model_logprobs = _draw(logits, 4000, seed=2, temperature=0.0, top_k=9, top_p=0.5)
    assert (ids == logits.argmax()).all() and (logprobs == 0).all()
    np.testing.assert_allclose(model_logprobs, np.log(truncated_softmax(logits)[ids]), atol=1e-5)


def test_a_tiny_temperature_stays_finite():
    logits = np.random.default_rng(6).normal(size=150).astype(np.float32) * 100
    ids, logprobs, model_logprobs = _draw(logits, 4000, seed=2, temperature=1e-5)
    assert (ids == logits.argmax()).all()
    assert np.isfinite(logprobs).all() and np.isfinite(model_logprobs).all()
