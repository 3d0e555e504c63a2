"""Code benchmarks: every reference solution of the public files passes the grader as plain CPython passes it."""

import json
import re
import shutil

import pytest
from data_support import PUBLISHED
from support import sandbox

from mxjax.data import load_benchmark
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "splits", "together"), [("humaneval", ["test"], 0), ("mbpp", ["test", "validation", "train"], 3)]
)
def test_reference_solutions_pass(name, splits, together, tmp_path):
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
            programs.append(row["code"] if name == "mbpp" else row["prompt"] + row["canonical_solution"])
    limits = SandboxLimits(cpu_s=10)
    with sandbox("auto") as box:
        futures = [
            box.call(grade_code, program, question.tests, box, None, True, limits)
            for program, question in zip(programs, questions, strict=True)
        ]
        verdicts = [future.result() for future in futures]
    assert [question.id for question, verdict in zip(questions, verdicts) if not verdict] == []
    assert sum(verdict.how == "in_process" for verdict in verdicts) == together


PRELUDE = "\n".join(
    f"from {module} import *"
    for module in ("typing", "collections", "heapq", "bisect", "math", "functools", "itertools", "string", "operator")
) + "\ninf = float('inf')\n"  # fmt: skip


@pytest.mark.slow
def test_reference_solutions_of_leetcode_pass():
    source = PUBLISHED / "leetcode" / "test.jsonl"
    if not source.exists():
        pytest.skip(f"{source} is not here")
    needs_a_package = []
    limits = SandboxLimits(cpu_s=20, wall_s=60)
    with sandbox("auto") as box:
        futures = {}
        for row in map(json.loads, source.read_text().splitlines()):
            method = re.search(r"check\(Solution\(\)\.(\w+)\)", row["tests"]["functional"])
            check = row["tests"]["functional"].replace(method[0], f"check({method[1]})")
            test = {"check": check, "prelude": PRELUDE, "functions": [method[1]]}
            program = f"{PRELUDE}{row['solutions']}\n{method[1]} = Solution().{method[1]}\n"
            futures[row["id"]] = box.call(grade_code, program, [test], box, None, True, limits)
            if "Sorted" in row["solutions"]:
                needs_a_package.append(row["id"])
        wrong = [name for name, future in futures.items() if not future.result()]
    assert wrong == needs_a_package and len(futures) == 200
