"""The script language against CPython: every snippet of `snippets.txt` must print the same in both."""

import pathlib
import re

import pytest
from mas_support import cpython, machine

TEXT = (pathlib.Path(__file__).parent / "snippets.txt").read_text()
SNIPPETS = {name: body for name, body in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", TEXT, re.DOTALL | re.MULTILINE)}


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("name", SNIPPETS)
def test_prints_what_cpython_prints(name):
    expected = cpython(SNIPPETS[name])
    assert expected, "a snippet that prints nothing checks nothing"
    assert machine(SNIPPETS[name]) == expected


def test_the_corpus_is_read_whole():
    assert len(SNIPPETS) == TEXT.count("### ") > 180
