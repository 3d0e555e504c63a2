"""A code question from its file to its reward: the documented design, a scripted policy, the real sandbox."""

import json
import re

import pytest
from data.data_support import PUBLISHED
from rollout.scripted import ScriptedEngine

from mxjax import mas
from mxjax.data import load_benchmark
from mxjax.rewards import make_reward
from mxjax.rollout import Role, collect
from mxjax.sandbox.tool import python_tool

PROMPTS = mas.load_prompts("documented")
OWN = {
    "task_id": "HumanEval/a", "entry_point": "largest_gap",
    "prompt": "from typing import List\n\n\ndef largest_gap(numbers: List[int]) -> int:\n"
    '    """The largest difference of two neighbours once the numbers are sorted.\n'
    '    >>> largest_gap([8, 1, 3])\n    5\n    """\n',
    "canonical_solution": "    ordered = sorted(numbers)\n"
    "    return max((b - a for a, b in zip(ordered, ordered[1:])), default=0)\n",
    "test": "def check(candidate):\n    assert candidate([77, 70]) == 7\n    assert candidate([]) == 0\n",
}  # fmt: skip


def humaneval(tmp_path, rows):
    """Questions of rows in HumanEval's form, read as the benchmark is."""
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "humaneval" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_benchmark("humaneval", data_dir=str(tmp_path))


def public_example(row):
    """(call, value) of the first example in the docstring."""
    return re.search(r">>> (.+)\n\s*(\S.*)", row["prompt"]).groups()


class Policy:
    """Designs as the documentation shows; as programmer it forgets the body, as tester it really runs the example."""

    def __init__(self, rows):
        self.rows, self.outputs = {row["entry_point"]: row for row in rows}, []

    def __call__(self, prompt, request):
        row = next(row for name, row in self.rows.items() if f"def {name}(" in prompt)
        broken, right = row["prompt"] + "    return 'nothing'\n", row["prompt"] + row["canonical_solution"]
        delivered = lambda said, program: (
            f"<delivery>{said}\nPROGRAM\n{program}END</delivery>\n<solution>\n{program}</solution>"
        )
        if "build and run a multi-agent system" in prompt:
            assert "The question asks for a program." in prompt
            return PROMPTS.designer_code.partition("Example for a program:")[2]
        if "Correct the program" in prompt:
            assert "EXAMPLES FAIL" in prompt
            return delivered("Repaired.", right)
        if "Run the program" in prompt:
            call, value = public_example(row)
            given = re.search(r"Output of your code:\n(.*?)(<\||\Z)", prompt, re.DOTALL)
            if given is None:
                program = re.search(r"PROGRAM\n(.*?)END", prompt, re.DOTALL)[1]
                return f"```python\n{program}\nprint({call} == {value})\n```"
            self.outputs.append("True" if "True" in given[1] else "False")
            passes = self.outputs[-1] == "True"
            said = "EXAMPLES PASS" if passes else "EXAMPLES FAIL: nothing is computed"
            return delivered(said, right if passes else broken)
        return delivered("Written.", right if "already" in row else broken)


def rollout(questions, rows, box):
    policy = Policy(rows)
    engine = ScriptedEngine(policy)
    roles = {role: Role(engine, prompt="documented") for role in ("designer", "executor")}
    tools = {"python_execute": python_tool(box)}
    trees = collect(questions, roles, make_reward(sandbox=box), tools, designs=1, executions=1)
    prompts = [engine.tokenizer.decode(request.prompt_token_ids) for request in engine.requests]
    return [tree.designs[0].executions[0] for tree in trees], prompts, policy


def test_a_program_is_written_tested_and_repaired(box, tmp_path):
    renamed = OWN["prompt"].replace("largest_gap", "gap_between")
    rows = [OWN, {**OWN, "task_id": "HumanEval/b", "already": True, "entry_point": "gap_between", "prompt": renamed}]
    questions = humaneval(tmp_path, rows)
    executions, prompts, policy = rollout(questions, rows, box)
    assert [execution.correct for execution in executions] == [1.0, 1.0]
    assert [execution.format for execution in executions] == [1.0, 1.0]
    assert [len(execution.segments) for execution in executions] == [4, 3]  # only the first needs its repairer
    assert sorted(policy.outputs) == ["False", "True"]
    assert all("([8, 1, 3])" in prompt for prompt in prompts), "examples of the question are for agents to see"
    assert not any("[77, 70]" in prompt for prompt in prompts), "hidden tests are not"


def test_programs_of_the_public_file_are_repaired(box, tmp_path):
    source = PUBLISHED / "humaneval" / "test.jsonl"
    if not source.exists():
        pytest.skip(f"{source} is not here")
    rows = [row for row in map(json.loads, source.read_text().splitlines()) if row["prompt"].count("\ndef ") == 1]
    rows = [row for row in rows if re.search(r">>> (\w+\(.*\))\n\s*(True|False|-?\d+|\[[\d, ]*\])\n", row["prompt"])][
        :6
    ]
    executions, prompts, policy = rollout(humaneval(tmp_path, rows), rows, box)
    assert len(rows) == 6 and [execution.correct for execution in executions] == [1.0] * 6
    assert policy.outputs == ["False"] * 6
    assert not any("def check(" in prompt for prompt in prompts)
