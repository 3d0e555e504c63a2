"""The math grader on an adversarial table, and the laws it must keep for any text."""

import concurrent.futures
import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.rewards import Verdict, grade_math

INTEGERS = [
    ("42", "42", True),
    ("42", "42.", True),
    ("42", "42.0", True),
    ("42", "42.000", True),
    ("42", "+42", True),
    ("42", "$42$", True),
    ("42", "$42$.", True),
    ("42", r"\(42\)", True),
    ("42", r"\[ 42 \]", True),
    ("42", "**42**", True),
    ("42", r"\text{42}", True),
    ("42", r"\mathbf{42}", True),
    ("42", r"\boxed{42}", True),
    ("42", r"\boxed{ 42 }", True),
    ("42", r"\boxed{\boxed{42}}", True),
    ("42", r"\boxed{$42$}", True),
    ("42", r"\fbox{42}", True),
    ("42", "042", True),
    ("42", "42.5", False),
    ("42", "42.0001", False),
    ("42", "4 2", False),
    ("42", "42 43", False),
    ("42", "-42", False),
    ("42", "--42", False),
    ("42", "٤٢", False),
    ("42", "4_2", False),
    ("42", "0x2a", False),
    ("42", "4.2e1", False),
    ("42", "42%", False),
    ("42", r"42\%", False),
    ("42", r"\$42", False),
    ("42", "$42", False),
    ("42", "42 apples", False),
    ("42", r"42^\circ", False),
    ("42", "84/2", False),
    ("42", r"\frac{84}{2}", False),
    ("42", "40+2", False),
    ("42", "6*7", False),
    ("42", r"6 \times 7", False),
    ("42", "42 or 43", False),
    ("42", "42, 43", False),
    ("42", "(42)", False),
    ("42", r"\{42\}", False),
    ("42", "x = 42", False),
    ("42", "6*7 = 42", False),
    ("42", "41 = 42", False),
    ("5", "4=5", False),
    ("500", "502", False),
    ("500", "499.99", False),
    ("500", "500 ± 5", False),
    ("1024", "2^{10}", False),
    ("1024", "2^10", False),
    ("120", "5!", False),
    ("1", "9^{9^{9^{9}}}", False),
    ("1", "9**9**9**9", False),
    ("1", "99999999999!", False),
    ("1", "__import__('os').system('true')", False),
    ("0", "-0", True),
    ("0", "0.0", True),
    ("0", "", False),
    ("0", r"\boxed{}", False),
    ("0", r"\boxed{ }", False),
    ("0", "None", False),
    ("-7", "-7", True),
    ("-7", "- 7", True),
    ("-7", "−7", True),
    ("-7", "7", False),
    ("007", "7", True),
    ("7", "007", True),
    ("073", "73", True),
    ("145.0", "145", True),
    ("1234", "1,234", True),
    ("1,234", "1234", True),
    ("1234", "1{,}234", True),
    ("1234", r"1,\!234", True),
    ("1234", r"1\,234", True),
    ("1234", "12,34", False),
    ("1234", "1,2,3,4", False),
    ("1234", "1.234", False),
    ("1234", "0,1234", False),
    ("1234567", "1,234,567", True),
    ("1234567", "1,234567", False),
    ("1234567", "1234,567", False),
    ("10080", r"10,\!080", True),
    ("10000000000000000000000001", "10000000000000000000000000", False),
    ("10000000000000000000000001", "1e25", False),
]

RATIONALS = [
    ("0.5", "0.5", True),
    ("0.5", ".5", True),
    ("0.5", "0.50", True),
    ("0.5", r"\frac{1}{2}", True),
    ("0.5", "0.49999999999999999999", False),
    ("0.5", "50%", False),
    ("3.14", r"\pi", False),
    ("1.1", "1.1000000000000000001", False),
    (r"\frac{1}{2}", "1/2", True),
    (r"\frac{1}{2}", r"\dfrac{1}{2}", True),
    (r"\frac{1}{2}", r"\tfrac12", True),
    (r"\frac{1}{2}", r"\frac 1 2", True),
    (r"\frac{1}{2}", "0.5", True),
    (r"\frac{1}{2}", r"-\frac{1}{2}", False),
    (r"\frac{1}{2}", r"\frac{2}{1}", False),
    (r"\frac{1}{2}", r"\frac{1}{0}", False),
    (r"\frac{1}{2}", "1", False),
    (r"-\frac{3}{4}", r"\frac{-3}{4}", True),
    (r"-\frac{3}{4}", "-3/4", True),
    (r"\frac{1}{3}", "0.3333333333333333", False),
    (r"\frac{270}7", "270/7", True),
    (r"\frac9{19}", "9/19", True),
    (r"1\frac{4}{5}", r"\frac{9}{5}", True),
    (r"1\frac{4}{5}", "1 4/5", True),
    (r"1\frac{4}{5}", "1.8", True),
    (r"1\frac{4}{5}", "14/5", False),
    ("14/5", "1 4/5", False),
    (r"137 \frac{1}{2}", "137.5", True),
    ("62.5%", r"62.5\%", True),
    ("62.5%", "62.5", True),
    ("62.5%", "62.5 percent", True),
    ("62.5%", "0.625", False),
    (r"3 \times 10^{8}", r"3 \cdot 10^8", True),
    (r"3 \times 10^{8}", "3e8", True),
    (r"3 \times 10^{8}", "300000000", True),
    (r"3 \times 10^{8}", r"3 \times 10^{9}", False),
    (r"3 \times 10^{8}", r"3 \times 10^{999999999}", False),
]

UNITS_AND_CHOICES = [
    (r"90^\circ", "90", True),
    (r"90^\circ", "90°", True),
    (r"90^\circ", r"90^{\circ}", True),
    (r"90^\circ", "90 degrees", True),
    (r"90^\circ", "91", False),
    (r"90^\circ", "90%", False),
    (r"5.4 \text{ cents}", "5.4", True),
    (r"5.4 \text{ cents}", r"5.4 \text{cents}", True),
    (r"5.4 \text{ cents}", "5.4 cents", True),
    (r"5.4 \text{ cents}", r"5.4 \text{ dollars}", False),
    (r"864 \mbox{ inches}^2", r"864 \text{ inches}^{2}", True),
    (r"864 \mbox{ inches}^2", r"864 \text{ inches}^3", False),
    (r"\$32,\!348", "32348", True),
    (r"\$36", r"\$36.00", True),
    (r"\$36", "36 cents", False),
    (r"2\mathrm{i}", "2", False),
    ("2 xy", "2", False),
    ("(A)", "A", True),
    ("(A)", r"\text{(A)}", True),
    ("(A)", r"\textbf{(A)}", True),
    ("(A)", "A)", True),
    ("A", "(A)", True),
    ("(A)", "A cat", False),
    ("(A)", "a", False),
    ("(A)", "(B)", False),
    ("(A)", "A or B", False),
    ("(A)", "AB", False),
]

STRUCTURES = [
    ("x=5", "5", True),
    ("x=5", "x = 5", True),
    ("x=5", "y = 5", False),
    ("x=5", "4 = 5", False),
    ("x=5", "x = 4 = 5", False),
    ("y = 2x + 3", "y=2x+3", True),
    ("y = 2x + 3", "2x+3", False),
    (r"x \in [-2,7]", "[-2,7]", True),
    (r"x \in [-2,7]", r"x\in[-2, 7]", True),
    (r"x \in [-2,7]", "(-2,7)", False),
    ("(6,31,-1)", r"\left( 6, 31, -1 \right)", True),
    ("(6,31,-1)", "(31,6,-1)", False),
    ("(6,31,-1)", "6,31,-1", False),
    ("(6,31,-1)", "(6,31,-1,0)", False),
    ("(6,31,-1)", "(6,31,-1", False),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \dfrac{\pi}{2})", True),
    ("(3,4]", r"\left(3, 4\right]", True),
    ("(3,4]", "(3,4)", False),
    ("(3,4]", "[3,4]", False),
    (r"(5,\infty)", r"(5, +\infty)", True),
    (r"(5,\infty)", "(5, ∞)", True),
    (r"(5,\infty)", r"[5,\infty)", False),
    (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)", True),
    (r"(0,9) \cup (9,36)", "(0,36)", False),
    (r"(-\infty, 0) \cup\{1\}.", r"(-\infty,0) \cup \{1\}", True),
    (r"\{1,2,3\}", r"\{3, 2, 1\}", True),
    (r"\{1,2,3\}", r"\left\{1,2,3\right\}", True),
    (r"\{1,2,3\}", "(1,2,3)", False),
    (r"\{1,2,3\}", r"\{1,2\}", False),
    (r"\{1,2,3\}", r"\{1,2,2\}", False),
    ("1,-2", "-2, 1", True),
    ("1,-2", "1 and -2", True),
    ("1,-2", r"1 \text{ or } -2", True),
    ("1,-2", "1", False),
    ("1,-2", "1,-2,3", False),
    ("1,-2", "1,1", False),
    ("$69$,$84$", "84, 69", True),
    ("(1,1), (3,2)", "(3,2),(1,1)", True),
    ("(1,1), (3,2)", "(1,1),(2,3)", False),
]

TEXTS = [
    (r"3\sqrt{13}", r"3 \sqrt{13}", True),
    (r"11\sqrt2", r"11\sqrt{2}", True),
    (r"3\sqrt{13}", r"\sqrt{117}", True),
    (r"3\sqrt{13}", r"\sqrt{116}", False),
    (r"3\sqrt{13}", "10.816653826391967", False),
    (r"3\sqrt{13}", r"x = \sqrt{117}", False),
    (r"3\sqrt{13}", r"\sqrt{117}, 5", False),
    (r"2.5\pi", "7.853982", False),
    (r"2.5\pi", r"7.853982 \cdot 1", False),
    (r"2.5\pi", r"0\pi+7.853982", False),
    (r"2.5\pi", r"\frac{7853982}{1000000}", False),
    (r"2.5\pi", r"2.50 \cdot \pi", True),
    (r"2.5\pi", r"\frac{5}{2}\pi", True),
    (r"\frac{\pi}{2}", r"\frac{1570796}{1000000}", False),
    (r"\frac{\pi}{2}", r"\pi/2", True),
    (r"\frac{\pi}{2}", "1.5707963267948966", False),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{3}}", False),
    (r"(x+1)(x-1)", "x^2-1", True),
    (r"(x+1)(x-1)", "x^2+1", False),
    (r"2^{n}-1", r"2^n-1", True),
    (r"2^{n}-1", r"2 \cdot 2^{n-1} - 1", True),
    (r"2^{n}-1", r"2^{n-1}", False),
    (r"\sqrt{7}", r"9^{9^{9^{9}}}", False),
    ("p - q", "p-q", True),
    ("p - q", "q - p", False),
    ("p - q", "-(q - p)", True),
    ("x+1", "1+x", True),
    ("x+1", "X+1", False),
    ("2a+b", "b+2a", True),
    ("2a+b", "2A+b", False),
    ("a+A", "2a", False),
    ("x^{2}+1", "x^2 + 1", True),
    ("x^{10}", "x^10", False),
    ("4210_{5}", "4210_5", True),
    ("4210_{5}", "4210", False),
    (r"\text{Evelyn}", "Evelyn", True),
    (r"\text{Evelyn}", "Evelyn or Navin", False),
    (r"\begin{pmatrix} -2 \\ -14 \end{pmatrix}", r"\begin{pmatrix}-2\\-14\end{pmatrix}", True),
    (r"\begin{pmatrix} -2 \\ -14 \end{pmatrix}", r"\begin{pmatrix}-14\\-2\end{pmatrix}", False),
]

MESSAGES = [
    ("12", r"First \boxed{10}. Checking again: \boxed{12}", True),
    ("10", r"First \boxed{10}. Checking again: \boxed{12}", False),
    ("7", "The votes were 7, 7 and 9.\nFINAL ANSWER: \\boxed{7}", True),
    ("9", "The votes were 7, 7 and 9.\nFINAL ANSWER: \\boxed{7}", False),
    ("5", "<delivery>3 + 2</delivery>\nFINAL ANSWER: \\boxed{5}", True),
    ("5", "FINAL ANSWER: \\boxed{5}\nFINAL ANSWER: \\boxed{6}", False),
    ("6", "FINAL ANSWER: \\boxed{5}\nFINAL ANSWER: \\boxed{6}", True),
    ("2", r"FINAL ANSWER: \boxed{1} \boxed{2} \boxed{3}", False),
    ("3", r"FINAL ANSWER: \boxed{1} \boxed{2} \boxed{3}", True),
    ("12", "Earlier \\boxed{10}.\nFINAL ANSWER: 12", True),
    ("10", "Earlier \\boxed{10}.\nFINAL ANSWER: 12", False),
    ("12", "**Final answer:** 12", True),
    ("12", "FINAL ANSWER:\n\\boxed{12}", True),
    ("12", "FINAL ANSWER:\n$$\\boxed{12}$$\nDone.", True),
    ("10", "Earlier \\boxed{10}.\nFINAL ANSWER: \\boxed{1", False),
    ("10", r"\boxed{10} and then \boxed{1", False),
    (r"\frac{1}{2}", r"FINAL ANSWER: \boxed{\frac{1}{2}}", True),
    (r"\{1,2\}", r"FINAL ANSWER: \boxed{\{1,2\}}", True),
    ("12", "The answer is 12", False),
    ("12", "Line one\n12", False),
]

TABLE = INTEGERS + RATIONALS + UNITS_AND_CHOICES + STRUCTURES + TEXTS + MESSAGES


@pytest.mark.parametrize(("gold", "answer", "expected"), TABLE)
def test_adversarial_table(gold, answer, expected):
    assert bool(grade_math(gold, answer)) is expected


def test_the_table_is_large():
    assert len(TABLE) >= 150


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
