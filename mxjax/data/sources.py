"""Where questions come from.

Generators, files, mixtures of them, and users' own tasks, all named by a spec. A spec is what a config file holds.
Either a string:

    reasoning_gym:<task>    a procedural task of reasoning-gym
    arithmetic:sums         sums of numbers of mixed length
    <set>, <set>/<split>    a public data set by name, see `mxjax data list`; the training split unless one is named
    jsonl:<path>            one JSON object a line: question (or text, problem) and answer (or gold), id optional
    tfds:<folder>@<split>   a TFDS data set in array_record form with these fields; a sample reads only its own records
    <module>:<function>     a function of the user's that returns a `Task`

or a mapping `{"source": <string>, ...}` with, for generators, `options` (the task's keyword arguments), `form` ("task",
"bare" or "mixed"), `bare_share` and `distinct`; or a list of such mappings, each with a `weight`: a mixture.

Questions are distinct by default, which thins out what a generator draws often: of 20,000 distinct sums of 2-3 terms
and 1-2 digits 1 % are of two single digits, of 20,000 draws 25 %. `distinct=False` keeps the draws as they come,
and asks the questions of a file or set again where it has fewer than its share.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mxjax.data import array_records, generators, prepared, rows
from mxjax.data.catalogue import SETS
from mxjax.data.gradable import GRADED, agreeing, check_gradable
from mxjax.data.identity import normalise_text, statement_key, text_id
from mxjax.data.rows import row_id
from mxjax.errors import UserError, place_of
from mxjax.rollout.records import Question, Task
from mxjax.values import is_number

JSONL = "jsonl:"
DRAWS_PER_QUESTION = 20
"""A stream may draw this many items for each distinct question asked of it before it is called exhausted."""
_TEXT_FIELDS = ("question", "text", "problem")
_GOLD_FIELDS = ("answer", "gold")


@dataclasses.dataclass(frozen=True)
class _Spec:
    source: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    form: str = "task"
    bare_share: float = 0.5
    distinct: bool = True
    weight: float = 1.0


def load_questions(
    spec: Any,
    split: str = "train",
    seed: int = 0,
    size: int | None = None,
    exclude_texts: Iterable[str] = frozenset(),
    distinct: bool | None = None,
    exclude_keys: frozenset[str] = frozenset(),
) -> list[Question]:
    """`size` questions of `spec`, a pure function of the arguments.

    Args:
        spec: see the module's docstring.
        split: recorded in the questions; a generator's splits are different streams.
        seed: the run's data seed.
        size: how many; None: all that a file or task has. A file or task with more gives a seeded sample, in order.
        exclude_texts: texts that must not occur, compared by `normalise_text`.
        distinct: overrides the spec's `distinct`.
        exclude_keys: statements that must not occur, by `statement_key`.

    Returns:
        Questions of distinct text, unless the spec says `distinct=False`; ids are distinct in any case.

    Raises:
        ValueError: a wrong spec or file, or fewer questions than asked for. The message says what to change.
    """
    if size is not None and size < 1:
        raise UserError(f"The number of questions must be at least 1, got {size}.")
    excluded = frozenset(normalise_text(text) for text in exclude_texts)
    parts = _parse(spec)
    if distinct is not None:
        parts = [dataclasses.replace(part, distinct=distinct) for part in parts]
    if len(parts) == 1:
        return _load(parts[0], split, seed, size, excluded=excluded, keys=exclude_keys)
    if size is None:
        raise UserError("A mixture needs the number of questions: set size.")
    questions: list[Question] = []
    seen = set(excluded)
    for part, share in zip(parts, _shares(size, [part.weight for part in parts]), strict=True):
        drawn = _load(part, split, seed, share, excluded=frozenset(seen), keys=exclude_keys) if share else []
        seen.update(normalise_text(question.text) for question in drawn)
        questions += drawn
    return questions


def load_task(name: str) -> Task:
    """The `Task` that `module:function` returns.

    Raises:
        ValueError: there is no such module or function, it fails, or it returns something else.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise UserError(f"A task is named module:function, got {name!r}.")
    if os.getcwd() not in sys.path:  # a command installed elsewhere does not look here by itself
        sys.path.append(os.getcwd())
    with _code_of(name, "importing its module"):
        module = importlib.import_module(module_name)
    make = getattr(module, function_name, None)
    if not callable(make):
        raise UserError(f"The module {module_name!r} has no function {function_name!r}.")
    with _code_of(name, f"{function_name}()"):
        task = make()
    if not isinstance(task, Task):
        raise UserError(f"{name} must return a mxjax.data.Task, got {type(task).__name__}.")
    return task


@contextlib.contextmanager
def _code_of(task: str, what: str) -> Iterator[None]:
    """The user's code can fail in any way.

    Raises UserError that says which task's did, where, and how.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"Cannot import {error.name!r} for the task {task!r}: is it on PYTHONPATH?") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        sentence = f"The task {task!r} cannot be read, since {what} fails with {reason} ({place_of(error)})."
        raise UserError(sentence) from error


def read_jsonl(path: str, source: str = "", split: str = "train") -> list[Question]:
    """The questions of a JSON-lines file, on any file system of etils.

    Raises:
        ValueError: the file is missing or empty, or a line is wrong; the message names file and line.
    """
    lines = rows.json_lines(path)
    rows_of = (_row_question(row, f"{path}, line {line}", source or JSONL + path, split) for line, row in lines)
    questions = list(agreeing(rows_of))
    if not questions:
        raise UserError(f"The question file {path} is empty: write one JSON object a line.")
    return questions


def _row_question(row: Mapping[str, Any], place: str, source: str, split: str) -> Question:
    text = next((row[name] for name in _TEXT_FIELDS if name in row), None)
    gold = next((row[name] for name in _GOLD_FIELDS if name in row), None)
    task_type = row.get("task_type", "math")
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{place}: needs a non-empty string in one of the fields {', '.join(_TEXT_FIELDS)}.")
    if task_type not in GRADED:
        raise UserError(f"{place}: task_type must be one of {', '.join(GRADED)}, got {task_type!r}.")
    id = row_id(row)
    place = f"{place} (id {id})" if id else place
    id = id or text_id(source, text)
    if task_type == "code":
        gold, tests = gold if isinstance(gold, str) and gold else None, row.get("tests")
    else:
        finite = not isinstance(gold, float) or math.isfinite(gold)
        if isinstance(gold, bool) or not isinstance(gold, str | int | float) or not str(gold).strip() or not finite:
            fields, got = ", ".join(_GOLD_FIELDS), "" if finite else f", got {gold}"
            raise UserError(f"{place}: needs the answer, text or number, in one of the fields {fields}{got}.")
        gold, tests = str(gold), None
    question = Question(id, text, task_type, gold=gold, tests=tests, source=source, split=split)
    check_gradable(question, place)
    return question


def _load(
    spec: _Spec, split: str, seed: int, size: int | None, excluded: frozenset[str], keys: frozenset[str]
) -> list[Question]:
    """The questions of one source; see `load_questions`."""

    def select(stream: Iterable[Question], size: int | None) -> list[Question]:
        return _select(stream, excluded, keys, spec.distinct, size)

    if generators.is_generator(spec.source):
        if size is None:
            raise UserError(f"{spec.source} is a generator: set the number of questions.")
        limit = DRAWS_PER_QUESTION * size + 1_000
        stream = generators.draw(
            spec.source, spec.options, split, seed, form=spec.form, bare_share=spec.bare_share, limit=limit
        )
        questions = select(stream, size)
    elif spec.source.startswith(array_records.PREFIX) and size is not None:
        questions = select(_records(spec.source, split, seed), size)
    else:
        questions = rows.sample(select(load_stored(spec.source, split, seed), None), size, seed)
    if questions and not spec.distinct and size is not None and len(questions) < size:
        questions = _select(itertools.cycle(questions), frozenset(), frozenset(), False, size)
    if not questions:
        raise UserError(f"{spec.source} has no questions left that are not excluded: use a larger source.")
    if size is not None and len(questions) < size:
        raise UserError(
            f"{spec.source} has only {len(questions)} questions to give, {size} were asked for: ask for fewer, or "
            "widen the source (more rows, terms or digits)."
        )
    return questions


def load_stored(source: str, split: str, seed: int) -> list[Question]:
    """All questions of a public set, file or task, marked as `split`.

    Raises what `load_questions` raises.
    """
    if source.startswith(JSONL):
        return read_jsonl(source.removeprefix(JSONL), source, split)
    if source.startswith(array_records.PREFIX):
        return list(agreeing(_records(source, split)))
    if source.partition("/")[0] in SETS:
        questions = prepared.load_split(source, "train")
    else:
        questions = _task_questions(source, split, seed)
    if not questions:
        raise UserError(f"The task {source} has no questions: its Task.questions is empty.")
    return [
        dataclasses.replace(question, split=split, source=source if is_task(source) else question.source)
        for question in questions
    ]


def _task_questions(source: str, split: str, seed: int) -> list[Question]:
    """The questions of a user's task.

    They must be gradable where the task has no verifier of its own.
    """
    task = load_task(source)
    with _code_of(source, "its Task.questions"):
        questions = list(task.questions(split, seed) if callable(task.questions) else task.questions)
    for number, question in enumerate(questions):
        if not isinstance(question, Question):
            kind = type(question).__name__
            raise UserError(f"Task.questions of {source} must hold Question records, number {number} is of {kind}.")
        if task.verify is None:
            check_gradable(question, f"{source}, question {question.id}")
    return questions if task.verify else list(agreeing(questions))


def sampled_records(source: str, split: str, limit: int | None, seed: int) -> list[Question]:
    """At most `limit` questions of a TFDS data set, sampled by `seed`.

    They are in the set's order; no others are read.
    """
    chosen = None if limit is None else rows.sample(range(array_records.count(source)), limit, seed)
    return list(_records(source, split, chosen=chosen))


def _records(
    source: str, split: str, seed: int | None = None, chosen: Sequence[int] | None = None
) -> Iterator[Question]:
    for number, row in array_records.read(source, seed, chosen):
        yield _row_question(row, f"{source}, record {number}", source, split)


def is_task(source: str) -> bool:
    """Whether a source names a user's own task, `module:function`.

    Its questions carry that name as their source.
    """
    others = (
        source.startswith((JSONL, array_records.PREFIX))
        or generators.is_generator(source)
        or source.partition(":")[0] in SETS
    )
    return ":" in source and not others


def _select(
    questions: Iterable[Question], excluded: frozenset[str], keys: frozenset[str], distinct: bool, size: int | None
) -> list[Question]:
    """The first `size` of `questions` that are not excluded.

    Repeats dropped, or kept under ids of their own.
    """
    selected: list[Question] = []
    times: dict[str, int] = {}
    for question in questions:
        text = normalise_text(question.text)
        if text in excluded or (distinct and text in times) or (keys and statement_key(question.text) in keys):
            continue
        times[text] = times.get(text, 0) + 1
        repeat = times[text]
        selected.append(question if repeat == 1 else dataclasses.replace(question, id=f"{question.id}-{repeat}"))
        if len(selected) == size:
            break
    return selected


def _parse(spec: Any) -> list[_Spec]:
    """The parts of a spec: one, or several for a mixture.

    Mappings may be ConfigDicts.
    """
    if isinstance(spec, str):
        spec = {"source": spec}
    if isinstance(spec, (list, tuple)):
        if not spec:
            raise UserError("The mixture is empty: give at least one source.")
        return [part for entry in spec for part in _parse(entry)]
    if not hasattr(spec, "items"):
        raise UserError(f"A question source is a string, a mapping or a list of mappings, got {spec!r}.")
    fields = dict(spec.items())
    known = {field.name for field in dataclasses.fields(_Spec)}
    unknown = sorted(set(fields) - known)
    if unknown or "source" not in fields:
        problem = f"unknown key {unknown[0]!r}" if unknown else "no key 'source'"
        raise UserError(f"A question source has the keys {', '.join(sorted(known))}: {problem}.")
    parsed = _Spec(**{**fields, "options": _options(fields.get("options"))})
    _check(isinstance(parsed.source, str), "source", "text", parsed.source)
    _check(isinstance(parsed.distinct, bool), "distinct", "True or False", parsed.distinct)
    for name, most in (("bare_share", 1), ("weight", sys.float_info.max)):
        value = getattr(parsed, name)
        expected = "in [0, 1]" if most == 1 else "a finite number of at least 0"
        _check(is_number(value) and 0 <= value <= most, f"{name} of {parsed.source}", expected, value)
    if ":" not in parsed.source and parsed.source.partition("/")[0] not in SETS:
        raise UserError(
            f"Unknown question source {parsed.source!r}: write reasoning_gym:<task>, arithmetic:sums, jsonl:<path>, "
            f"module:function or one of {', '.join(SETS)}."
        )
    return [parsed]


def _options(options: Any) -> dict[str, Any]:
    _check(options is None or hasattr(options, "items"), "options", "a mapping", options)
    return dict((options or {}).items())


def _check(holds: bool, name: str, expected: str, value: Any) -> None:
    if not holds:
        raise UserError(f"In the spec of a question source, {name} must be {expected}, got {value!r}.")


def _shares(size: int, weights: Sequence[float]) -> list[int]:
    """`size` split in proportion to `weights`, by largest remainder.

    Among equals the first part comes first.
    """
    whole = sum(weights)
    if whole <= 0:
        raise UserError("The weights of a mixture must not all be zero.")
    exact = [size * weight / whole for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: size - sum(shares)]:
        shares[i] += 1
    return shares
