r"""Exact grading of a mathematical answer, by the gold answer's type.

The gold decides what is compared: an integer gold accepts integers and nothing near them, a tuple gold tuples, and so
on, first shape that fits. That is what keeps out the classic false rewards: 502 for 500, `4=5` for 5, "A cat" for
(A), `84/12` for 7. Accepted, by gold:

| gold | accepted |
|---|---|
| integer `7` | `7` `+7` `007` `7.` `7.0` `7,000` `\$7` `7 cm` `7 apples`; not `14/2`, `7\%`, `x=7` |
| decimal, fraction, mixed number | any decimal, fraction or mixed number of exactly that value, also with a unit |
| power of ten `3 \times 10^8` | the same, or the number written out |
| with unit or percent sign | that unit, or none |
| choice letter `(C)` | `C` `(C)` `C)` |
| `x = ...`, `x \in ...` | the same letter; or the value alone if it has no letter |
| `x + y = 5` | an equation that holds for the same values: the differences of the sides agree up to a factor |
| `x \leq 5`, `0 < x < 1` | the same relations, read from either end |
| `(1,2)` `(0,3]` | the same brackets, elements in order |
| `\{1,2\}`, bare list `1,2`, union, `1 \pm 2` | elements in any order, as often as in the gold; also with "and", "or" |
| matrix | the same cells |
| a formula | the same LaTeX tokens (`how="text"`), or equal by computer algebra (`how="symbolic"`) |
| anything else | the same LaTeX tokens, white space and `\dfrac`-like spelling aside (`how="text"`) |

Each part of a tuple, set, matrix and so on is compared by its own type in turn. What computer algebra neither proves
nor refutes within its limits is wrong, with `how="undecided"`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from mxjax.rewards import latex
from mxjax.rewards.extract import MAX_ANSWER, extract_answer
from mxjax.rewards.symbolic import Algebra, comparable
from mxjax.rewards.units import split_unit
from mxjax.rewards.verdict import Verdict
from mxjax.rewards.written_numbers import read_integer, read_number, read_scientific

Matcher = Callable[[str, Algebra], bool]

_MAX_DEPTH = 6
_MAX_ELEMENTS = 64
_CHOICE = re.compile(r"\(([A-J])\)|([A-J])")
_CHOSEN = re.compile(r"\(?([A-J])\)|([A-J])")
_NAMED = re.compile(r"([A-Za-z](?: ?\([a-z]\)| ?_ ?(?:[0-9a-z]|\{[0-9a-z]+\}))?) ?(=|\\in(?![A-Za-z])) ?([^=]+)")
_LETTER = re.compile(r"(?<![\\A-Za-z])(?![ei](?![A-Za-z]))[A-Za-z]")  # that stands for a value


def grade_math(gold: str | None, answer: str) -> Verdict:
    """Whether the message `answer` ends in the answer `gold`.

    In bounded time, whatever `answer` is. `answer` is the text of a returned message, from which exactly one final
    answer is taken (`extract_answer`); over 512 characters it is wrong. Formulas are compared in another process
    (`symbolic`).

    Raises:
        ValueError: `gold` is empty or not a str.
        InfrastructureError: the process that compares formulas cannot be started.
    """
    if not isinstance(gold, str) or not gold.strip():
        raise ValueError(f"The gold answer must be a non-empty str, got {gold!r}: fix the data set's row.")
    final = extract_answer(answer)
    if final is None or not final.strip():
        return Verdict(False, "no_answer")
    if len(final) > MAX_ANSWER:
        return Verdict(False, "too_long")
    how, matches = _compiled(gold)
    algebra = Algebra()
    if matches(latex.clean(final), algebra):
        return Verdict(True, "symbolic" if how == "text" and algebra.asked else how)
    if algebra.undecided:
        return Verdict(False, "undecided")
    return Verdict(False, "symbolic" if how == "text" and algebra.asked else how)


@functools.lru_cache(maxsize=4096)
def _compiled(gold: str) -> tuple[str, Matcher]:
    return _matcher(latex.clean(gold), 0)


def _matcher(gold: str, depth: int) -> tuple[str, Matcher]:
    """(name of the gold's shape, predicate on cleaned answers).

    A gold nested or long beyond reason is text.
    """
    if depth <= _MAX_DEPTH and len(gold) <= MAX_ANSWER:
        for how, shape in _SHAPES:
            matches = shape(gold, depth)
            if matches is not None:
                return how, matches
    return "text", _formula(gold)


def _with_unit(same: Matcher) -> Matcher:
    """Match what `same` does, with or without a unit.

    The gold names none; percent is another value.
    """

    def matches(answer: str, algebra: Algebra) -> bool:
        if same(answer, algebra):
            return True
        amount, unit = split_unit(answer)
        return unit not in (None, "%") and same(amount, algebra)

    return matches


def _valued(same: Callable[[str], bool]) -> Matcher:
    return _with_unit(lambda answer, algebra: same(answer))


def _integer(gold: str, depth: int) -> Matcher | None:
    value = read_integer(gold)
    return None if value is None else _valued(lambda answer: read_integer(answer) == value)


def _number(gold: str, depth: int) -> Matcher | None:
    value = read_number(gold)
    return None if value is None else _valued(lambda answer: read_number(answer) == value)


def _scientific(gold: str, depth: int) -> Matcher | None:
    value = read_scientific(gold)
    return None if value is None else _valued(lambda answer: value in (read_scientific(answer), read_number(answer)))


def _quantity(gold: str, depth: int) -> Matcher | None:
    amount, unit = split_unit(gold)
    if unit is None or not amount:
        return None
    how, same_amount = _matcher(amount, depth + 1)
    if how not in ("integer", "number", "scientific", "text"):
        return None

    def matches(answer: str, algebra: Algebra) -> bool:
        answer_amount, answer_unit = split_unit(answer)
        return answer_unit in (None, unit) and same_amount(answer_amount, algebra)

    return matches


def _choice(gold: str, depth: int) -> Matcher | None:
    letter = _CHOICE.fullmatch(gold)
    if letter is None:
        return None
    gold_letter = letter[1] or letter[2]

    def matches(answer: str, algebra: Algebra) -> bool:
        chosen = _CHOSEN.fullmatch(answer)
        return chosen is not None and gold_letter == (chosen[1] or chosen[2])

    return matches


def _named(gold: str, depth: int) -> Matcher | None:
    statement = _NAMED.fullmatch(gold)
    if statement is None:
        return None
    name, relation, value = statement.groups()
    how, same_value = _matcher(value, depth + 1)
    has_letter = how == "text" and (_LETTER.search(value) or not comparable(latex.explicit(value)))

    def matches(answer: str, algebra: Algebra) -> bool:
        stated = _NAMED.fullmatch(answer)
        if stated is not None:
            same_name = latex.tokens(stated[1]) == latex.tokens(name)
            return same_name and stated[2] == relation and same_value(stated[3], algebra)
        return not has_letter and same_value(answer, algebra)

    return matches


def _equation(gold: str, depth: int) -> Matcher | None:
    sides = gold.split("=")
    if len(sides) != 2 or not _LETTER.search(gold) or not comparable(latex.explicit(gold), "equation"):
        return None

    def matches(answer: str, algebra: Algebra) -> bool:
        if latex.tokens(answer) == latex.tokens(gold):
            return True
        return "=" in answer and algebra.same("equation", gold, answer)

    return matches


def _relation(gold: str, depth: int) -> Matcher | None:
    terms, relations = latex.split_relations(gold)
    if not relations or len(terms) > _MAX_ELEMENTS or not all(terms):
        return None
    term_matchers = [_matcher(term, depth + 1)[1] for term in terms]

    def matches(answer: str, algebra: Algebra) -> bool:
        answer_parts, given_relations = latex.split_relations(answer)
        if given_relations != relations:
            return False
        orders = [answer_parts, answer_parts[::-1]] if set(relations) == {r"\neq"} else [answer_parts]
        return any(
            all(same(term, algebra) for same, term in zip(term_matchers, order, strict=True)) for order in orders
        )

    return matches


def _union(gold: str, depth: int) -> Matcher | None:
    return _unordered(gold, lambda text: latex.split_top(text, r"\cup"), depth, least=2)


def _list(gold: str, depth: int) -> Matcher | None:
    return _unordered(gold, latex.split_list, depth, least=2)


def _matrix(gold: str, depth: int) -> Matcher | None:
    rows = latex.split_matrix(gold)
    if rows is None or sum(map(len, rows)) > _MAX_ELEMENTS:
        return None
    cell_matchers = [[_matcher(cell, depth + 1)[1] for cell in row] for row in rows]

    def matches(answer: str, algebra: Algebra) -> bool:
        answer_rows = latex.split_matrix(answer)
        if answer_rows is None or list(map(len, answer_rows)) != list(map(len, cell_matchers)):
            return False
        pairs = ((same, cell) for row, cells in zip(cell_matchers, answer_rows) for same, cell in zip(row, cells))
        return all(same(cell, algebra) for same, cell in pairs)

    return matches


def _set(gold: str, depth: int) -> Matcher | None:
    def elements(text: str) -> list[str]:
        brackets = latex.split_brackets(text)
        return brackets[1] if brackets and brackets[0] == r"\{" else []

    return _unordered(gold, elements, depth, least=1)


def _unordered(gold: str, split: Callable[[str], list[str]], depth: int, least: int) -> Matcher | None:
    """Match answers that `split` into the gold's elements, in any order.

    Each as often as in the gold.
    """
    parts = split(gold)
    if not least <= len(parts) <= _MAX_ELEMENTS or not all(parts):
        return None
    part_matchers = [_matcher(part, depth + 1)[1] for part in parts]

    def matches(answer: str, algebra: Algebra) -> bool:
        left = split(answer)
        if len(left) != len(part_matchers):
            return False
        for same in part_matchers:
            index = next((i for i, part in enumerate(left) if same(part, algebra)), None)
            if index is None:
                return False
            del left[index]
        return True

    return matches


def _ordered(kind: str, gold: str, depth: int) -> Matcher | None:
    """Match lists with the same brackets, elements in order.

    Tuples, points and open intervals ("tuple") or intervals with a closed end ("interval").
    """
    brackets = latex.split_brackets(gold)
    if brackets is None or not 2 <= len(brackets[1]) <= _MAX_ELEMENTS or not all(brackets[1]):
        return None
    opening, parts, closing = brackets
    if (kind == "tuple") != (opening + closing == "()") or opening == r"\{":
        return None
    part_matchers = [_matcher(part, depth + 1)[1] for part in parts]

    def matches(answer: str, algebra: Algebra) -> bool:
        split = latex.split_brackets(answer)
        if split is None or (split[0], split[2]) != (opening, closing) or len(split[1]) != len(part_matchers):
            return False
        return all(same(part, algebra) for same, part in zip(part_matchers, split[1], strict=True))

    return matches


def _formula(gold: str) -> Matcher:
    gold_tokens = latex.tokens(gold)

    def same(answer: str, algebra: Algebra) -> bool:
        return latex.tokens(answer) == gold_tokens or algebra.same("formula", gold, answer)

    return _with_unit(same)


_SHAPES: tuple[tuple[str, Callable[[str, int], Matcher | None]], ...] = (
    ("integer", _integer),
    ("number", _number),
    ("scientific", _scientific),
    ("quantity", _quantity),
    ("choice", _choice),
    ("equation", _named),
    ("equation", _equation),
    ("relation", _relation),
    ("union", _union),
    ("tuple", functools.partial(_ordered, "tuple")),
    ("interval", functools.partial(_ordered, "interval")),
    ("set", _set),
    ("matrix", _matrix),
    ("list", _list),
)
