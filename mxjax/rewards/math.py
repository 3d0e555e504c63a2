r"""Grades a mathematical answer against its gold answer, exactly, by the gold answer's own type.

The gold decides what is compared: an integer gold accepts integers and nothing near them, a tuple gold tuples, and so
on, first shape that fits. That is what keeps out the classic false rewards: 502 for 500, `4=5` for 5, "A cat" for
(A), `84/12` for 7. Accepted, by gold:

| gold | accepted |
|---|---|
| integer `7` | `7` `+7` `007` `7.` `7.0`; thousands grouped properly; not `14/2`, `7\%`, `x=7`, `7 cm`, `\$7` |
| decimal, fraction, mixed number | any decimal, fraction or mixed number of exactly that value |
| power of ten `3 \times 10^8` | the same, or the number written out |
| with unit or percent sign | that unit, or none |
| choice letter `(C)` | `C` `(C)` `C)` |
| `x = ...`, `x \in ...` | the same letter; or the value alone if it is a number, a set or an interval |
| `(1,2)` `(0,3]` | the same brackets, elements in order |
| `\{1,2\}`, bare list `1,2`, union | elements in any order, as often as in the gold; lists also with "and", "or" |
| a formula | the same LaTeX tokens (`how="text"`), or the same formula by computer algebra (`how="symbolic"`) |
| anything else | the same LaTeX tokens, white space and `\dfrac`-like spelling aside (`how="text"`) |
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from mxjax.rewards import latex, symbolic
from mxjax.rewards.extract import MAX_ANSWER, extract_answer
from mxjax.rewards.numbers import read_integer, read_number, read_scientific
from mxjax.rewards.verdict import Verdict

Matcher = Callable[[str], bool]

_MAX_DEPTH = 6
_MAX_ELEMENTS = 64
_CHOICE = re.compile(r"\(([A-J])\)|([A-J])")
_CHOSEN = re.compile(r"\(?([A-J])\)|([A-J])")
_NAMED = re.compile(r"([A-Za-z]) ?(=|\\in(?![A-Za-z])) ?([^=]+)")
_DEGREES = re.compile(r"\^ ?(?:\\circ|\{ ?\\circ ?\})|(?:\\text ?\{ ?| )degrees?(?: ?\})?")
_PERCENT = re.compile(r"%|(?:\\text ?\{ ?| )percent(?: ?\})?")
_WORDS = (
    "mm|cm|km|kg|mi|ft|in|km/h|mph|inch(?:es)?|foot|feet|yards?|met(?:er|re)s?|miles?|units?|grams?|pounds?|lit(?:er|re)s?"
    "|seconds?|min|minutes?|hours?|days?|weeks?|months?|years?|dollars?|cents?|people|square (?:units|inches|feet)"
)
_UNIT = re.compile(
    rf"(?:\\(?:text|mbox|mathrm|textrm) ?\{{(?! ?(?:i|e|j|pi) ?\}})([^{{}}]+)\}}| ({_WORDS}))(?: ?\^ ?\{{?([0-9])\}}?)?"
)


def grade_math(gold: str, answer: str) -> Verdict:
    """Whether the message `answer` ends in the answer `gold`; in bounded time, whatever `answer` is.

    `answer` is the text of a returned message, from which exactly one final answer is taken (`extract_answer`); over
    512 characters it is wrong. Formulas are compared in another process (`symbolic`) where math-verify is installed.

    Raises:
        ValueError: `gold` is empty or not a str.
        InfrastructureError: the process that compares formulas cannot be started.
    """
    if not isinstance(gold, str) or not gold.strip():
        raise ValueError(f"The gold answer must be a non-empty str, got {gold!r}: fix the data set's row.")
    found = extract_answer(answer)
    if found is None or not found.strip():
        return Verdict(False, "no_answer")
    if len(found) > MAX_ANSWER:
        return Verdict(False, "too_long")
    how, matches = _compiled(gold)
    given = latex.clean(found)
    if matches(given):
        return Verdict(True, how)
    wanted = latex.clean(gold)
    if how == "text" and symbolic.available() and symbolic.comparable(wanted, given):
        return Verdict(*symbolic.same_formula(wanted, given))
    return Verdict(False, how)


@functools.lru_cache(maxsize=4096)
def _compiled(gold: str) -> tuple[str, Matcher]:
    return _matcher(latex.clean(gold), 0)


def _matcher(gold: str, depth: int) -> tuple[str, Matcher]:
    """(name of the gold's shape, predicate on cleaned answers); a gold nested or long beyond reason is text."""
    if depth <= _MAX_DEPTH and len(gold) <= MAX_ANSWER:
        for how, shape in _SHAPES:
            matches = shape(gold, depth)
            if matches is not None:
                return how, matches
    return "text", _text(gold)


def _integer(gold: str, depth: int) -> Matcher | None:
    value = read_integer(gold)
    return None if value is None else lambda answer: read_integer(answer) == value


def _number(gold: str, depth: int) -> Matcher | None:
    value = read_number(gold)
    return None if value is None else lambda answer: read_number(answer) == value


def _scientific(gold: str, depth: int) -> Matcher | None:
    value = read_scientific(gold)
    return None if value is None else lambda answer: value in (read_scientific(answer), read_number(answer))


def _quantity(gold: str, depth: int) -> Matcher | None:
    amount, unit = _split_unit(gold)
    number = _number(amount, depth)
    if unit is None or number is None:
        return None

    def matches(answer: str) -> bool:
        answer_amount, answer_unit = _split_unit(answer)
        return answer_unit in (None, unit) and number(answer_amount)

    return matches


def _split_unit(text: str) -> tuple[str, str | None]:
    r"""(amount, unit) of `50%`, `90^\circ`, `\$36`, `5.4 \text{ cents}`, `5 km`; unit None if there is none."""
    if text.startswith(r"\$"):
        return text[2:].strip(), "$"
    for pattern in (_PERCENT, _DEGREES, _UNIT):
        for match in pattern.finditer(text):
            if match.end() == len(text):
                return text[: match.start()].strip(), _unit_name(pattern, match)
    return text, None


def _unit_name(pattern: re.Pattern[str], match: re.Match[str]) -> str:
    if pattern is not _UNIT:
        return "%" if pattern is _PERCENT else "degrees"
    name, word, power = match.groups()
    return " ".join((name or word).casefold().split()) + (power or "")


def _choice(gold: str, depth: int) -> Matcher | None:
    letter = _CHOICE.fullmatch(gold)
    if letter is None:
        return None
    wanted = letter[1] or letter[2]

    def matches(answer: str) -> bool:
        chosen = _CHOSEN.fullmatch(answer)
        return chosen is not None and wanted == (chosen[1] or chosen[2])

    return matches


def _named(gold: str, depth: int) -> Matcher | None:
    statement = _NAMED.fullmatch(gold)
    if statement is None:
        return None
    letter, relation, value = statement.groups()
    how, same_value = _matcher(value, depth + 1)

    def matches(answer: str) -> bool:
        stated = _NAMED.fullmatch(answer)
        if stated is not None:
            return stated[1] == letter and stated[2] == relation and same_value(stated[3])
        return how != "text" and same_value(answer)

    return matches


def _union(gold: str, depth: int) -> Matcher | None:
    return _unordered(gold, lambda text: latex.split_top(text, r"\cup"), depth, least=2)


def _list(gold: str, depth: int) -> Matcher | None:
    return _unordered(gold, latex.split_list, depth, least=2)


def _set(gold: str, depth: int) -> Matcher | None:
    def elements(text: str) -> list[str]:
        brackets = latex.split_brackets(text)
        return brackets[1] if brackets and brackets[0] == r"\{" else []

    return _unordered(gold, elements, depth, least=1)


def _unordered(gold: str, split: Callable[[str], list[str]], depth: int, least: int) -> Matcher | None:
    """Matches answers that `split` into the gold's elements, each as often as in the gold."""
    parts = split(gold)
    if not least <= len(parts) <= _MAX_ELEMENTS or not all(parts):
        return None
    wanted = [_matcher(part, depth + 1)[1] for part in parts]

    def matches(answer: str) -> bool:
        left = split(answer)
        if len(left) != len(wanted):
            return False
        for same in wanted:
            index = next((i for i, part in enumerate(left) if same(part)), None)
            if index is None:
                return False
            del left[index]
        return True

    return matches


def _ordered(kind: str, gold: str, depth: int) -> Matcher | None:
    """Tuples, points and open intervals ("tuple") or intervals with a closed end ("interval")."""
    brackets = latex.split_brackets(gold)
    if brackets is None or not 2 <= len(brackets[1]) <= _MAX_ELEMENTS or not all(brackets[1]):
        return None
    opening, parts, closing = brackets
    if (kind == "tuple") != (opening + closing == "()") or opening == r"\{":
        return None
    wanted = [_matcher(part, depth + 1)[1] for part in parts]

    def matches(answer: str) -> bool:
        given = latex.split_brackets(answer)
        if given is None or (given[0], given[2]) != (opening, closing) or len(given[1]) != len(wanted):
            return False
        return all(same(part) for same, part in zip(wanted, given[1], strict=True))

    return matches


def _text(gold: str) -> Matcher:
    wanted = latex.tokens(gold)
    return lambda answer: latex.tokens(answer) == wanted


_SHAPES: tuple[tuple[str, Callable[[str, int], Matcher | None]], ...] = (
    ("integer", _integer),
    ("number", _number),
    ("scientific", _scientific),
    ("quantity", _quantity),
    ("choice", _choice),
    ("equation", _named),
    ("union", _union),
    ("tuple", functools.partial(_ordered, "tuple")),
    ("interval", functools.partial(_ordered, "interval")),
    ("set", _set),
    ("list", _list),
)
