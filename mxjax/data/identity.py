"""Identity of questions by their text, to keep tests out of training.

"Calculate 12 + 7." and "12+7" ask the same thing, so wording that carries no question is dropped from arithmetic, and
the wording that `readers` put around a statement is taken off before statements are compared.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from mxjax.data.arithmetic import is_expression
from mxjax.rollout.records import Question

# What readers write around a statement to make it a task
COMPLETE = "Complete this Python function and answer with the whole program."
MUST_PASS = "Your program must pass this test:"
START_FROM = "Start from this code:"
DEFINE = "Define the function"
STDIN = "The program reads standard input and writes standard output."
_ENDING = re.compile(
    rf"\n(?:(?:{re.escape(MUST_PASS)}|\n{re.escape(START_FROM)})\n.*|\n{re.escape(DEFINE)} \S+|\n{re.escape(STDIN)})\Z",
    re.DOTALL,
)

IDENTITY = 2
"""Counts the meanings that `statement_key` has had; keys of another one are not compared."""
_CARRIER = re.compile(
    r"\b(?:state|the|final|answer|to|following|arithmetic|problem|calculate|what|is|solve|compute|evaluate"
    r"|multiplication|give|only|result|as|your|value|of)\b|[:.?=,]"
)


def normalise_text(text: str) -> str:
    """The identity of a question's text.

    Unicode form, case, white space and arithmetic carrier words do not count. Idempotent. Two questions with equal
    identity must not stand on both sides of a train/test split.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = " ".join(unicodedata.normalize("NFKC", folded.casefold()).split())
    bare = _CARRIER.sub(" ", plain)
    if is_expression(bare):
        return re.sub(r"\s*([()+*/-])\s*", r"\1", " ".join(bare.split()))
    return plain


def texts_of(questions: Iterable[Question]) -> frozenset[str]:
    """The normalised texts of `questions`, for `exclude_texts`."""
    return frozenset(normalise_text(question.text) for question in questions)


def statement(text: str) -> str:
    """The statement in a question's text.

    A copy of a public set has it without the wording of this package.
    """
    return _ENDING.sub("", text.strip()).removeprefix(COMPLETE).strip()


def statement_key(text: str) -> str:
    """The `text_key` of the statement alone.

    So a raw copy of a set matches the questions made of it.
    """
    return text_key(statement(text))


def text_key(text: str) -> str:
    """16 hexadecimal digits for the identity of a text.

    Overlap can be checked without the texts.
    """
    return hashlib.blake2b(normalise_text(text).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def text_id(source: str, text: str) -> str:
    """A question's id, from its source and text.

    The same in every run and process.
    """
    return f"{source}:{hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"
