"""Fences against markdown-it, which passes CommonMark's own tests, and what is read beyond CommonMark."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxjax.fences import fences

PIECES = (
    "```", "~~~", "````", "```python", "~~~ py", "``` a`b", "    ", "  ", "   ", " ", "\n", "\n", "\n", "\n\n", "> ",
    ">", "- ", "* ", "-", "1. ", "2) ", "10. ", "a", "x = 1", "---", "* * *", "# h", "\r\n", "~~~~", "```", "  ```",
    "   ~~~",
)  # fmt: skip
BEYOND = re.compile(r"(?m)[^\n].*``` ?py(thon)?\s*$|(```|~~~)\s*\Z")  # text before it
FOUR_SPACES = re.compile(r">.*\n(.*\n)*.* {4}>")  # no quote by the specification; markdown-it goes on with one


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=2, max_size=18).map("".join))
def test_blocks_are_those_of_markdown_it(text):
    markdown_it = pytest.importorskip("markdown_it")
    if BEYOND.search(text) or FOUR_SPACES.search(text):
        return
    reader = markdown_it.MarkdownIt("commonmark", {"maxNesting": 100}).disable(["html_block", "reference", "lheading"])
    expected = [(token.info.strip(), token.content.rstrip()) for token in reader.parse(text) if token.type == "fence"]
    assert [(fence.info, fence.content.rstrip()) for fence in fences(text)] == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```python\nx\n```", [("python", "x\n")]),
        ('~~~ Py title="a"\nx\n~~~', [("py", "x\n")]),
        ("```{.python .numberLines}\nx\n```", [("python", "x\n")]),
        ("```python:a.py\nx\n```", [("python", "x\n")]),
        ("```c++\nx\n```", [("c++", "x\n")]),
        ("```python\r\nx\r\n\r\ny\r\n```\r\n", [("python", "x\n\ny\n")]),
        ("```python\rx\r```", [("python", "x\n")]),
        ("```\na\n```\n```text\nb\n```", [("", "a\n"), ("text", "b\n")]),
        ("~~~\n```\nx\n```\n~~~", [("", "```\nx\n```\n")]),
        ("````\n```\n````", [("", "```\n")]),
        ("```python\nx\n", [("python", "x\n")]),
        ("```python\n'''\n    ```\n'''\n```", [("python", "'''\n    ```\n'''\n")]),
        ("  ```\n    x\n   y\n  ```", [("", "  x\n y\n")]),
        ("- a\n\n\t```\n\tif x:\n\t\ty\n\t```", [("", "if x:\n    y\n")]),
        ("10) ```py\n    x\n    ```\nend", [("py", "x\n")]),
        ("> 1. ```\n>    x\nafter\n```\ny\n```", [("", "x\n"), ("", "y\n")]),
        ("<solution>\n```\nx\n```\n</solution>", [("", "x\n")]),
        ("So: ```python\nx\n```", [("python", "x\n")]),
        ("```\na\n``` and ```python\nb\n```", [("", "a\n"), ("python", "b\n")]),
        ("```python\nprint(1)```", [("python", "print(1)\n")]),
        ("a ``` b", []),
        ("    ```\n    x\n    ```", []),
        ("```` `x` ````", []),
        ("", []),
    ],
)
def test_what_stands_in_fences(text, found):
    assert [(fence.language, fence.content) for fence in fences(text)] == found


def test_a_fence_knows_where_it_stands():
    text = "a\n1. ```py\n   x\n   ```\nand ```python\ny\n```\r\nlast\n~~~\nz"
    assert [text[fence.start : fence.end] for fence in fences(text)] == [
        "```py\n   x\n   ```", "```python\ny\n```", "~~~\nz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("info", "is_python"),
    [("python", 1), ("Python3", 1), ("py", 1), ("py3", 1), ("PYTHON3.12 x", 1), ("python2", 0), ("pycon", 0), ("", 0)],
)
def test_the_language_is_python(info, is_python):
    (fence,) = fences(f"~~~{info}\n~~~")
    assert fence.is_python == is_python


@pytest.mark.parametrize(
    "piece", ["> " * 400 + "\n", "- " * 400 + "x\n", "\n", ">\n", "- ```\n", "1) a\n2. b\n", "```\n", " " * 9, "`"]
)
def test_twice_the_text_takes_no_more_lines_than_twice(piece):
    """Work is counted as calls of the reader, not as time: each line is looked at once, at a bounded depth."""
    import mxjax.fences as module

    looks = []
    original = module._Line._look
    count = lambda self: (looks.append(len(self.text)), original(self))[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Line, "_look", count)
        sizes = []
        for times in (20_000 // len(piece), 40_000 // len(piece)):
            looks.clear()
            fences("```\n```\n" + piece * times)
            sizes.append(sum(looks) + len(looks))
    if "\n" in piece:
        assert sizes[1] < 2.2 * sizes[0] + 100
    assert sizes[0] < 20_000 * (module.MAX_DEPTH * 3 + 2)
