"""Test sets by name, each row brought to one question and one plain gold answer.

GSM8K and SVAMP come with a sample of 50 questions. The full sets, and those whose licence does not let us ship them,
are read from a directory that the user prepares, `<data_dir>/<name>/test.jsonl`; nothing is downloaded here.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from mxjax.data import generators, sources
from mxjax.rollout.records import Question

DATA_ENV = "MXJAX_DATA"
DEFAULT_LIMIT = 500
"""Questions of a procedural benchmark when no limit is given."""

_SAMPLES = epath.Path(__file__).parent / "samples"
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
Row = Mapping[str, Any]


def load_benchmark(name: str, limit: int | None = None, seed: int = 0, data_dir: str | None = None) -> list[Question]:
    """The test questions of a benchmark.

    Args:
        name: `gsm8k`, `svamp`, `mawps`, `math500`, `aime24`, `aime25`, `amc23`, `humaneval`, `mbpp`,
            `reasoning_gym:<task>`, `arithmetic:sums` or `jsonl:<path>`. A full file in the data directory goes before a
            shipped sample, whose questions have the source `<name>:sample`.
        limit: at most so many, a sample by `seed` in the file's order; None: all (500 of a procedural task).
        seed: of the sample, or of the procedural task.
        data_dir: where prepared files lie; default the environment variable MXJAX_DATA.

    Raises:
        ValueError: an unknown benchmark, or one whose file is missing or wrong; one sentence that names the fix.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"The limit of a benchmark must be at least 1, got {limit}.")
    if generators.is_generator(name):
        return sources.load_questions(name, "test", seed, limit or DEFAULT_LIMIT)
    if name.startswith(sources.JSONL):
        return sources.sample(sources.read_jsonl(name.removeprefix(sources.JSONL), name, "test"), limit, seed)
    if name not in ADAPTERS and name not in CODE_ADAPTERS:
        raise ValueError(
            f"Unknown benchmark {name!r}: use one of {', '.join(sorted({**ADAPTERS, **CODE_ADAPTERS}))}, "
            "reasoning_gym:<task> or jsonl:<path>."
        )
    path, source = _find(name, data_dir or os.environ.get(DATA_ENV))
    questions = []
    for line, row in sources.read_rows(os.fspath(path)):
        try:
            text, answer = (ADAPTERS.get(name) or CODE_ADAPTERS[name])(row)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: not a row of {name} ({type(error).__name__}: {error}).") from error
        kind, gold, tests = ("math", answer, None) if name in ADAPTERS else ("code", None, answer)
        questions.append(Question(f"{source}:{line}", text, kind, gold, tests, source, "test"))
    return sources.sample(questions, limit, seed)


def plain_number(value: Any) -> str:
    """A gold number without thousands separators and without `.0`; whatever is not a number stays as it is."""
    text = str(value).strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    return re.sub(r"(?<=[0-9])\.0+\Z", "", text)


def _find(name: str, data_dir: str | None) -> tuple[epath.Path, str]:
    """(file, source name) of a benchmark's full test file if it is there, else of its shipped sample."""
    if data_dir:
        full = epath.Path(data_dir) / name / "test.jsonl"
        if full.exists():
            return full, name
    shipped = _SAMPLES / f"{name}.jsonl"
    if shipped.exists():
        return shipped, f"{name}:sample"
    wanted = f"{data_dir or '<data_dir>'}/{name}/test.jsonl"
    raise ValueError(f"The benchmark {name} is not here: put its rows in {wanted} and set --data_dir or {DATA_ENV}.")


def _gsm8k(row: Row) -> tuple[str, str]:
    return row["question"], plain_number(_after_hashes(row["answer"]))


def _after_hashes(worked_answer: str) -> str:
    _, marker, answer = worked_answer.rpartition("####")
    if not marker or not answer.strip():
        raise ValueError("the answer has no '#### <number>'")
    return answer


def _svamp(row: Row) -> tuple[str, str]:
    body = row["Body"].strip()
    stop = "" if body.endswith((".", "?", "!")) else "."
    return f"{body}{stop} {row['Question'].strip()}", plain_number(row["Answer"])


def _humaneval(row: Row) -> tuple[str, list[dict[str, Any]]]:
    """The prompt's helpers go with the check, where a candidate cannot replace them."""
    prompt, entry_point = row["prompt"], row["entry_point"]
    helpers = ast.parse(prompt)
    helpers.body = [node for node in helpers.body if getattr(node, "name", None) != entry_point]
    check = f"{row['test']}\ncheck({entry_point})"
    text = f"Complete this Python function and answer with the whole program.\n\n{prompt.strip()}"
    return text, [{"check": check, "prelude": ast.unparse(helpers), "functions": [entry_point]}]


def _mbpp(row: Row) -> tuple[str, list[dict[str, Any]]]:
    """One test for each assertion; the first is shown, as usual for this set, since it names the function."""
    defined = [node.name for node in ast.parse(row["code"]).body if isinstance(node, ast.FunctionDef)]
    tests = [{"check": f"{row['test_setup_code']}\n{test}", "functions": defined} for test in row["test_list"]]
    tests[0]["public"] = True
    return f"{row['text'].strip()}\nYour program must pass this test:\n{row['test_list'][0]}", tests


def _fields(text: str, gold: str) -> Callable[[Row], tuple[str, str]]:
    """An adapter for rows that hold the question and its answer in two plain fields."""

    def adapter(row: Row) -> tuple[str, str]:
        return row[text].strip(), plain_number(row[gold])

    return adapter


ADAPTERS: Mapping[str, Callable[[Row], tuple[str, str]]] = {
    "aime24": _fields("problem", "answer"),
    "aime25": _fields("problem", "answer"),
    "amc23": _fields("problem", "answer"),
    "gsm8k": _gsm8k,
    "math500": _fields("problem", "answer"),
    "mawps": _fields("input", "target"),
    "svamp": _svamp,
}
"""From a row of each benchmark's file to (question, gold answer)."""

CODE_ADAPTERS: Mapping[str, Callable[[Row], tuple[str, list[dict[str, Any]]]]] = {
    "humaneval": _humaneval,
    "mbpp": _mbpp,
}
"""From a row of each code benchmark's file to (question, hidden tests as `rewards.grade_code` takes them)."""
