"""Sampling settings: vLLM's names, refusals in one sentence."""

import math

import pytest

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
