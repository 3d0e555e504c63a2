"""The schedule of stages, for every mode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.rl import role_weights, stage_at, stage_switched


def test_default_schedule_is_the_papers():
    roles = [stage_at(step) for step in range(120)]
    assert roles == ["executor"] * 30 + ["designer"] * 30 + ["executor"] * 30 + ["designer"] * 30


@given(st.integers(0, 10_000), st.integers(1, 100), st.sampled_from(["designer", "executor"]))
def test_stage_is_floor_of_t_over_k_mod_2(step, length, first):
    other = {"designer": "executor", "executor": "designer"}[first]
    assert stage_at(step, length, first) == [first, other][(step // length) % 2]
    weights = role_weights(step, "stagewise", length, first)
    assert weights == {role: float(role == stage_at(step, length, first)) for role in ("designer", "executor")}
    assert stage_switched(step, "stagewise", length, first) == (step > 0 and step % length == 0)


@pytest.mark.parametrize(
    ("mode", "designer", "executor"),
    [("coupled", 1.0, 1.0), ("designer_only", 1.0, 0.0), ("executor_only", 0.0, 1.0)],
)
def test_constant_modes(mode, designer, executor):
    for step in (0, 29, 30, 400):
        assert role_weights(step, mode) == {"designer": designer, "executor": executor}
        assert not stage_switched(step, mode)


def test_wrong_names_list_the_choices():
    with pytest.raises(ValueError, match="stagewise, coupled, designer_only, executor_only"):
        role_weights(0, "both")
    with pytest.raises(ValueError, match="designer, executor"):
        stage_at(0, first="critic")
    with pytest.raises(ValueError, match="at least 1"):
        stage_at(0, stage_length=0)
    with pytest.raises(ValueError, match="negative"):
        stage_at(-1)
