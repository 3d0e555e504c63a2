"""Exactly one final answer is taken from a message, by the published rule."""

import pytest

from mxjax.rewards import extract_answer


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (r"FINAL ANSWER: \boxed{5}", "5"),
        ("text\nFINAL ANSWER: \\boxed{5}\nmore text", "5"),
        (r"\boxed{1} FINAL ANSWER: \boxed{2}", "2"),
        (r"FINAL ANSWER: \boxed{1} FINAL ANSWER: \boxed{2}", "2"),
        (r"FINAL ANSWER: \boxed{1} or \boxed{2}", "2"),
        (r"\boxed{1} and \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed {5}", "5"),
        ("FINAL ANSWER: 5", "5"),
        ("**FINAL ANSWER:** 5", "5"),
        ("Final Answer: 5", "5"),
        ("FINAL ANSWER: 5\nignored", "5"),
        (r"\boxed{4} FINAL ANSWER:", "4"),
        ("\\boxed{4}\nFINAL ANSWER: 5", "5"),
        ("5", "5"),
        ("  5  ", "5"),
        ("x" * 512, "x" * 512),
        ("x" * 513, None),
        ("two\nlines", None),
        ("", None),
        ("FINAL ANSWER:", None),
        (r"FINAL ANSWER: \boxed{5", None),
        (r"\boxed{1} FINAL ANSWER: \boxed{2", None),
        (r"\boxed{1\}", None),
    ],
)
def test_rule(message, answer):
    assert extract_answer(message) == answer
