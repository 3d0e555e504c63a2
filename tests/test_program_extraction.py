"""One program is taken from a message: which fence it is, and what is no program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxjax.program_extraction import MAX_MESSAGE, extract_program, is_program
from mxjax.rewards import extract_program as public

ADD = "a, b = map(int, input().split())\nprint(a + b)\n"


@pytest.mark.parametrize(
    "message",
    [
        "Plan:\n```text\nadd them\n```\nCode:\n```python\n{}```\n",
        "Run it so:\n```bash\npython a.py\n```\n```py\n{}```",
        "~~~Python3\n{}~~~\nOutput:\n```\n5\n```\nMore:\n```text\n6\n```",
        "```\n{}```\nIt prints\n```\n5\n```\nor\n```\nNot found\n```",
        "<solution>\n```text\nplan\n```\n```python\n{}```\n</solution>\n```python\nprint(0)\n```",
        "<solution>a</solution> then <solution>\n{}</solution>",
        "<solution>\n```python\n{}```",
        "Put in <solution></solution> tags:\n```python\n{}```",
        "The program is ```python\n{}```\n",
        "{}",
        "<solution>\n{}",
    ],
)
def test_the_program_of_a_message(message):
    assert extract_program(message.format(ADD)).strip() == ADD.strip()


@pytest.mark.parametrize(
    "message",
    ["", "hello", "42", "Answer: 42", "yes, no", "x is not y", "pass", "'just words'", "I cannot do this.",
     "```text\nprint(1)\n```", "```cpp\nint main(){}\n```\n", "<solution>\n```sql\nselect\n```\n</solution>",
     "```\n5\n```", "```python\n\n```", "Use `print(5)`.", "f'{x}'", "```js\nf(1)\n```\nthen\n```\nno program\n```"],
)  # fmt: skip
def test_prose_and_other_languages_are_no_program(message):
    assert extract_program(message) is None


def test_a_program_that_stands_indented_is_taken_out():
    assert extract_program("<solution>\n  if 1:\n    print(1)\n</solution>") == "if 1:\n  print(1)"
    assert extract_program("1. So:\n\n   ```python\n   if 1:\n       print(1)\n   ```") == "if 1:\n    print(1)\n"


def test_a_long_message_does_not_turn_fences_inside_out():
    message = "```python\n" + "# a long draft\n" * 6000 + "```\nNow:\n```python\nprint(1)\n```\n"
    assert 65_536 < len(message) < MAX_MESSAGE and extract_program(message) == "print(1)\n"


@given(st.text(alphabet="`~ \n>-1.ax()=#<solution/>\t\r", max_size=80))
def test_any_message_has_a_program_or_none(message):
    program = public(message)
    assert program is None or program.strip()


@given(st.lists(st.sampled_from(["yes", "no", "42", "None", "x", "True"]), min_size=1, max_size=5))
def test_words_are_no_program(words):
    assert not is_program(", ".join(words)) and not is_program(" or ".join(words))
