"""Intervals, pass@k and majorities against closed forms and brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.evaluation import bootstrap_mean, paired_change, pass_at_k, wilson
from mxjax.evaluation.statistics import counts_k, interval, majority, majority_at_k


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (50, 100, 0.4038, 0.5962)]
)
def test_wilson_interval_is_the_textbook_one(successes, n, low, high):
    np.testing.assert_allclose(wilson(successes, n), (low, high), atol=1e-4)


def test_bootstrap_covers_the_mean_of_known_data():
    values = np.random.default_rng(1).normal(0.3, 1.0, 400)
    low, high = bootstrap_mean(values, seed=3)
    assert low < values.mean() < high
    np.testing.assert_allclose(high - low, 2 * 1.96 * values.std() / 20, rtol=0.15)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(case):
    n, right, k = case
    subsets = list(itertools.combinations([1] * right + [0] * (n - right), k))
    assert math.isclose(pass_at_k(n, right, k), sum(map(any, subsets)) / len(subsets), abs_tol=1e-12)


def test_pass_at_k_wants_as_many_samples():
    with pytest.raises(ValueError, match="k=5"):
        pass_at_k(4, 1, 5)


@pytest.mark.parametrize(("samples", "ks"), [(1, []), (2, [2]), (5, [2, 4, 5]), (8, [2, 4, 8])])
def test_tables_show_powers_of_two_and_all(samples, ks):
    assert counts_k(samples) == ks


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=9))
def test_a_majority_is_a_most_frequent_vote_first_seen(votes):
    winner = majority(votes)
    cast = [vote for vote in votes if vote is not None]
    if winner is None:
        assert not cast
    else:
        most = max(map(cast.count, cast))
        assert votes[winner] == next(vote for vote in cast if cast.count(vote) == most)
        assert winner == votes.index(votes[winner])


def test_majority_at_k_nears_its_mean_over_all_subsets():
    votes, right = ["2", "3", "2", None, "3", "2"], [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    exact = []
    for subset in itertools.combinations(range(6), 3):
        winner = majority([votes[i] for i in subset])
        exact.append(0.0 if winner is None else right[subset[winner]])
    assert abs(majority_at_k(votes, right, 3) - np.mean(exact)) < 0.2
    assert majority_at_k(votes, right, 6) == 1.0 and majority_at_k([None, None], [0.0, 0.0], 2) == 0.0


def test_the_interval_is_wilson_for_zeros_and_ones_and_for_no_spread():
    assert interval(np.array([1.0, 0.0, 1.0])) == wilson(2, 3)
    assert interval(np.array([1.0, 1.0])) == wilson(2, 2)
    assert interval(np.full(5, 0.5)) == wilson(2.5, 5)
    mixed = np.array([0.5, 0.25, 1.0])
    assert interval(mixed) == bootstrap_mean(mixed)


def test_a_paired_difference_needs_the_same_questions():
    row = lambda correct, benchmark="b": {"benchmark": benchmark, "n": 4, "samples": 1, "correct": correct}
    assert paired_change(row([0, 0, 1, 0]), row([1, 0, 1, 1])).startswith("+50.0 points")
    assert paired_change(row([0, 0, 1, 0]), row([1, 0, 1, 1], "other")) == ""
    assert paired_change(row([0, 0, 1]), row([1, 0, 1, 1])) == ""


def test_a_paired_difference_without_spread_has_no_interval():
    row = lambda *correct: {"benchmark": "b", "n": 3, "samples": 2, "correct": list(correct)}
    assert paired_change(row(0, 0.5, 1), row(0, 0.5, 1)) == "no difference on any of 3 questions"
    assert paired_change(row(0, 0.5, 0), row(0.5, 1, 0.5)) == "+50.0 points on each of 3 questions"
    assert paired_change(row(1, 1, 1), row(0, 0, 0)) == "−100.0 points on each of 3 questions"
