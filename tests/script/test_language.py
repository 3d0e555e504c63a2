"""The script language against CPython: every snippet of `snippets.txt` prints the same in both and leaves the same."""

import pytest
from scripts import cpython, machine, read_snippets

SNIPPETS = read_snippets("script/snippets.txt")


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("name", SNIPPETS)
def test_prints_what_cpython_prints(name):
    assert cpython(SNIPPETS[name]), "a snippet that prints nothing checks nothing"
    assert machine(SNIPPETS[name], final=True) == cpython(SNIPPETS[name], final=True)


def test_the_corpus_is_read_whole():
    assert len(SNIPPETS) > 180
