"""Code benchmarks: every reference solution of the public files passes the grader as plain CPython passes it."""

import ast
import base64
import json
import pickle
import re
import shutil
import subprocess
import sys
import zlib

import pyarrow
import pyarrow.parquet
import pytest
from data_support import PUBLISHED, write_rows
from support import sandbox

from mxjax import cli
from mxjax.data import load_benchmark, load_questions
from mxjax.rewards import grade_code
from mxjax.sandbox import SandboxLimits

ROW = {
    "task_id": "HumanEval/x", "entry_point": "root", "canonical_solution": "    return -xs[0] / xs[1]\n",
    "prompt": "def poly(xs, x):\n    return xs[0] + xs[1] * x\n\n\ndef root(xs):\n    '''The zero.'''\n",
    "test": "def check(candidate):\n    assert abs(poly([2, 1], candidate([2, 1]))) < 1e-6\n",
}  # fmt: skip


def test_helpers_of_a_prompt_stay_with_the_check(tmp_path):
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "humaneval" / "test.jsonl").write_text(json.dumps(ROW))
    (question,) = load_benchmark("humaneval", data_dir=str(tmp_path))
    assert question.task_type == "code" and "The zero." in question.text
    with sandbox("auto") as box:
        assert grade_code(ROW["prompt"] + ROW["canonical_solution"], question.tests, box)
        assert not grade_code("def poly(xs, x): return 0\ndef root(xs): return 0", question.tests, box)


def test_the_test_that_an_mbpp_question_shows_is_its_example(tmp_path):
    row = {"task_id": 11, "text": "Add one.", "code": "def f(x):\n    return x + 1", "test_setup_code": "",
           "test_list": ["assert f(1) == 2", "assert f(8) == 9"]}  # fmt: skip
    (tmp_path / "mbpp").mkdir()
    (tmp_path / "mbpp" / "test.jsonl").write_text(json.dumps(row))
    (question,) = load_benchmark("mbpp", data_dir=str(tmp_path))
    (example,) = question.examples
    assert "f(1) == 2" in example["check"] and "f(1) == 2" in question.text
    assert "f(8)" not in f"{example}{question.text}" and "f(8)" in question.tests[1]["check"]


def prepared_questions(capsys, name, source, load=load_benchmark):
    """The questions of a set that the command line took from a file with fewer rows than the published ones."""
    assert cli.main(["data", "prepare", name, "--from", str(source), "--partial"]) == 0
    assert f"{name if '/' in name else f'{name}/test'}: " in capsys.readouterr().out
    return load(name)


def graded(questions, *programs):
    """Whether each program is right, each question with its own."""
    with sandbox("auto") as box:
        return [bool(grade_code(p, q.tests, box, q.gold)) for q, p in zip(questions, programs, strict=True)]


def test_code_contests_from_its_parquet_files(tmp_path, data_directory, capsys):
    """Rows with the columns that the set is published with."""
    cases = lambda *numbers: {"input": [f"{n}\n" for n in numbers], "output": [f"{2 * n}\n" for n in numbers]}
    row = {"name": "1_A. Doubling", "description": "Double it.\n\nExample\n\nInput\n\n1\n\nOutput\n\n2", "source": 2,
           "public_tests": cases(1), "private_tests": cases(7), "generated_tests": cases(*range(100, 160)),
           "solutions": {"language": [3], "solution": ["print(2 * int(input()))"]},
           "time_limit": {"seconds": 2, "nanos": 0}, "memory_limit_bytes": 256_000_000}  # fmt: skip
    rows = [row, {**row, "name": "1_B. Sum", "description": "Add it to itself."}]
    source = tmp_path / "test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), source)
    questions = prepared_questions(capsys, "code_contests/test", source)
    assert [question.text.splitlines()[0] for question in questions] == ["Double it.", "Add it to itself."]
    assert questions[0].examples == ({"stdin": "1\n"},) and len(questions[0].tests) == 62
    assert graded(questions, "print(2 * int(input()))", "print(2)") == [True, False]
    assert "solution" not in (data_directory / "code_contests" / "test.jsonl").read_text()
    (first, _) = prepared_questions(capsys, "code_contests/train", source, load_questions)
    assert len(first.tests) == 50 and first.tests[0]["public"]


def test_livecodebench_from_its_json_lines(tmp_path, capsys):
    """Rows with the columns that the set is published with, hidden tests packed as there."""
    packed = lambda tests: base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()
    case = lambda given, wanted, kind: {"input": given, "output": wanted, "testtype": kind}
    row = {"question_title": "Doubling", "platform": "atcoder", "contest_id": "abc1", "difficulty": "easy",
           "contest_date": "2024-01-06T00:00:00"}  # fmt: skip
    streams = {**row, "question_id": "abc1_a", "question_content": "Double it.", "starter_code": "",
               "public_test_cases": json.dumps([case("1\n", "2\n", "stdin")]), "metadata": "{}",
               "private_test_cases": packed([case("21\n", "42\n", "stdin")])}  # fmt: skip
    calls = {**row, "question_id": "3001", "question_content": "Repeat it.",
             "starter_code": "class Solution:\n    def rep(self, n: int, s: str) -> List[str]:\n        ",
             "public_test_cases": json.dumps([case('2\n"a"', '["a", "a"]', "functional")]),
             "private_test_cases": packed([case('1\n"b"', '["b"]', "functional")]),
             "metadata": json.dumps({"func_name": "rep"})}  # fmt: skip
    source = write_rows(tmp_path / "test.jsonl", streams, calls)
    questions = prepared_questions(capsys, "livecodebench", source)
    assert [question.gold for question in questions] == [None, "rep"]
    assert questions[0].examples == ({"stdin": "1\n"},)
    assert questions[1].examples == ({"args": [2, "a"], "entry_point": "rep"},)
    method = "class Solution:\n    def rep(self, n, s):\n        return {}"
    assert graded(questions, "print(2 * int(input()))", method.format("[s] * n")) == [True, True]
    assert graded(questions, "print(2)", method.format("['a', 'a']")) == [False, False]  # right on what is shown


def passes_in_python(program, tests):
    """Whether plain CPython without packages, in a process of its own, passes every test of a check."""
    setup = tests[0].get("setup", "")
    whole = "\n".join([setup, program, *(f"{test.get('prelude', '')}\n{test['check']}" for test in tests)])
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=whole.encode(), capture_output=True, timeout=120)
    return done.returncode == 0


def test_plain_python_is_an_oracle():
    check = [{"check": "assert f(1) == 2"}, {"prelude": "two = 2", "check": "assert f(two) == 3"}]
    assert passes_in_python("def f(x): return x + 1", check)
    assert not passes_in_python("def f(x): return 2", check) and not passes_in_python("import not_here", check)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "splits"), [("humaneval", ["test"]), ("mbpp", ["test", "validation", "train"])])
def test_reference_solutions_pass(name, splits, tmp_path):
    source = PUBLISHED / name / ("mbpp.jsonl" if name == "mbpp" else "test.jsonl")
    if not source.exists():
        pytest.skip(f"{source} is not here")
    (tmp_path / name).mkdir()
    lines = source.read_text().splitlines()
    questions, programs = [], []
    for split in splits:
        shutil.copy(source, tmp_path / name / f"{split}.jsonl")
        for question in load_benchmark(f"{name}/{split}", data_dir=str(tmp_path)):
            row = json.loads(lines[int(question.id.rpartition(":")[2]) - 1])
            questions.append(question)
            programs.append(row["code"] if name == "mbpp" else function_alone(row))
    limits = SandboxLimits(cpu_s=10)
    with sandbox("auto") as box:
        futures = [
            box.call(grade_code, program, question.tests, box, None, True, limits)
            for program, question in zip(programs, questions, strict=True)
        ]
        verdicts = [future.result() for future in futures]
    wrong = [(program, question) for program, question, verdict in zip(programs, questions, verdicts) if not verdict]
    assert [question.id for program, question in wrong if passes_in_python(program, question.tests)] == []
    assert name == "mbpp" or not wrong
    assert not any(verdict.how == "in_process" for verdict in verdicts)


def function_alone(row):
    """The reference solution of a HumanEval row as a model answers: the function, without the prompt's imports."""
    whole = ast.parse(row["prompt"] + row["canonical_solution"])
    return ast.unparse(next(node for node in whole.body if getattr(node, "name", None) == row["entry_point"]))


@pytest.mark.slow
def test_reference_solutions_of_leetcode_pass_as_calls_without_any_setup():
    source = PUBLISHED / "leetcode" / "test.jsonl"
    if not source.exists():
        pytest.skip(f"{source} is not here")
    limits = SandboxLimits(cpu_s=20, wall_s=60)
    with sandbox("auto") as box:
        futures = {}
        for row in map(json.loads, source.read_text().splitlines()):
            method, calls = calls_of(row)
            check = {"check": row["tests"]["functional"]}
            futures[row["id"]] = [
                box.call(grade_code, row["solutions"], tests, box, method, True, limits) for tests in (calls, [check])
            ]
        verdicts = {name: [future.result() for future in pair] for name, pair in futures.items()}
    assert [name for name, pair in verdicts.items() if not all(pair)] == []
    assert len(verdicts) == 200 and {verdict.how for pair in verdicts.values() for verdict in pair} == {"tests"}


def calls_of(row):
    """The method of a LeetCode row, and its assertions as calls with positional arguments."""
    check = ast.parse(row["tests"]["functional"]).body[0]
    method = re.search(r"check\(Solution\(\)\.(\w+)\)", row["tests"]["functional"])[1]
    bodies = [node.body for node in ast.parse(row["solutions"]).body if getattr(node, "name", None) == "Solution"]
    (function,) = (node for body in bodies for node in body if getattr(node, "name", None) == method)
    order = [argument.arg for argument in function.args.args[1:]]
    tests = []
    for statement in check.body:
        given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in statement.test.left.keywords}
        expected = ast.literal_eval(statement.test.comparators[0])
        tests.append({"args": [given[name] for name in order if name in given], "expected": expected})
    return method, tests
