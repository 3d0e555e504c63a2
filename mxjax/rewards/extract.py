r"""Extraction of exactly one final answer from a message.

A grader that looked at two could be offered both. The rule, first that applies:

1. after the last `FINAL ANSWER:` the last `\boxed{...}`; a box there that never closes is no answer;
2. what stands on the line of the last `FINAL ANSWER:`, if anything does;
3. the last `\boxed{...}` of the message;
4. what the last "the answer is ...", "Answer: ..." or `#### ...` states;
5. the whole message, if it is one line of at most 512 characters and has no marker.

A statement of 2 or 4 is what follows the last "answer is" in it, up to the end of its sentence.

So a reflection that says `\boxed{10}` and later `\boxed{12}` has answered 12, and a final statement with several
boxes has answered the last of them. Only the last 65,536 characters of a message are looked at.
"""

from __future__ import annotations

import collections
import re

MAX_ANSWER = 512
MAX_MESSAGE = 65_536

FINAL_ANSWER = re.compile(r"final\s{1,4}answer\*{0,2}\s{0,4}:\*{0,2}", re.IGNORECASE)
BOX = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")
_STATEMENT = re.compile(
    r"^(?:[ \t>*_#-]{0,20}#{4}[ \t]+|.{0,400}?\banswer\b[*_]{0,2}[ \t]*(?:is\b|:|=)[*_ \t:]{0,8})(\S.{0,600})$",
    re.IGNORECASE | re.MULTILINE,
)
_IS = re.compile(r"\banswer\b[*_]{0,2}[ \t]*(?:is\b|:|=)[*_ \t:]{0,8}", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!](?=[ \t]+[A-Z*]|[ \t*_]*$)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def extract_answer(message: str) -> str | None:
    """The one final answer of `message`, None if it has none.

    Its length is for the grader to judge.
    """
    text = message[-MAX_MESSAGE:]
    marker = _last(FINAL_ANSWER, text)
    if marker is not None:
        statement = text[marker.end() :]
        box = _last(BOX, statement)
        if box is not None:
            return _inside(statement, box)
        line = statement.split("\n", 1)[0].strip(" \t\r*")
        if line:
            return _stated(line)
    box = _last(BOX, text)
    if box is not None:
        return _inside(text, box)
    if marker is None and (stated := _last(_STATEMENT, text)) is not None:
        return _stated(stated[1])
    whole = text.strip()
    is_short = len(whole) <= MAX_ANSWER and len(whole.splitlines()) == 1
    return whole if is_short and marker is None else None


def _stated(line: str) -> str:
    """What a line states as its answer.

    What follows "answer is", up to the end of the sentence.
    """
    verb = _last(_IS, line)
    sentence = line[verb.end() :] if verb is not None else line
    return _SENTENCE_END.split(sentence, maxsplit=1)[0].strip(" \t\r*_")


def closing_brace(text: str, start: int) -> int | None:
    r"""Index of the `}` that closes a group begun before `start`.

    `\{` and `\}` are not braces.
    """
    depth = 1
    for brace in _BRACE.finditer(text, start):
        if brace.group() == "{":
            depth += 1
        elif brace.group() == "}":
            depth -= 1
            if depth == 0:
                return brace.start()
    return None


def _inside(text: str, box: re.Match[str]) -> str | None:
    end = closing_brace(text, box.end())
    return None if end is None else text[box.end() : end]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(collections.deque(pattern.finditer(text), maxlen=1)), None)
