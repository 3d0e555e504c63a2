"""Sampling settings: vLLM's names, refusals in one sentence."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.errors import UserError
from mxjax.sampling import Request, SamplingParams


def test_defaults_sample_the_model_itself():
    p = SamplingParams()
    assert (p.temperature, p.top_k, p.top_p, p.min_p, p.min_tokens, p.stop, p.seed) == (1.0, 0, 1.0, 0.0, 0, (), None)
    assert Request([1]).sampling == p


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf}, {"temperature": 1e-9},
        {"top_k": -2}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_p": math.nan}, {"min_p": -0.1}, {"min_p": 1.5},
        {"repetition_penalty": 0.0}, {"repetition_penalty": math.inf}, {"presence_penalty": 2.1},
        {"frequency_penalty": -2.1}, {"frequency_penalty": math.nan},
        {"max_tokens": 0}, {"min_tokens": -1}, {"min_tokens": 9, "max_tokens": 8}, {"stop": ""}, {"stop": ["a", ""]},
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_by_name(changes):
    with pytest.raises(ValueError, match=next(iter(changes))) as error:
        SamplingParams(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0}, {"temperature": 1e-5}, {"top_k": -1}, {"top_p": 1e-9}, {"min_p": 1.0}, {"max_tokens": 1}],
)
def test_edges_are_allowed(changes):
    SamplingParams(**changes)


@pytest.mark.parametrize("deadline_s", [-1.0, math.nan])
def test_a_deadline_in_the_past_is_refused(deadline_s):
    with pytest.raises(ValueError, match="deadline_s"):
        Request([1], deadline_s=deadline_s)


def test_penalties_are_off_by_default():
    assert not SamplingParams().penalised
    for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        assert SamplingParams(**{name: 1.5}).penalised


def test_one_stop_string_is_a_list_of_one():
    assert SamplingParams(stop="END").stop == ("END",)
    assert SamplingParams(stop=["a", "b"], stop_token_ids=[3]).stop_token_ids == (3,)


def test_replace_checks_again():
    p = SamplingParams(temperature=0.7)
    assert p.replace(top_k=5) == SamplingParams(temperature=0.7, top_k=5)
    with pytest.raises(ValueError, match="top_p"):
        p.replace(top_p=2.0)


WRONG_TYPES = {
    ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"): [
        True, "1", "0.5", None, [1.0], 1j, np.bool_(True), np.array([0.5, 0.5]), 10**400,
    ],
    ("top_k", "max_tokens", "min_tokens"): [
        True, False, "5", 5.0, 5.5, None, [5], math.nan, np.float32(5), np.bool_(1), 2**70,
    ],
    ("seed",): [True, "7", 7.0, 1.5, [7], math.nan, 2**64, -(2**63) - 1, np.float64(7)],
    ("stop",): [b"END", 5, ["a", 5], ["a", None], [b"x"], {"a": 1}, True, [["a"]]],
    ("stop_token_ids",): [5, "5", ["5"], [5.0], [True], [None], {5: 1}, [[5]], np.array([1.5])],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for names, values in WRONG_TYPES.items() for name in names for value in values]
)
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=name) as error:
        SamplingParams(**{name: value})
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_numbers_of_numpy_become_pythons():
    p = SamplingParams(
        temperature=np.float32(0.5), top_p=np.float64(1), min_p=np.int64(0), top_k=np.int32(5), max_tokens=np.int64(9),
        seed=np.uint64(2**63), stop_token_ids=np.array([3, 4]), stop=None,
    )  # fmt: skip
    assert {type(p.temperature), type(p.top_p), type(p.min_p)} == {float}
    assert {type(p.top_k), type(p.max_tokens), type(p.seed), type(p.stop_token_ids[0])} == {int}
    assert (p.temperature, p.seed, p.stop_token_ids, p.stop) == (0.5, 2**63, (3, 4), ())
    assert SamplingParams(stop_token_ids=None).stop_token_ids == ()


@pytest.mark.parametrize(
    "ids", [[], [[1, 2]], [[1], [2, 3]], [1.5], ["a"], "abc", None, 5, [True], [None], [2**70], {1}]
)
def test_a_prompt_is_a_flat_list_of_ids(ids):
    with pytest.raises(UserError, match="prompt_token_ids must be a non-empty list of ids"):
        Request(ids)


@pytest.mark.parametrize("ids", [[1], (1, 2), np.arange(3), np.arange(3, dtype=np.uint32), range(3)])
def test_any_sequence_of_integers_is_a_prompt(ids):
    assert Request(ids).ids().tolist() == list(ids)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampling": {"temperature": 1}}, "sampling"), ({"sampling": None}, "sampling"),
        ({"deadline_s": "1"}, "deadline_s"), ({"deadline_s": True}, "deadline_s"),
        ({"parent": "first"}, "parent"), ({"parent": 1.5}, "parent"),
    ],
)  # fmt: skip
def test_a_request_of_other_types_is_refused_by_name(changes, says):
    with pytest.raises(UserError, match=f"{says} must be"):
        Request([1], **changes)


NAMES = [field.name for field in dataclasses.fields(SamplingParams)]
ANY = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, ANY)))
def test_any_settings_are_taken_or_refused_in_a_sentence(settings):
    try:
        SamplingParams(**settings)
    except UserError as error:
        assert "\n" not in str(error)


def test_numbers_too_long_to_be_written_are_refused_in_a_sentence():
    for name in ("top_k", "max_tokens", "seed", "temperature"):
        with pytest.raises(UserError, match=name):
            SamplingParams(**{name: 10**5000})
