"""The math grader on an adversarial table, and the laws it must keep for any text."""

import concurrent.futures
import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewards.math_table import TABLE

from mxjax.rewards import Verdict, grade_math


@pytest.mark.parametrize(("gold", "answer", "expected"), TABLE)
def test_adversarial_table(gold, answer, expected):
    assert bool(grade_math(gold, answer)) is expected


@pytest.mark.parametrize(
    ("gold", "how"),
    [
        ("7", "integer"),
        ("7.5", "number"),
        (r"3 \times 10^8", "scientific"),
        (r"7^\circ", "quantity"),
        ("(C)", "choice"),
        ("x=7", "equation"),
        ("(0,1)\\cup(2,3)", "union"),
        ("(1,2)", "tuple"),
        ("[1,2)", "interval"),
        (r"\{1\}", "set"),
        ("1,2", "list"),
        (r"\sqrt{2}", "text"),
    ],
)
def test_how_names_the_golds_shape(gold, how):
    assert grade_math(gold, gold) == Verdict(True, how)


@pytest.mark.parametrize("gold", ["", "  ", None, 7, 7.0])
def test_a_gold_that_is_no_text_is_an_error(gold):
    with pytest.raises(ValueError, match="gold answer"):
        grade_math(gold, "7")


def test_long_answers_are_wrong():
    assert grade_math("7", r"\boxed{%s7}" % ("0" * 600)) == Verdict(False, "too_long")
    assert grade_math("7", r"\boxed{%s7}" % ("0" * 500))


def test_only_the_end_of_a_message_is_read():
    assert not grade_math("7", r"\boxed{7}" + "\n" * 70_000)
    assert grade_math("7", "x" * 1_000_000 + r"\boxed{7}")


def test_verdict_is_truthy_iff_correct_and_frozen():
    verdict = Verdict(True, "tests", passed=3, total=3)
    assert verdict and not Verdict(False, "tests", 2, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.correct = False


FORMATS = st.sampled_from(
    [
        lambda n: str(n),
        lambda n: f"{n:,}",
        lambda n: f"{n:,}".replace(",", "{,}"),
        lambda n: f"{n:,}".replace(",", r",\!"),
        lambda n: f"{n}.",
        lambda n: f"{n}.00",
        lambda n: f"${n}$",
        lambda n: rf"\text{{{n}}}",
        lambda n: f"{'-' if n < 0 else ''}00{abs(n)}",
        lambda n: str(n).replace("-", "−"),
        lambda n: rf"\boxed{{{n}}}",
        lambda n: f"reasoning: 999\nFINAL ANSWER: \\boxed{{{n}}}",
    ]
)


@given(st.integers(), FORMATS, FORMATS)
def test_an_integer_equals_itself_in_every_accepted_form(number, gold_form, answer_form):
    gold = gold_form(number)
    if "boxed" not in gold:
        assert grade_math(gold, answer_form(number))


@given(st.integers(), st.integers(), FORMATS)
def test_any_other_integer_is_refused(number, other, form):
    if number != other:
        assert not grade_math(str(number), form(other))


@given(st.fractions(), st.fractions())
def test_fractions_are_equal_exactly_when_their_values_are(gold, answer):
    written = f"\\frac{{{answer.numerator}}}{{{answer.denominator}}}"
    if gold.denominator > 1:
        assert bool(grade_math(f"{gold.numerator}/{gold.denominator}", written)) is (gold == answer)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6), st.integers(0, 5))
def test_decimals_ignore_trailing_zeros_only(value, zeros):
    assert grade_math(f"{value:f}", f"{value:f}" + "0" * zeros)
    assert not grade_math(f"{value:f}", f"{value:f}" + "0" * zeros + "1")


PLAIN = [
    *list(r"0123456789+-*/^_=.,;:()[]|$%!~ abxyi"),
    r"\frac",
    r"\cup",
    r"\{",
    r"\}",
    r"\left",
    r"\,",
    r"\!",
    " or ",
]
HOSTILE = [*PLAIN, "{", "}", "\\", "\n", r"\boxed{", r"\text{", r"\$", "FINAL ANSWER:"]
LATEX = st.lists(st.sampled_from(HOSTILE), max_size=300).map("".join)


@settings(max_examples=300, deadline=1_000)
@given(st.one_of(LATEX, st.text()), st.one_of(LATEX, st.text()))
def test_grading_never_raises_and_is_repeatable(gold, answer):
    if gold.strip():
        verdict = grade_math(gold, answer)
        assert verdict == grade_math(gold, answer)
        assert isinstance(verdict.correct, bool)


@settings(max_examples=300, deadline=1_000)
@given(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=60).map("".join))
def test_a_gold_is_its_own_answer(gold):
    if gold.strip():
        assert grade_math(gold, rf"\boxed{{{gold}}}")


@pytest.mark.parametrize(
    "answer",
    [
        "(" * 100_000,
        r"\boxed{" * 10_000,
        "FINAL ANSWER: " * 10_000,
        "final " * 20_000,
        r"\boxed{" + "(" * 250 + ")" * 250 + "}",
        r"\boxed{" + "1," * 250 + "}",
        r"\boxed{" + r"\frac" * 100 + "}",
        r"\boxed{" + "{" * 250 + "}" * 250 + "}",
        r"\boxed{" + "$" * 511 + "}",
        r"\boxed{" + r"\text{" * 80 + "1" + "}" * 80 + "}",
        r"\boxed{9^{9^{9^{9^{9}}}}}",
        "a" * 5_000_000,
    ],
    ids=range(12),
)
@pytest.mark.parametrize("gold", ["7", "7.5", "(1,2)", "1,2", r"\sqrt{7}", "x=7", r"7 \text{ cm}", ",".join("1" * 60)])
def test_time_is_bounded(gold, answer):
    start = time.perf_counter()
    assert not grade_math(gold, answer)
    assert time.perf_counter() - start < 1.0


def test_many_threads_get_the_verdicts_of_one():
    rows = TABLE * 20
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda row: bool(grade_math(row[0], row[1])), rows))
    assert verdicts == [expected for _, _, expected in rows]


def test_number_golds_are_graded_by_the_thousand():
    message = "<delivery>" + "some reasoning " * 40 + "</delivery>\nFINAL ANSWER: \\boxed{%d}"
    start = time.perf_counter()
    assert all(grade_math(str(i), message % i) for i in range(4_000))
    assert 4_000 / (time.perf_counter() - start) >= 2_000
