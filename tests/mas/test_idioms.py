"""Well-behaved scripts in the style of what models write end here as in CPython: prints, calls, last error."""

import pytest
from scripts import cpython, drive, read_snippets, told

IDIOMS = read_snippets("mas/idioms.txt")
ASK = """\
from workflow import *
def ask(name, text):
    said = AgentNode(name, 'p')(Context(messages=[Message(text, MessageType.USER_INPUT)]))
    return said.content
"""


def in_cpython(source):
    """What a script prints and asks where `ask(name, text)` answers at once."""
    asked = []

    def ask(name, text):
        asked.append((name, text))
        return f"{name}:{len(text)}"

    return cpython(source, names={"ask": ask}), asked


def here(source):
    """What the same script prints and asks in the machine, suspended at every call."""
    asked = []

    def answer(call):
        asked.append((call.node, call.messages[-1]["content"]))
        return f"{call.node}:{len(call.messages[-1]['content'])}"

    run, _ = drive(ASK + source if "ask(" in source else source, answer)
    return told(run), asked


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("name", IDIOMS)
def test_ends_as_in_cpython(name):
    expected = in_cpython(IDIOMS[name])
    assert expected[0], "a script that prints nothing checks nothing"
    assert here(IDIOMS[name]) == expected


def test_the_corpus_is_read_whole():
    assert len(IDIOMS) > 160
