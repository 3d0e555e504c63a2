"""Systems and budgets of the evaluation harness."""

import dataclasses
import itertools

import pytest
from rollout.scripted import ScriptedEngine
from support import sandbox

from mxjax.evaluation import FIXED, MATCHED, check_run_systems, evaluate, fixed_script, markdown, match_budget, table
from mxjax.evaluation.systems import check_systems, expand, random_script
from mxjax.mas import check, parse_design, pattern
from mxjax.rewards import Verdict, make_reward
from mxjax.rollout import Question, Role

QUESTIONS = [Question(f"q{i}", f"{i} + {i}", gold=str(2 * i)) for i in range(6)]


def boxed(answer):
    return f"<delivery>d</delivery>\nFINAL ANSWER: \\boxed{{{answer}}}"


def doubled(prompt, request):
    """The right answer to "i + i" from question text in the prompt."""
    digits = [
        int(word) for word in prompt.replace("+", " ").replace("<", " ").replace(">", " ").split() if word.isdigit()
    ]
    return boxed(2 * digits[0])


@pytest.mark.parametrize("system", FIXED)
def test_fixed_scripts_are_valid_designs(system):
    assert check(parse_design(f"<code>{fixed_script(system)}</code>"))


@pytest.mark.parametrize("system", ["single", "vote", "self_consistency@3", "debate", "vote@5"])
def test_right_replies_are_scored_right_and_the_budget_is_counted(system):
    outcome = evaluate(QUESTIONS, system, {"executor": Role(ScriptedEngine(doubled))}, make_reward(), "sums", samples=2)
    row = outcome.row
    assert row["accuracy"] == 1.0 and (row["n"], row["samples"]) == (6, 2)
    assert row["calls"] == {"single": 1, "vote": 3, "self_consistency@3": 3, "debate": 5, "vote@5": 5}[system]
    assert row["response_tokens"] > 0 and row["valid_design_rate"] == 1.0 and row["failures"] == {}


def test_self_consistency_takes_the_majority():
    replies = iter([boxed(1), boxed(2), boxed(2), boxed(3), boxed(2)])
    engine = ScriptedEngine(lambda prompt, request: next(replies))
    outcome = evaluate(
        [Question("q", "1 + 1", gold="2")], "self_consistency@5", {"executor": Role(engine)}, make_reward()
    )
    assert outcome.row["accuracy"] == 1.0


def test_votes_are_matched_to_the_tokens_of_designed_systems():
    row = lambda system, tokens, benchmark="b": {
        "system": system, "benchmark": benchmark, "prompt_tokens": tokens / 2, "response_tokens": tokens / 2,
    }  # fmt: skip
    rows = [row("single", 40), row("designed", 150), row("designed", 4000, "other")]
    assert match_budget(MATCHED, rows, "b") == "self_consistency@4"
    assert match_budget(MATCHED, [row("single", 40), row("designed", 10)], "b") == "self_consistency@1"
    assert match_budget("vote@matched", rows, "b") == "vote@4"
    assert match_budget("vote", [], "b") == "vote"
    with pytest.raises(ValueError, match="name both before it"):
        match_budget(MATCHED, rows, "other")
    with pytest.raises(ValueError, match="match_budget"):
        evaluate(QUESTIONS, MATCHED, {"executor": Role(ScriptedEngine(doubled))}, make_reward())


def test_designs_that_cannot_run_count_as_wrong_and_are_named():
    engine = ScriptedEngine(lambda prompt, request: "no code")
    roles = {"designer": Role(engine), "executor": Role(engine)}
    row = evaluate(QUESTIONS, "designed", roles, make_reward()).row
    assert row["accuracy"] == 0 and row["valid_design_rate"] == 0
    assert row["failures"] == {"invalid_design": 6} and row["patterns"] == {"invalid": 1.0}


def test_unknown_systems_and_empty_sets_are_refused():
    roles = {"executor": Role(ScriptedEngine(doubled))}
    for system in ("oracle", "debate@3", "designed@matched", "vote@0", ""):
        with pytest.raises(ValueError, match="unknown system"):
            evaluate(QUESTIONS, system, roles, make_reward())
    with pytest.raises(ValueError, match="no questions"):
        evaluate([], "single", roles, make_reward())


def test_the_table_has_a_line_for_each_row():
    row = evaluate(QUESTIONS, "single", {"executor": Role(ScriptedEngine(doubled))}, make_reward(), "sums").row
    lines = table([row, row]).splitlines()
    assert len(lines) == 3 and "100.0%" in lines[1]


def test_text_with_quotes_reaches_the_agents_as_it_is():
    text = 'Answer "only" the\nnumber, it\'s \\boxed.'
    engine = ScriptedEngine(doubled)
    outcome = evaluate(QUESTIONS, "vote", {"executor": Role(engine)}, make_reward(), agent_text=text)
    assert outcome.row["valid_design_rate"] == 1.0 and outcome.row["accuracy"] == 1.0
    assert text.splitlines()[0] in engine.tokenizer.decode(engine.requests[0].prompt_token_ids)


def test_a_perfect_score_is_not_certainty():
    row = evaluate(QUESTIONS, "single", {"executor": Role(ScriptedEngine(doubled))}, make_reward(), samples=3).row
    assert row["accuracy"] == 1.0 and row["ci95"][0] < 0.7


def test_random_designs_are_valid_varied_and_differ_by_question():
    scripts = [random_script(seed) for seed in range(300)]
    assert len({pattern(check(script)) for script in scripts}) >= 4 and len(set(scripts)) > 200
    engine = ScriptedEngine(doubled)
    outcome = evaluate(QUESTIONS, "random_design", {"executor": Role(engine)}, make_reward(), samples=3)
    assert outcome.row["valid_design_rate"] == 1.0 and outcome.row["samples"] == 3 and len(outcome.row["correct"]) == 6
    assert len({design.source for tree in outcome.trees for design in tree.designs}) > 9
    again = evaluate(QUESTIONS, "random_design", {"executor": Role(ScriptedEngine(doubled))}, make_reward(), samples=3)
    assert [tree.designs[1].source for tree in again.trees] == [tree.designs[1].source for tree in outcome.trees]


def test_another_policy_can_execute_the_designs():
    script = f"<code>{fixed_script('single')}</code>"
    own, other = ScriptedEngine(lambda prompt, request: script), ScriptedEngine(doubled)
    roles = {"designer": Role(own), "executor": Role(own)}
    assert evaluate(QUESTIONS, "designed", roles, make_reward()).row["accuracy"] == 0
    frozen = evaluate(QUESTIONS, "frozen_executor", {**roles, "frozen_executor": Role(other)}, make_reward()).row
    assert frozen["accuracy"] == 1 and frozen["calls"] == 2 and len(other.requests) == len(QUESTIONS)
    with pytest.raises(ValueError, match="--executor"):
        evaluate(QUESTIONS, "frozen_executor", roles, make_reward())


def test_samples_give_pass_and_majority_at_k():
    answers = itertools.cycle([1, 2, 2, 0])
    engine = ScriptedEngine(lambda prompt, request: boxed(next(answers)))
    question = [Question("q", "1 + 1", gold="2")]
    row = evaluate(question, "single", {"executor": Role(engine)}, make_reward(), samples=4).row
    assert row["accuracy"] == 0.5
    assert row["pass_at"]["2"]["value"] == pytest.approx(5 / 6) and row["pass_at"]["4"]["value"] == 1
    assert row["majority_at"]["4"]["value"] == 1 and row["reasons"] == {"wrong answer": 2}


def test_a_formula_that_took_too_long_is_a_reason_of_its_own():
    engine = ScriptedEngine(lambda prompt, request: boxed(1))
    reward = make_reward(verify=lambda question, answer: Verdict(False, "undecided"))
    row = evaluate([Question("q", "1 + 1", gold="2")], "single", {"executor": Role(engine)}, reward).row
    assert row["reasons"] == {"undecided": 1}


def test_a_majority_over_programs_counts_them_without_comments():
    programs = ["def f(x): return x", "def f(x): return 0  # b", "def f(x): return 0"]
    replies = iter([f"<solution>\n{program}\n</solution>" for program in programs])
    engine = ScriptedEngine(lambda prompt, request: next(replies))
    verify = lambda question, answer: "return 0" in answer
    question = [Question("q", "Write f.", "code", tests=[{"check": "f(1)"}])]
    row = evaluate(question, "self_consistency@3", {"executor": Role(engine)}, make_reward(verify=verify)).row
    assert row["accuracy"] == 1.0


SPELLINGS = ["5", "1234", "1,234", "7.0", "7"]


@pytest.mark.parametrize(("replies", "winner"), [(SPELLINGS[:3], "1234"), (["5", *SPELLINGS[3:]], "7")])
def test_every_majority_counts_numbers_however_they_are_written(replies, winner):
    """An ensemble in a design, repeated samples and majority@k name the same winner."""
    question, found = [Question("q", "What is it?", gold=winner)], {}
    for system, samples in (("vote@3", 1), ("self_consistency@3", 1), ("single", 3)):
        answers = iter(map(boxed, replies))
        engine = ScriptedEngine(lambda prompt, request, answers=answers: next(answers))
        row = evaluate(question, system, {"executor": Role(engine)}, make_reward(), samples=samples).row
        found[system] = row["majority_at"]["3"]["value"] if samples > 1 else row["accuracy"]
    assert found == {"vote@3": 1, "self_consistency@3": 1, "single": 1}


def test_messages_without_an_answer_vote_as_a_whole_where_a_verifier_takes_them():
    question = [Question("q", "Name two colours.", "text")]
    replies = ["blue\nred", "red\n\n green", "red\ngreen"]
    for verify, right in ((lambda question, answer: answer.split() == ["red", "green"], 1), (None, 0)):
        answers = iter(replies)
        engine = ScriptedEngine(lambda prompt, request, answers=answers: next(answers))
        reward, asked = make_reward(verify=verify), [dataclasses.replace(question[0], gold="red")]
        outcome = evaluate(asked, "self_consistency@3", {"executor": Role(engine)}, reward)
        assert outcome.row["accuracy"] == right


def test_systems_that_cannot_be_evaluated_are_known_beforehand():
    check_run_systems(("single", "designed", "self_consistency@matched", "vote@matched"))
    check_systems(["vote@matched"], have=["designed", "single"])
    for systems in ([MATCHED], ["single", MATCHED, "designed"], ["designed", "vote@matched"]):
        with pytest.raises(ValueError, match="name both before it"):
            check_systems(systems)
    for system in ("all", "best_fixed", "frozen_executor"):
        with pytest.raises(ValueError, match=f"eval.systems cannot have {system}"):
            check_run_systems(["single", system])
    with pytest.raises(ValueError, match="unknown system 'oracle'"):
        check_run_systems(["oracle"])


def test_questions_answered_before_are_not_asked_again():
    engine, kept = ScriptedEngine(doubled), {}
    common = (QUESTIONS, "vote", {"executor": Role(engine)}, make_reward(), "sums")
    whole = evaluate(*common, finished=lambda tree, record: kept.update({tree.question.id: record})).row
    asked = len(engine.requests)
    earlier = {name: kept[name] for name in ("q1", "q4")}
    rest = evaluate(*common, earlier=earlier)
    assert len(engine.requests) - asked == 4 * 3 and [tree.question.id for tree in rest.trees] == [
        "q0",
        "q2",
        "q3",
        "q5",
    ]
    timeless = lambda row: {name: value for name, value in row.items() if not name.startswith("seconds")}
    assert timeless(rest.row) == timeless(whole)


def test_progress_has_the_running_accuracy():
    seen = []
    engine = ScriptedEngine(lambda prompt, request: boxed(4))  # right for q2 alone
    roles = {"executor": Role(engine)}
    evaluate(QUESTIONS, "single", roles, make_reward(), progress=lambda *figures: seen.append(figures))
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5, 6] and seen[-1][1] == pytest.approx(1 / 6)


def test_all_is_every_baseline_in_an_order_that_can_be_matched():
    names = expand(["all"], has_executor=False)
    assert names[-1] == MATCHED and "designed" in names and "frozen_executor" not in names
    assert "frozen_executor" in expand(["all"], has_executor=True)
    assert expand(["designed", "single", "designed"], False) == ["designed", "single"]


def test_programs_that_passed_beside_their_tests_are_counted():
    """A check whose argument is of a class of its own runs in one process with the program, if the config allows."""
    check = "class Box:\n    n = 1\nassert f(Box()) == 2"
    tests = {"a": [{"check": check}], "b": [{"check": "assert f(None) == 2"}]}
    questions = [Question(name, "Write f.", "code", tests=own) for name, own in tests.items()]
    engine = ScriptedEngine(lambda prompt, request: "<solution>\ndef f(box):\n    return 2\n</solution>")
    with sandbox("auto") as box:
        graded = lambda reward: evaluate(questions, "single", {"executor": Role(engine)}, reward, samples=2).row
        strict, row = graded(make_reward(sandbox=box)), graded(make_reward(sandbox=box, in_process=True))
    assert strict["accuracy"] == 0.5 and strict["in_process"] == 0 and strict["reasons"] == {"in process": 2}
    assert row["accuracy"] == 1.0 and row["in_process"] == 2 and row["reasons"] == {}
    assert "2 passed in one process with their tests" in markdown([row])


def test_reasons_name_what_went_wrong():
    replies = {
        "q0": "<code>x = (</code>",
        "q1": "<code>x = 1 / 0</code>",
        "q2": f"<code>{fixed_script('single')}</code>",
    }
    roles = {}
    for role in ("designer", "executor"):
        reply = lambda prompt, request, role=role: (
            "I do not\nknow." if role == "executor" else next(text for q, text in replies.items() if q in prompt)
        )
        roles[role] = Role(ScriptedEngine(reply))
    questions = [dataclasses.replace(question, text=question.id) for question in QUESTIONS[:3]]
    row = evaluate(questions, "designed", roles, make_reward()).row
    assert row["reasons"] == {"design: syntax": 1, "script: ZeroDivisionError": 1, "no answer": 1}
