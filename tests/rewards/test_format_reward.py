"""The shape of an executor's reply: each marker once, in order, at the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.rewards import format_code, format_math

GOOD_MATH = "Some thoughts.\n<delivery>3 + 2 is 5</delivery>\nFINAL ANSWER: \\boxed{5}"
GOOD_CODE = "<delivery>read and add</delivery>\n<solution>\n```python\nprint(1)\n```\n</solution>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD_MATH, 1.0),
        (GOOD_MATH + "\n  \n", 1.0),
        (GOOD_MATH.replace("5}", r"\frac{1}{2}}"), 1.0),
        ("", 0.0),
        (GOOD_MATH + " I hope it helps", 0.0),
        (GOOD_MATH + GOOD_MATH, 0.0),
        (GOOD_MATH + "\nFINAL ANSWER: \\boxed{5}", 0.0),
        (GOOD_MATH.replace("3 + 2 is 5", "  \n"), 0.0),
        (GOOD_MATH.replace("{5}", "{}"), 0.0),
        (GOOD_MATH.replace("{5}", "{ }"), 0.0),
        (GOOD_MATH.replace("{5}", "{5"), 0.0),
        (GOOD_MATH.replace(r"\boxed{5}", "5"), 0.0),
        (GOOD_MATH.replace("</delivery>", ""), 0.0),
        (GOOD_MATH.replace("<delivery>", ""), 0.0),
        (GOOD_MATH.replace("<delivery>", "<delivery><delivery>"), 0.0),
        ("FINAL ANSWER: \\boxed{5}\n<delivery>x</delivery>", 0.0),
        ("<delivery>x FINAL ANSWER: \\boxed{5}</delivery>", 0.0),
        ("</delivery>x<delivery>\nFINAL ANSWER: \\boxed{5}", 0.0),
        ("FINAL ANSWER: \\boxed{5}", 0.0),
    ],
)
def test_math(text, expected):
    assert format_math(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD_CODE, 1.0),
        ("<delivery>x</delivery><solution>print(1)</solution>", 1.0),
        (GOOD_CODE + "\n", 1.0),
        (GOOD_CODE + "done", 0.0),
        (GOOD_CODE + GOOD_CODE, 0.0),
        ("<delivery>x</delivery><solution> </solution>", 0.0),
        ("<delivery>x</delivery><solution>```python\n```</solution>", 0.0),
        ("<delivery></delivery><solution>print(1)</solution>", 0.0),
        ("<solution>print(1)</solution><delivery>x</delivery>", 0.0),
        ("<delivery>x</delivery>", 0.0),
        ("<delivery>x<solution>print(1)</solution></delivery>", 0.0),
        (GOOD_MATH, 0.0),
    ],
)
def test_code(text, expected):
    assert format_code(text) == expected


@given(
    st.lists(
        st.sampled_from(
            [
                "<delivery>",
                "</delivery>",
                "<solution>",
                "</solution>",
                "FINAL ANSWER: ",
                "\\boxed{",
                "}",
                "x",
                "\n",
                "```",
            ]
        )
    )
)
def test_never_raises_and_is_0_or_1(parts):
    text = "".join(parts)
    assert format_math(text) in (0.0, 1.0)
    assert format_code(text) in (0.0, 1.0)
