"""Systems, intervals and budgets of the evaluation harness."""

import numpy as np
import pytest
from rollout.scripted import ScriptedEngine

from mxjax.evaluate import FIXED, MATCHED, bootstrap_mean, evaluate, fixed_script, match_budget, table, wilson
from mxjax.mas import check, parse_design
from mxjax.rewards import make_reward
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


@pytest.mark.parametrize("system", ["single", "vote", "self_consistency@3", "debate"])
def test_right_replies_are_scored_right_and_the_budget_is_counted(system):
    outcome = evaluate(QUESTIONS, system, {"executor": Role(ScriptedEngine(doubled))}, make_reward(), "sums", samples=2)
    row = outcome.row
    assert row["accuracy"] == 1.0 and outcome.correct_QS.shape == (6, 2)
    assert row["calls"] == {"single": 1, "vote": 3, "self_consistency@3": 3, "debate": 5}[system]
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
    for system in ("oracle", "vote@3", ""):
        with pytest.raises(ValueError, match="unknown system"):
            evaluate(QUESTIONS, system, roles, make_reward())
    with pytest.raises(ValueError, match="no questions"):
        evaluate([], "single", roles, make_reward())


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
