"""Whether a question can be graded, checked when it is loaded.

Later, each answer to it would be one more fault. A gold answer must be accepted as the answer to its own question, and
a test must have one of the shapes that `rewards.grade_code` runs and nothing else, since a misspelt key of a test would
change what it tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mxjax.errors import UserError
from mxjax.rewards import grade_math, grade_text
from mxjax.rollout.records import Question
from mxjax.values import is_number

SHAPES = (  # keys that make a shape, and others that it may have
    ({"input", "output"}, {"tolerance"}),
    ({"args", "expected"}, {"tolerance", "wrapped"}),
    ({"check"}, {"prelude", "functions"}),
)
ANY_SHAPE = {"setup", "public"}
TYPES = {
    "input": (str, "text"),
    "output": (str, "text"),
    "args": (list, "a list"),
    "check": (str, "text"),
    "prelude": (str, "text"),
    "functions": (list, "a list"),
    "setup": (str, "text"),
    "public": (bool, "True or False"),
}
NO_VALUE = ("nan", "<na>", "null", "inf", "-inf", "+inf", "infinity", "-infinity")
GRADED = ("math", "text", "code")


def check_gradable(question: Question, place: str) -> None:
    """Raise UserError for a question that no answer could be graded for.

    The message names `place` and what is wrong.
    """
    fault = _fault_of_text(question.text)
    fault = fault or (_fault_of_tests(question) if question.task_type == "code" else _fault_of_gold(question))
    if fault:
        raise UserError(f"{place}: {fault}.")


def agreeing(questions: Iterable[Question]) -> Iterator[Question]:
    """`questions`, as they come.

    Raises UserError at one with the text of an earlier one and another gold answer.
    """
    golds: dict[str, Question] = {}
    for question in questions:
        if question.task_type != "code" and question.gold is not None:
            earlier = golds.setdefault(" ".join(question.text.split()), question)
            if earlier.gold != question.gold and not _same_answer(earlier, question):
                raise UserError(
                    f"Questions {earlier.id} and {question.id} of {question.source} have one text and the answers "
                    f"{earlier.gold!r:.80} and {question.gold!r:.80}: take one of them out."
                )
        yield question


def _same_answer(a: Question, b: Question) -> bool:
    return a.task_type == b.task_type and (_accepts(a, b.gold) or _accepts(b, a.gold))


def _accepts(question: Question, answer: str | None) -> bool:
    grade = grade_math if question.task_type == "math" else grade_text
    return bool(grade(question.gold, f"FINAL ANSWER: \\boxed{{{answer}}}"))


def _fault_of_text(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        return f"the question must be text that is not empty, got {text!r:.80}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"the question has half of a character at {error.start} (a lone surrogate), which no tokenizer reads"
    return ""


def _fault_of_gold(question: Question) -> str:
    gold = question.gold
    if question.task_type not in GRADED:
        return f"the task_type {question.task_type!r} needs a verify of its own, only {', '.join(GRADED)} do not"
    if not isinstance(gold, str) or not gold.strip():
        return f"the answer must be text that is not empty, got {gold!r}"
    if question.task_type == "math" and gold.strip().casefold() in NO_VALUE:
        return f"the answer {gold!r} is no value"
    if question.task_type == "math" and "####" in gold:
        return f"the answer {gold!r:.80} is a worked one: keep what stands after ####"
    if _fault_of_text(gold) or not _accepts(question, gold):
        return f"the answer {gold!r:.80} cannot be read, since it is not accepted as an answer to its own question"
    return ""


def _fault_of_tests(question: Question) -> str:
    tests = question.tests
    if not isinstance(tests, list | tuple) or not tests:
        return "a code question needs a non-empty list in the field tests"
    for number, test in enumerate(tests, 1):
        fault = _fault_of_test(test)
        if not fault and "args" in test and not question.gold:
            fault = "has args, which needs the name of the function as the answer"
        if fault:
            return f"test {number} {fault}"
    return ""


def _fault_of_test(test: Any) -> str:
    """What is wrong with one test, "" if nothing is."""
    if not isinstance(test, Mapping):
        return f"must be an object, got {type(test).__name__}"
    shape = next(((own, more) for own, more in SHAPES if own <= set(test)), None)
    if shape is None:
        keys = ", ".join(map(str, test)) or "none"
        return f"has the keys {keys}: it needs input and output, args and expected, or check"
    if unknown := sorted(set(map(str, test)) - shape[0] - shape[1] - ANY_SHAPE):
        known = ", ".join(sorted(shape[0] | shape[1] | ANY_SHAPE))
        return f"has the unknown key {unknown[0]!r}: one like it has {known}"
    for key, value in test.items():
        kind, expected = TYPES.get(key, (object, ""))
        if not isinstance(value, kind):
            return f"has {key} of the wrong kind: it must be {expected}, got {value!r:.80}"
    if not all(isinstance(name, str) for name in test.get("functions", ())):
        return "has functions that are not names"
    tolerance = test.get("tolerance") or 0
    if not is_number(tolerance) or not 0 <= tolerance < math.inf:
        return f"has the tolerance {tolerance!r}: it must be a finite number of at least 0"
    if _has_nan(test.get("expected")):
        return "expects NaN, which equals nothing"
    return ""


def _has_nan(value: Any) -> bool:
    """Whether NaN is anywhere in a plain value.

    Without recursion, since values may be nested deeply.
    """
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, float) and math.isnan(item):
            return True
        if isinstance(item, Mapping):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            left += item
    return False
