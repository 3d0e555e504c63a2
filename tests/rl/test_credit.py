"""From trees to training segments: who is credited, how much, and how tokens weigh."""

import types
import zlib

import numpy as np
import pytest

from mxjax.rl import credit, designer_advantages, executor_advantages
from mxjax.rollout.records import Design, Execution, Question, QuestionTree, Segment


def call(role, name, prompt=3, response=2, temperature=1.0):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return Segment(
        role=role,
        call_id=name,
        parent=None,
        prompt_token_ids=rng.integers(0, 50, prompt).astype(np.int32),
        token_ids=rng.integers(0, 50, response).astype(np.int32),
        logprobs=np.zeros(response, np.float32),
        model_logprobs=rng.normal(size=response).astype(np.float32),
        sampling=types.SimpleNamespace(temperature=temperature),
        finish_reason="stop",
    )


def tree(rewards, calls=None, status=None):
    """A tree with these rewards [M, N]; `calls` and `status` give calls and status of executions by (i, j)."""
    calls, status = calls or {}, status or {}
    designs = []
    for i, row in enumerate(rewards):
        executions = tuple(
            Execution(
                index=j,
                segments=tuple(call("executor", f"{i}.{j}.{k}", response=k + 1) for k in range(calls.get((i, j), 1))),
                result=None,
                correct=reward,
                format=0.0,
                reward=reward,
                status=status.get((i, j), "ok"),
            )
            for j, reward in enumerate(row)
        )
        designs.append(Design(i, call("designer", f"design{i}", response=4), "", "", executions))
    return QuestionTree(Question("q", "?"), tuple(designs))


REWARDS = [[1.0, 0.0, 1.4], [0.0, 0.4, 0.0]]


def by_role(segments, role):
    return [s for s in segments if s.role == role]


def test_every_call_gets_its_executions_advantage():
    made = tree(REWARDS, calls={(0, 1): 3})
    segments = credit([made])
    designer, executor = designer_advantages([REWARDS])[0], executor_advantages([REWARDS])[0]
    assert len(by_role(segments, "designer")) == 2 and len(by_role(segments, "executor")) == 8
    expected = [(d.segment, designer[i]) for i, d in enumerate(made.designs)]
    expected += [
        (s, executor[i, j]) for i, d in enumerate(made.designs) for j, e in enumerate(d.executions) for s in e.segments
    ]
    for source, advantage in expected:
        (found,) = [s for s in segments if np.array_equal(s.old_logprobs[s.weights > 0], source.model_logprobs)]
        np.testing.assert_array_equal(found.tokens, [*source.prompt_token_ids, *source.token_ids])
        np.testing.assert_array_equal(found.weights, [0] * 3 + [1] * len(source.token_ids))
        np.testing.assert_array_equal(found.advantages[3:], np.float32(advantage))
        assert found.role == source.role


def test_more_calls_do_not_weigh_more_in_the_statistics():
    few = {s.advantages[-1] for s in by_role(credit([tree(REWARDS)]), "executor")}
    many = {s.advantages[-1] for s in by_role(credit([tree(REWARDS, calls={(0, 0): 9})]), "executor")}
    assert few == many


def test_invalid_executions_and_designs_are_left_out():
    lost = tree(REWARDS, status={(0, 0): "infrastructure", **{(1, j): "infrastructure" for j in range(3)}})
    segments = credit([lost])
    assert len(by_role(segments, "executor")) == 2
    assert len(by_role(segments, "designer")) == 1
    valid = np.array([[False, True, True], [False] * 3])
    np.testing.assert_allclose(
        [s.advantages[-1] for s in by_role(segments, "executor")], executor_advantages([REWARDS], [valid])[0][valid]
    )


def test_a_design_that_did_not_parse_is_zero_for_the_designer_alone():
    unparsed = tree([[1.0, 1.0], [0.0, 0.0]], calls={(1, 0): 0, (1, 1): 0})
    segments = credit([unparsed])
    np.testing.assert_allclose([s.advantages[-1] for s in by_role(segments, "designer")], [1, -1], atol=1e-5)
    assert [s.advantages[-1] for s in by_role(segments, "executor")] == [0.0, 0.0]


def test_executor_groups():
    segments = by_role(credit([tree([[1.0, 0.0], [5.0, 4.0]])], executor_group="design"), "executor")
    np.testing.assert_allclose([s.advantages[-1] for s in segments], [1, -1, 1, -1], atol=1e-5)


@pytest.mark.parametrize(("aggregation", "sums"), [("segment", [1.0, 1.0, 1.0]), ("execution", [1 / 6, 2 / 6, 3 / 6])])
def test_aggregation_is_in_the_weights(aggregation, sums):
    segments = credit([tree(REWARDS, calls={(1, 2): 3})], aggregation=aggregation)
    designers = by_role(segments, "designer")
    np.testing.assert_allclose([s.weights.sum() for s in designers], [1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose([s.weights.sum() for s in segments[-3:]], sums, rtol=1e-6)
    for s in segments:
        assert len(set(s.weights[s.weights > 0])) == 1


def test_groups_without_spread_can_be_dropped():
    flat, mixed = tree([[1.0, 1.0], [1.0, 1.0]]), tree([[1.0, 1.0], [0.0, 1.0]])
    assert len(credit([flat])) == 6
    assert credit([flat], drop_zero_spread=True) == []
    assert len(credit([mixed], drop_zero_spread=True)) == 6
    by_design = credit([mixed], drop_zero_spread=True, executor_group="design")
    assert len(by_role(by_design, "executor")) == 2 and len(by_role(by_design, "designer")) == 2


def test_an_execution_at_the_mean_of_its_group_stays():
    segments = by_role(credit([tree([[0.0, 0.5, 1.0]])], drop_zero_spread=True), "executor")
    np.testing.assert_allclose([s.advantages[-1] for s in segments], [-1.2247, 0, 1.2247], atol=1e-3)


def test_temperature_follows_the_call():
    made = tree([[1.0]])
    greedy = Design(0, call("designer", "d", temperature=0.0), "", "", made.designs[0].executions)
    hot = Design(1, call("designer", "h", temperature=0.7), "", "", made.designs[0].executions)
    segments = by_role(credit([QuestionTree(made.question, (greedy, hot))]), "designer")
    assert [s.temperature for s in segments] == [1.0, 0.7]


def test_calls_without_a_token_are_left_out():
    made = tree([[1.0, 0.0]])
    empty = Design(0, call("designer", "d", response=0), "", "", made.designs[0].executions)
    assert by_role(credit([QuestionTree(made.question, (empty,))]), "designer") == []


def test_questions_may_differ_in_size():
    assert len(credit([tree(REWARDS), tree([[1.0]])])) == 10
    assert credit([]) == []


def test_unknown_aggregation_lists_the_choices():
    with pytest.raises(ValueError, match="token, segment, execution"):
        credit([], aggregation="mean")
