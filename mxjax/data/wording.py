"""What readers write around a statement to make it a task, and how it is taken off to compare statements."""

from __future__ import annotations

import re

COMPLETE = "Complete this Python function and answer with the whole program."
MUST_PASS = "Your program must pass this test:"
START_FROM = "Start from this code:"
DEFINE = "Define the function"
STDIN = "The program reads standard input and writes standard output."
_ENDING = re.compile(
    rf"\n(?:(?:{re.escape(MUST_PASS)}|\n{re.escape(START_FROM)})\n.*|\n{re.escape(DEFINE)} \S+|\n{re.escape(STDIN)})\Z",
    re.DOTALL,
)


def statement(text: str) -> str:
    """The statement in a question's text: a copy of a public set has it without the wording of this package."""
    return _ENDING.sub("", text.strip()).removeprefix(COMPLETE).strip()
