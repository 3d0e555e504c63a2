"""Well-behaved scripts in the style of what models write print and ask here what they do in CPython."""

import re

import pytest
from scripts import HEAD, drive, read_snippets
from workflow_stub import in_cpython, reply_to

ASK = HEAD + (
    "def ask(agent, text):\n    return agent(Context(messages=[Message(text, MessageType.USER_INPUT)])).content\n"
)
SCRIPTS = read_snippets("mas/orchestration.txt")


def in_machine(source):
    run, batches = drive(source, lambda call: reply_to(call.node))
    text = run.printed
    if run.result.reason.startswith("line "):
        text += run.result.reason.split(": ", 1)[1] + "\n"
    elif run.result.reason != "the script ended without running a workflow":
        text += f"{run.result.status}: {run.result.reason}\n"
    return text, sorted(call.node for batch in batches for call in batch)


@pytest.mark.parametrize("name", SCRIPTS)
def test_prints_and_asks_what_it_does_in_cpython(name):
    source = ASK + SCRIPTS[name]
    expected = in_cpython(source)
    assert not re.match(r"\w+Error: ", expected[0].splitlines()[-1]), "the script itself is broken"
    assert in_machine(source) == expected
