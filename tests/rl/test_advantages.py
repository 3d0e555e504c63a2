"""Advantages against plain Python loops, and the facts that the method states about them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mxjax.rl import designer_advantages, executor_advantages


def standardise(values):
    """{key: (value - mean) / (std + eps)} of a dict of samples; 0 where they do not differ."""
    if not values:
        return {}
    mean = math.fsum(values.values()) / len(values)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values.values()) / len(values))
    return {key: (v - mean) / (std + 1e-6) if std > 1e-6 else 0.0 for key, v in values.items()}


def designer_loop(rewards, valid):
    out = np.zeros(rewards.shape[:2])
    for q in range(rewards.shape[0]):
        means = {}
        for i in range(rewards.shape[1]):
            kept = [rewards[q, i, j] for j in range(rewards.shape[2]) if valid[q, i, j]]
            if kept:
                means[i] = math.fsum(kept) / len(kept)
        for i, advantage in standardise(means).items():
            out[q, i] = advantage
    return out


def executor_loop(rewards, valid, group):
    out = np.zeros(rewards.shape)
    Q, M, N = rewards.shape
    designs = [range(M)] if group == "question" else [[i] for i in range(M)]
    for q in range(Q):
        for members in designs:
            samples = {(i, j): rewards[q, i, j] for i in members for j in range(N) if valid[q, i, j]}
            for (i, j), advantage in standardise(samples).items():
                out[q, i, j] = advantage
    return out


shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5)
reward = st.sampled_from([0.0, 0.4, 1.0, 1.4, 1 / 3])


@st.composite
def trees(draw):
    shape = draw(shapes)
    return draw(hnp.arrays(np.float64, shape, elements=reward)), draw(hnp.arrays(bool, shape))


@settings(max_examples=200, deadline=None)
@given(trees())
def test_equals_plain_loops(tree):
    rewards, valid = tree
    np.testing.assert_allclose(designer_advantages(rewards, valid), designer_loop(rewards, valid), atol=1e-5)
    for group in ("question", "design"):
        np.testing.assert_allclose(
            executor_advantages(rewards, valid, group), executor_loop(rewards, valid, group), atol=1e-5
        )


@settings(max_examples=100, deadline=None)
@given(trees(), st.floats(0.5, 20), st.floats(-5, 5))
def test_do_not_depend_on_the_scale_and_origin_of_rewards(tree, scale, origin):
    rewards, valid = tree
    moved = scale * rewards + origin
    np.testing.assert_allclose(
        designer_advantages(moved, valid), designer_advantages(rewards, valid), rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(
        executor_advantages(moved, valid), executor_advantages(rewards, valid), rtol=1e-3, atol=1e-6
    )


@settings(max_examples=100, deadline=None)
@given(trees())
def test_a_group_sums_to_zero_with_unit_spread(tree):
    rewards, valid = tree
    advantages = executor_advantages(rewards, valid).astype(np.float64)
    np.testing.assert_allclose(advantages.sum(axis=(1, 2)), 0, atol=1e-5)
    square = (advantages**2).sum(axis=(1, 2))
    ones = np.isclose(square, valid.sum(axis=(1, 2)), rtol=1e-3)
    assert (ones | (square == 0)).all()


def test_shapes_and_dtypes():
    rewards = np.arange(24).reshape(2, 3, 4)
    assert designer_advantages(rewards).shape == (2, 3)
    assert executor_advantages(rewards).shape == (2, 3, 4)
    assert designer_advantages(rewards).dtype == executor_advantages(rewards).dtype == np.float32


def test_population_std_and_epsilon():
    advantages = executor_advantages([[[0.0, 1.0, 1.0, 1.0]]])[0, 0]
    std = math.sqrt(3 / 16)
    np.testing.assert_allclose(advantages, np.array([-0.75, 0.25, 0.25, 0.25]) / (std + 1e-6), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.4, 0.1 + 0.2, 1e6 + 0.1])
def test_equal_rewards_give_exactly_zero(value):
    rewards = np.full((1, 4, 4), value)
    assert not designer_advantages(rewards).any()
    assert not executor_advantages(rewards).any()
    assert not executor_advantages(rewards, group="design").any()


def test_spread_of_rounding_noise_counts_as_zero():
    rewards = np.array([[[1.0, 1.0 + 1e-9]], [[0.0, 0.1]]])
    advantages = executor_advantages(rewards)
    assert not advantages[0].any() and advantages[1].any()


def test_failed_executions_count_zero_for_the_designer():
    rewards = [[[1.0, 0.0], [1.0, 1.0]]]
    assert designer_advantages(rewards)[0, 0] < 0 < designer_advantages(rewards)[0, 1]


def test_lost_executions_do_not_count():
    rewards = [[[1.0, 0.0], [1.0, 1.0]]]
    valid = [[[True, False], [True, True]]]
    assert not designer_advantages(rewards, valid).any()
    assert not executor_advantages(rewards, valid).any()


def test_a_design_without_valid_execution_is_outside_its_group():
    rewards = [[[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]]
    valid = [[[False, False], [True, True], [True, True]]]
    np.testing.assert_allclose(designer_advantages(rewards, valid), [[0.0, 1.0, -1.0]], atol=1e-5)


def test_executors_are_not_paid_for_another_design_that_did_not_parse():
    rewards = [[[1.0, 1.0], [0.0, 0.0]]]
    valid = [[[True, True], [False, False]]]  # the second design made no executor call
    assert not executor_advantages(rewards, valid).any()
    assert executor_advantages(rewards).any()


def test_design_group_compares_executions_of_one_design_only():
    rewards = [[[1.0, 0.0], [5.0, 4.0]]]
    np.testing.assert_allclose(executor_advantages(rewards, group="design"), [[[1, -1], [1, -1]]], atol=1e-5)


@pytest.mark.parametrize("advantages", [designer_advantages, executor_advantages])
def test_wrong_input_is_one_sentence(advantages):
    with pytest.raises(ValueError, match=r"axes \[questions, designs, executions\]"):
        advantages([[1.0, 0.0]])
    with pytest.raises(ValueError, match="valid has the shape"):
        advantages([[[1.0, 0.0]]], [[[True]]])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"\(0, 0, 1\) is (nan|inf)"):
            advantages([[[1.0, bad]]])
        assert np.isfinite(advantages([[[1.0, bad]]], [[[True, False]]])).all()
    with pytest.raises(ValueError, match="question, design"):
        executor_advantages([[[1.0]]], group="call")
