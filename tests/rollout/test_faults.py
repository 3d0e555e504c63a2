"""Exceptions of grading: each loses one execution, is told whole once per kind, and too many end the run."""

import logging
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout.scripted import ScriptedEngine

from mxjax.errors import UserError
from mxjax.evaluation import evaluate
from mxjax.mas.records import Tool, ToolCall
from mxjax.mas.toolbox import Toolbox
from mxjax.rewards import InfrastructureError, make_reward
from mxjax.rl import credit
from mxjax.rollout import Question, Reward, Role, collect
from mxjax.rollout.faults import LEAST, GradingFaults

GOOD = "<delivery>adds up</delivery>\nFINAL ANSWER: \\boxed{16}"
QUESTIONS = [Question(f"q{n}", f"{n} + 16 - {n}", gold="16") for n in range(20)]
DONE = types.SimpleNamespace(status="ok", content="16")
UNFINISHED = types.SimpleNamespace(status="limit", content="")


def roles():
    return {"executor": Role(ScriptedEngine(lambda prompt, request: GOOD))}


def single(questions, reward):
    return evaluate(questions, "single", roles(), reward)


def broken_on(*ids, error=None):
    """A verifier that raises for these questions."""

    def verify(question, answer):
        if question.id in ids:
            raise error or KeyError("missing")
        return True

    return verify


def test_one_answer_that_cannot_be_graded_costs_one_execution(caplog):
    outcome = single(QUESTIONS, make_reward(verify=broken_on("q3", "q7")))
    executions = {tree.question.id: tree.designs[0].executions[0] for tree in outcome.trees}
    lost = [id for id, execution in executions.items() if not execution.valid]
    assert lost == ["q3", "q7"]
    assert executions["q3"].reason == "grading_fault: KeyError: 'missing'" and executions["q3"].reward == 0
    assert (outcome.row["grading_faults"], outcome.row["failures"]) == (2, {"infrastructure": 2})
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]  # once for both
    text = caplog.text
    assert "question q3: '3 + 16 - 3'" in text and f"answer: {GOOD!r}" in text
    assert "Traceback" in text and "in broken_on" not in record.message and "in verify" in record.message


def test_the_lost_execution_has_no_part_in_the_update():
    (tree,) = collect(
        QUESTIONS[:1], roles(), make_reward(verify=broken_on("q0")), scripts=["x = 1"], executions=2
    )  # fmt: skip
    assert credit([tree]) == []


@pytest.mark.parametrize(
    "error", [BrokenPipeError("pipe"), MemoryError("full"), RecursionError("deep"), UserError("no")]
)
def test_whatever_a_verifier_raises_is_a_fault_of_its_own_kind(error):
    faults = GradingFaults()
    reward = make_reward(verify=broken_on("q0", error=error))
    result = types.SimpleNamespace(status="ok", reason="", content="16", origin_call="a", origin_text="16")
    verdict = faults.grade(reward, QUESTIONS[0], result, ())
    assert (verdict.correct, verdict.format, verdict.valid) == (0.0, 0.0, False)
    assert verdict.how == f"grading_fault: {type(error).__name__}: {error}" and faults.count == 1


def test_a_lost_machine_is_no_fault_of_the_verifier():
    faults = GradingFaults(0.0)
    lost = lambda question, result, segments: broken_on("q0", error=InfrastructureError("worker lost"))(question, "")
    verdicts = [faults.grade(lost, QUESTIONS[0], DONE, ()) for _ in range(2 * LEAST)]
    assert {verdict.how for verdict in verdicts} == {"infrastructure: InfrastructureError: worker lost"}
    assert not any(verdict.valid for verdict in verdicts) and faults.count == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_caught(error):
    with pytest.raises(error):
        single(QUESTIONS, make_reward(verify=broken_on("q0", error=error())))


def test_a_broken_verifier_ends_the_run_in_a_sentence():
    allowed = r"grading failed for 10 of 10 answers, more than reward\.max_fault_share=0\.05 allows"
    last = r"question 'q9' with KeyError: 'missing' \(.*test_faults.py, line \d+, in verify\)"
    with pytest.raises(UserError, match=f"{allowed}.*{last}"):
        single(QUESTIONS, make_reward(verify=broken_on(*(q.id for q in QUESTIONS))))


def test_a_worker_that_grades_is_guarded_likewise():
    class InWorkers:
        faults = GradingFaults()

        def __init__(self, pool):
            self.pool = pool

        def submitter(self, question):
            return self.pool.submit

        def __call__(self, question, result, segments):
            raise ValueError("of a worker")

    with ThreadPoolExecutor(2) as pool:
        outcome = single(QUESTIONS[:8], InWorkers(pool))
        assert outcome.row["grading_faults"] == 8 == InWorkers.faults.count
        with pytest.raises(UserError, match=r"1\d of 1\d answers.*of a worker"):
            single(QUESTIONS[:8], InWorkers(pool))


@given(st.lists(st.sampled_from(["right", "fault", "unfinished"]), max_size=80), st.sampled_from([0.0, 0.1, 0.3, 1.0]))
def test_it_stops_exactly_where_the_rule_says(kinds, share):
    logging.getLogger("mxjax.rollout.faults").disabled = True
    faults, graded, count = GradingFaults(share), 0, 0

    def reward(question, result, segments):
        if kind == "fault":
            raise ValueError("bad")
        return Reward(1.0)

    try:
        for kind in kinds:
            graded += kind != "unfinished"
            count += kind == "fault"
            stops = kind == "fault" and count >= LEAST and count > share * graded
            try:
                faults.grade(reward, QUESTIONS[0], UNFINISHED if kind == "unfinished" else DONE, ())
                assert not stops
            except UserError:
                assert stops
    finally:
        logging.getLogger("mxjax.rollout.faults").disabled = False


def test_a_broken_tool_is_told_to_its_script_and_once_to_the_log(caplog):
    def broken(code):
        return {}[code]

    toolbox = Toolbox({"mine": Tool(broken, "Mine", {})})
    call = lambda **arguments: toolbox.use(ToolCall("c", "mine", arguments, "s"))
    for _ in range(3):
        assert call(code="x").error == "KeyError: 'x'"
    assert call(cod="x").error.startswith("TypeError")  # the script's own mistake
    (record,) = caplog.records
    assert "the tool mine failed" in record.message and "in broken" in caplog.text and "Traceback" in caplog.text
