"""The text identity that train/test overlap is judged by, and the exact arithmetic that golds are checked with."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.data import normalise_text
from mxjax.data.arithmetic import evaluate


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 + 7 - 3", "State the final answer to the following arithmetic problem: 12 + 7 - 3 ="),
        ("12 + 7", "Calculate 12 + 7."),
        ("12+7", "What is 12 + 7?"),
        ("3 * 4", "Solve the following multiplication: 3 * 4. Give only the result as your final answer."),
        ("How  many\nLEGS?", "how many legs?"),
        ("cafe\u0301", "caf\u00e9"),
        ("１２ + 7", "12 + 7"),
    ],
)
def test_same_question(one, other):
    assert normalise_text(one) == normalise_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("12 + 7", "7 + 12"), ("12 + 7", "12 - 7"), ("1 2", "12"), ("2 - -1", "2 - 1"), ("3 cats + 2", "3 dogs + 2")],
)
def test_different_questions(one, other):
    assert normalise_text(one) != normalise_text(other)


@given(st.one_of(st.text(), st.text("0123456789 +-*/().=?whatiscompute")))
def test_identity_is_idempotent(text):
    assert normalise_text(normalise_text(text)) == normalise_text(text)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("4 - 1", 3),
        ("12 + 7 - 3", 16),
        ("2 + 3 * 4", 14),
        ("2 - -1", 3),
        ("( 56 + -33 ) - 84", -61),
        ("-( 2 + 3 )", -5),
        ("7 / 2", Fraction(7, 2)),
        ("7 / 2 * 2", 7),
        ("105 / 738 - 405", Fraction(35, 246) - 405),
    ],
)
def test_exact_values(expression, value):
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["", " ", "x", "1 +", "(1", "1)", "1 / 0", "1 1", "2 ** 3", "()", "__import__", "(" * 99, "-" * 99 + "1"],
)
def test_not_an_expression(expression):
    with pytest.raises(ValueError):
        evaluate(expression)
