"""From an execution's result to its reward: who may be paid, for what, and when the machine is to blame."""

import dataclasses

import pytest

from mxjax.rewards import Verdict, grade_text, make_reward
from mxjax.rollout.records import Question, Reward

QUESTION = Question("q", "3 + 2", "math", gold="5")
REPLY = "<delivery>3 + 2</delivery>\nFINAL ANSWER: \\boxed{5}"


@dataclasses.dataclass(frozen=True)
class Result:
    status: str = "ok"
    content: str = REPLY
    reason: str = ""
    calls: int = 1
    fuel: int = 10
    origin_call: str | None = "agent/0"
    origin_text: str = REPLY


def test_right_and_well_formed():
    assert make_reward()(QUESTION, Result(), ()) == Reward(1.0, 1.0, True, "integer")


def test_wrong_but_well_formed():
    wrong = REPLY.replace("5", "6")
    assert make_reward()(QUESTION, Result(content=wrong, origin_text=wrong), ()) == Reward(0.0, 1.0, True, "integer")


def test_format_is_judged_on_the_agents_own_words_not_on_what_the_script_returned():
    assert make_reward()(QUESTION, Result(origin_text="5"), ()) == Reward(1.0, 0.0, True, "integer")


@pytest.mark.parametrize("status", ["error", "limit"])
def test_an_execution_that_did_not_finish_earns_nothing(status):
    assert make_reward()(QUESTION, Result(status, reason="fuel"), ()) == Reward(0.0, 0.0, True, "fuel")
    assert make_reward("any")(QUESTION, Result(status), ()) == Reward(0.0, 0.0, True, status)


def test_a_script_that_prints_the_answer_earns_nothing():
    printed = Result(origin_call=None, origin_text="")
    assert make_reward()(QUESTION, printed, ()) == Reward(0.0, 0.0, True, "not_from_agent")
    assert make_reward("any")(QUESTION, printed, ()) == Reward(1.0, 0.0, True, "integer")


def test_total_is_correctness_plus_weighted_format():
    assert Reward(1.0, 1.0).total() == 1.4
    assert Reward(0.0, 1.0).total(0.25) == 0.25
    assert Reward(1.0, 1.0, valid=False).total() == 0.0


def test_text_questions_are_compared_exactly_up_to_spacing():
    question = Question("q", "Spell richly backward", "text", gold="ylhcir")
    reward = make_reward()
    for content, correct in ((r"FINAL ANSWER: \boxed{ylhcir}", 1.0), (r"\boxed{\text{ylhcir}}", 1.0), ("richly", 0.0)):
        assert reward(question, Result(content=content), ()).correct == correct
    assert not grade_text("ylhcir", "Ylhcir")
    assert grade_text("two  words", "two words")
    assert grade_text("x", "y" * 600).how == "no_answer"
    assert grade_text("x", r"\boxed{%s}" % ("y" * 600)).how == "too_long"
    with pytest.raises(ValueError, match="gold answer"):
        grade_text("", "x")


def test_code_format_is_judged_for_code_questions():
    reply = "<delivery>add</delivery><solution>print(5)</solution>"
    question = Question("q", "print 5", "code", tests=[{"input": "", "output": "5"}])
    reward = make_reward(verify=lambda question, answer: Verdict(True, "tests", 1, 1))
    assert reward(question, Result(content=reply, origin_text=reply), ()) == Reward(1.0, 1.0, True, "tests")
    with pytest.raises(ValueError, match="sandbox="):
        make_reward()(question, Result(content=reply, origin_text=reply), ())
    with pytest.raises(ValueError, match="verify="):
        make_reward()(Question("q", "draw", "picture"), Result(), ())


@pytest.mark.parametrize(
    ("returned", "correct", "how"),
    [(True, 1.0, "verify"), (0.25, 0.25, "verify"), (Verdict(False, "mine"), 0.0, "mine")],
)
def test_a_tasks_own_verifier(returned, correct, how):
    seen = []
    reward = make_reward(verify=lambda question, answer: seen.append((question.id, answer)) or returned)
    assert reward(QUESTION, Result(), ()) == Reward(correct, 1.0, True, how)
    assert seen == [("q", REPLY)]


@pytest.mark.parametrize("returned", [1.5, -0.1, float("nan")])
def test_a_verifier_must_stay_within_0_and_1(returned):
    with pytest.raises(ValueError, match="verify must return"):
        make_reward(verify=lambda question, answer: returned)(QUESTION, Result(), ())


def test_a_bug_in_a_verifier_is_not_hidden():
    with pytest.raises(KeyError):
        make_reward(verify=lambda question, answer: {}["missing"])(QUESTION, Result(), ())


def test_a_question_without_gold_is_not_hidden():
    with pytest.raises(ValueError, match="gold answer"):
        make_reward()(Question("q", "3 + 2", "math"), Result(), ())


def test_an_unknown_answer_from_is_refused():
    with pytest.raises(ValueError, match=r"reward\.answer_from"):
        make_reward(answer_from="anyone")
