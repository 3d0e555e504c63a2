"""The script language against CPython: every snippet of `snippets.txt` prints the same in both and leaves the same."""

import pathlib
import re

import pytest
from mas_support import cpython, machine

TEXT = (pathlib.Path(__file__).parent / "snippets.txt").read_text()
SNIPPETS = {name: body for name, body in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", TEXT, re.DOTALL | re.MULTILINE)}


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("name", SNIPPETS)
def test_prints_what_cpython_prints(name):
    assert cpython(SNIPPETS[name]), "a snippet that prints nothing checks nothing"
    assert machine(SNIPPETS[name], final=True) == cpython(SNIPPETS[name], final=True)


def test_the_corpus_is_read_whole():
    assert len(SNIPPETS) == TEXT.count("### ") > 180
