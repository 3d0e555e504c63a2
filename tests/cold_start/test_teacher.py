"""The scripted teacher: honest work, valid designs, short enough for a small model."""

import json
import random
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given
from runs import mxjax, tiny
from support import sandbox

from mxjax import mas
from mxjax.cold_start import teacher
from mxjax.cold_start.sft import segment
from mxjax.data import load_questions
from mxjax.data.arithmetic import evaluate
from mxjax.errors import UserError
from mxjax.models import Tokenizer
from mxjax.rewards import extract_answer, format_math, grade_math
from mxjax.rollout import Question
from mxjax.sandbox.tool import python_tool

PROMPTS = "configs/prompts/arithmetic.toml"
SPEC = {
    "source": "arithmetic:sums",
    "options": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2},
    "form": "mixed",
}


@pytest.fixture(scope="module")
def questions():
    return load_questions(SPEC, "train", 0, 150)


@pytest.fixture(scope="module")
def conversations(questions):
    return teacher.teach(questions, (PROMPTS, PROMPTS))


def is_design(conversation):
    return conversation[0]["content"] == mas.load_prompts(PROMPTS).designer_system


def test_every_design_parses_checks_and_runs(conversations):
    designs = [c[-1]["content"] for c in conversations if is_design(c)]
    assert len(designs) > 100
    sources = {mas.parse_design(design) for design in designs}
    assert len(sources) > 12
    assert {mas.pattern(mas.check(source)) for source in sources} >= {
        "single",
        "vote",
        "reflection",
        "debate",
        "pipeline",
    }


def test_executor_replies_have_the_contract_and_the_right_answer(conversations):
    replies = [c for c in conversations if not is_design(c)]
    answers = [c for c in replies if "VERDICT" not in c[-1]["content"]]
    for conversation in answers:
        reply = conversation[-1]["content"]
        assert format_math(reply) == 1.0
        truth = evaluate(teacher.expression_of(conversation[-2]["content"].split("\n")[0]))
        assert grade_math(str(truth), reply)


def test_verdicts_are_honest(conversations):
    verdicts = [c for c in conversations if "VERDICT" in c[-1]["content"]]
    for conversation in verdicts:
        question, response = conversation[-2]["content"].split("\nReview:\n")
        right = extract_answer(response) == str(evaluate(teacher.expression_of(question)))
        assert conversation[-1]["content"].endswith("VERDICT: CORRECT" if right else "VERDICT: INCORRECT")
    assert {c[-1]["content"].split("VERDICT: ")[1] for c in verdicts} == {"CORRECT", "INCORRECT"}


def test_agents_are_told_and_behave_in_ways_of_different_quality(conversations):
    behaviours = {(c[0]["content"].split("\n")[0], "=" in c[-1]["content"]) for c in conversations if not is_design(c)}
    assert {
        (text, steps) for text in ("Solve the task.", "Work step by step.") for steps in (True, False)
    } <= behaviours
    first_tries = [c for c in conversations if not c[-2]["content"].endswith("Try again.")]
    assert ("Answer at once.", True) not in {
        (c[0]["content"].split("\n")[0], "=" in c[-1]["content"] and "VERDICT" not in c[-1]["content"])
        for c in first_tries
    }


def test_lengths_stay_within_what_a_small_model_affords(conversations):
    texts = [message["content"] for c in conversations for message in c]
    tokenizer = Tokenizer.train(texts, 512, atoms=teacher.ATOMS)
    designs = [segment(tokenizer, c) for c in conversations if is_design(c)]
    assert max(s.weights.sum() for s in designs) <= 200
    systems = {c[0]["content"] for c in conversations if not is_design(c)}
    assert max(len(tokenizer.encode(system)) for system in systems) <= 40


def test_steps_and_checks_are_true_sums():
    rng = random.Random(0)
    for _ in range(200):
        expression = f" {rng.choice('+-*')} ".join(str(rng.randint(0, 99)) for _ in range(rng.randint(2, 4)))
        value = evaluate(expression)
        for step in f"{teacher.worked(expression)}, {teacher.undone(expression)}".split(", "):
            left, right = step.rsplit("=", 1)
            assert evaluate(left) == int(right), expression
        assert teacher.worked(expression).endswith(f"={value}")


@given(st.lists(st.integers(0, 99), min_size=2, max_size=4), st.integers(0, 2**31))
def test_columns_are_true_digit_by_digit_and_end_in_the_value(terms, seed):
    rng = random.Random(seed)
    expression = "".join(f"{rng.choice('+-') if n else ''}{term}" for n, term in enumerate(terms))
    running = terms[0]
    steps = teacher.in_columns(expression).split("; ")
    assert len(steps) == len(terms) - 1
    for step, (sign, term) in zip(steps, re.findall(r"([+-])(\d+)", expression), strict=True):
        running = running + int(term) if sign == "+" else running - int(term)
        whole, units, above, value = re.fullmatch(r"(-?\(?[\d+-]+\)?): (\S+), (\S+): (-?\d+)", step).groups()
        assert evaluate(whole) == int(value) == running
        for part in (units, above):
            left, right = part.split("=")
            assert evaluate(left) == int(right) >= 0
        assert abs(running) == 10 * int(above.split("=")[1]) + int(units.split("=")[1]) % 10
    assert running == evaluate(expression)


def test_the_same_seed_teaches_the_same(questions, conversations):
    assert teacher.teach(questions, (PROMPTS, PROMPTS)) == conversations
    assert teacher.teach(questions[:20], (PROMPTS, PROMPTS), seed=1) != teacher.teach(
        questions[:20], (PROMPTS, PROMPTS)
    )


def test_a_question_without_arithmetic_is_refused():
    with pytest.raises(ValueError, match="no sum"):
        teacher.expression_of("What is the capital of France?")


def test_some_designs_have_a_critic_that_checks_with_python(questions, conversations):
    with sandbox("auto") as box:
        tools = {"python_execute": python_tool(box)}
        taught = teacher.teach(questions[:60], (PROMPTS, PROMPTS), tool_share=0.5, tools=tools)
    designs = [c[-1]["content"] for c in taught if is_design(c)]
    with_tool = [design for design in designs if "python_execute" in design]
    assert 15 < len(with_tool) < 45
    assert {mas.pattern(mas.check(mas.parse_design(design))) for design in with_tool} == {"reflection"}
    checks = [c for c in taught if c[0]["content"].startswith(teacher.CHECKER)]
    assert len(checks) >= len(with_tool)
    for conversation in checks:
        assert [message["role"] for message in conversation] == ["system", "user", "assistant", "user", "assistant"]
        question, response = conversation[1]["content"].split("\nReview:\n")
        right = extract_answer(response) == str(evaluate(teacher.expression_of(question)))
        assert conversation[3]["content"] == f"Output of your code:\n{right}"  # all that an agent is told by Python
        assert conversation[4]["content"] == f"VERDICT: {'CORRECT' if right else 'INCORRECT'}"
    assert {c[4]["content"] for c in checks} == {"VERDICT: CORRECT", "VERDICT: INCORRECT"}
    without = teacher.teach(questions, (PROMPTS, PROMPTS), tool_share=0.0)
    assert without == conversations


def test_a_second_try_works_in_columns(conversations):
    again = [c[-1]["content"] for c in conversations if c[-2]["content"].endswith("Try again.")]
    assert again and all(": " in reply for reply in again)


@pytest.mark.slow
def test_a_tiny_run_learns_and_rolls_out_with_the_tool(tmp_path):
    sandbox("auto").close()
    flags = ("--config.rollout.tools=('python_execute',)", "--config.sft.tool_share=0.6", "--config.engine.max_len=384",
             "--config.sft.row_length=384", "--config.rl.row_length=384")  # fmt: skip
    mxjax(*tiny("sft", tmp_path / "cold", *flags))
    mxjax(*tiny("train", tmp_path / "run", *flags, f"--config.init={tmp_path / 'cold'}"))
    for run in (tmp_path / "cold", tmp_path / "run"):
        assert json.loads((run / "results.json").read_text())["sandbox_level"] in ("A", "B")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row["sandbox_level"] in ("A", "B") for row in rows} == {True}
    without = ("--benchmark=held_out", "--system=single", "--limit=2", "--tools=none", f"--output={tmp_path / 'bare'}")
    mxjax("evaluate", f"--checkpoint={tmp_path / 'run'}", *without)
    assert json.loads((tmp_path / "bare" / "results.json").read_text())["sandbox_level"] is None
    refused = mxjax(*tiny("sft", tmp_path / "none", "--config.sft.tool_share=0.6"), check=False)
    assert refused.returncode == 2 and "rollout.tools" in refused.stderr


def test_questions_without_a_gold_answer_are_refused():
    with pytest.raises(UserError, match="question q has no gold answer"):
        teacher.teach([Question("q", "1 + 2")], (PROMPTS, PROMPTS))
