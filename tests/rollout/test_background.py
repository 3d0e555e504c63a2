"""What workers do for a rollout: tools that run beside the engines, grading, votes on public examples."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rollout.scripted import ScriptedEngine

from mxjax import mas
from mxjax.rewards import make_reward, program_tool
from mxjax.rollout import Question, Reward, Role, collect
from mxjax.sampling import SamplingParams
from mxjax.sandbox.tool import python_tool

GOOD = "<delivery>adds up</delivery>\nFINAL ANSWER: \\boxed{16}"
SUMS = [Question("a", "12 + 7 - 3", gold="16"), Question("b", "10 + 6", gold="16")]
AGENT_WITH_TOOL = """
from workflow import *
tools = ToolRegistry()
tools.register("python_execute", None, "Run", {})
w = Workflow()
w.add_node(EnsembleNode("E", [AgentNode(n, "Solve.", tools, max_turns=2) for n in "ABC"], "majority_vote"))
w.run(question)
"""


def ask_python(prompt, request):
    """Code in the first two turns of an agent, then the answer."""
    if prompt.count("```python") < 2:
        return f"```python\nprint({request.sampling.seed % 7})\n```"
    return GOOD


def shape(trees):
    """Everything of the trees that must not depend on when replies come."""
    return [
        (e.reward, e.status, e.reason, e.result, [(s.call_id, s.prompt_token_ids.tolist(), s.token_ids.tolist(),
                                                   s.sampling.seed) for s in e.segments])
        for tree in trees for design in tree.designs for e in design.executions
    ]  # fmt: skip


def rollout(tool, **options):
    engine = ScriptedEngine(ask_python, shuffle=options.pop("shuffle", None))
    role = {"executor": Role(engine, SamplingParams(max_tokens=100))}
    trees = collect(
        SUMS, role, make_reward(), {"python_execute": tool}, scripts=[AGENT_WITH_TOOL], executions=3, **options
    )
    return trees, engine


def slow_tool(pool, seed):
    """A tool that takes now this long and now that, and counts how many calls of it run at once."""
    rng, lock = random.Random(seed), threading.Lock()
    counts = {"now": 0, "most": 0}

    def execute(code):
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts.values())
            seconds = rng.random() / 50
        time.sleep(seconds)
        with lock:
            counts["now"] -= 1
        return f"ran {code}"

    return mas.Tool(execute, submit=pool.submit), counts


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.mark.parametrize("deterministic", [False, True])
def test_tools_in_workers_give_the_trees_of_tools_in_place(pool, deterministic):
    expected, _ = rollout(mas.Tool(lambda code: f"ran {code}"))
    assert expected[0].rewards_MN.tolist() == [[1.4, 1.4, 1.4]]
    for seed in (1, 2):
        tool, counts = slow_tool(pool, seed)
        trees, _ = rollout(tool, deterministic=deterministic, shuffle=seed)
        assert shape(trees) == shape(expected)
        assert counts["most"] > 1, "tools run side by side"


@pytest.mark.parametrize("prefix_cache", ["prompts", "all"])
def test_the_engine_is_asked_in_one_order_where_that_matters_or_is_asked_for(pool, monkeypatch, prefix_cache):
    """It matters to an engine that reuses the pages of responses, whose outputs so depend on what came before."""
    monkeypatch.setattr(ScriptedEngine, "prefix_cache", prefix_cache)
    orders = []
    for seed in (1, 2, 3):
        _, engine = rollout(slow_tool(pool, seed)[0], deterministic=prefix_cache == "prompts")
        orders.append([request.sampling.seed for request in engine.requests])
    assert orders[0] == orders[1] == orders[2]
    if prefix_cache == "all":
        with pytest.raises(ValueError, match="prefix_cache='prompts'"):
            rollout(slow_tool(pool, 1)[0], deterministic=True)


def test_an_engine_goes_on_while_a_tool_is_slow(pool):
    """The tool of one conversation returns only when every other one is over."""
    others_done = threading.Event()
    answers = []

    def reply(prompt, request):
        if "wait here" in prompt and "```python\nwait" not in prompt:
            return "```python\nwait\n```"
        answers.append("wait here" in prompt)
        if answers.count(False) == 3:
            others_done.set()
        return GOOD

    def execute(code):
        assert others_done.wait(30), "the rollout stood still"
        return "ran"

    questions = [Question("slow", "wait here", gold="16")] + [Question(f"q{i}", f"8 + {i}", gold="16") for i in "678"]
    script = AGENT_WITH_TOOL.replace('for n in "ABC"', 'for n in "A"')
    trees = collect(
        questions, {"executor": Role(ScriptedEngine(reply))}, make_reward(),
        {"python_execute": mas.Tool(execute, submit=pool.submit)}, scripts=[script], executions=1,
    )  # fmt: skip
    assert answers == [False, False, False, True]
    assert [tree.rewards_MN[0, 0] for tree in trees] == [1.4] * 4


class EndsEarly:
    """A script that has two tools at work, and ends with the reply of the quick one."""

    result = None
    pending = tuple(mas.ToolCall(name, "python_execute", {"code": name}, name) for name in ("slow", "quick"))
    answered = ()

    def advance(self, replies):
        if "quick" in replies:
            self.result = mas.Result("ok", GOOD, "", 0, 0, None, None)
        return ()


def test_a_session_is_closed_when_no_worker_is_in_it(pool, monkeypatch):
    seen, ended = [], threading.Event()

    class Session:
        def run(self, code):
            self.code = code
            assert code == "quick" or ended.wait(30), "the script waited for its tool"
            seen.append(f"{code} done")
            return "ran"

        def close(self):
            seen.append(f"{self.code} closed")

    def reward(question, result, segments):
        seen.append("graded")
        ended.set()
        return Reward(1.0)

    monkeypatch.setattr(mas, "start", lambda *given, **options: EndsEarly())
    tool = mas.Tool(lambda code: "", open=Session, submit=pool.submit)
    role = {"executor": Role(ScriptedEngine(ask_python))}
    (tree,) = collect(SUMS[:1], role, reward, {"python_execute": tool}, scripts=[AGENT_WITH_TOOL], executions=1)
    assert tree.designs[0].executions[0].correct == 1.0
    assert seen == ["quick done", "graded", "slow done", "slow closed", "quick closed"]


def test_an_error_of_a_grader_in_a_worker_loses_its_execution_only(box):
    reward = make_reward(sandbox=box)
    question = Question("c", "Add.", "code", tests=[])
    engine = ScriptedEngine(lambda prompt, request: "<solution>\nprint(1)\n</solution>")
    script = "from workflow import *\nWorkflow().add_node(AgentNode('A', 'x')).run(question)"
    (tree,) = collect([question], {"executor": Role(engine)}, reward, scripts=[script], executions=2)
    reasons = {execution.reason for execution in tree.designs[0].executions}
    assert not tree.valid_MN.any() and len(reasons) == 1
    assert reasons.pop().startswith("grading_fault: ValueError: A code question without tests")


# Votes on public examples

VOTE = """
from workflow import *
tools = ToolRegistry()
tools.register("run_program", None, "Run", {})
w = Workflow()
w.add_node(EnsembleNode("E", [AgentNode(n, n, tools) for n in "ABCD"], "majority_vote"))
w.run(question)
"""
ADD = [  # the second and the third do the same, in other words; the first two are wrong where no example looks
    "a, b = map(int, input().split())\nprint(a * b)",
    "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    "x = input().split()\nprint(int(x[0]) + int(x[1]))\n# done\n",
    "print(open('/nowhere').read())",
]
STDIN = [
    {"input": "2 3\n", "output": "5", "public": True},
    {"input": "4141 5151", "output": "9292"},
]
CALLS = [
    {"args": [2, 3], "expected": [5], "public": True},
    {"args": [4141, 5151], "expected": [9292]},
]
FUNCTIONS = [
    "def f(a, b):\n    return [a * b]",
    "def f(a, b):\n    return [a + b]",
    "def f(a, b):\n    return (sum([a, b]),)",
    "def f(a):\n    return 1",
]
CHECKS = [
    {"check": "assert f(2, 3)[0] == 5", "functions": ["f"], "public": True},
    {"check": "assert f(4141, 5151)[0] == 9292", "functions": ["f"]},
]


def vote(box, tests, programs, tools, gold=None):
    question = Question("add", "Add two numbers.", "code", gold, tests)
    seen = []

    def reply(prompt, request):
        seen.append(prompt)
        index = next(i for i, name in enumerate("ABCD") if f"{name}\n\n" in prompt)
        return f"<delivery>sum</delivery>\n<solution>\n{programs[index]}\n</solution>"

    (tree,) = collect(
        [question], {"executor": Role(ScriptedEngine(reply))}, make_reward(sandbox=box), tools,
        scripts=[VOTE], executions=2,
    )  # fmt: skip
    return tree, seen


@pytest.mark.parametrize(
    ("tests", "programs", "gold"), [(STDIN, ADD, None), (CALLS, FUNCTIONS, "f"), (CHECKS, FUNCTIONS, None)]
)
def test_an_ensemble_votes_by_what_programs_do(box, tests, programs, gold):
    tree, seen = vote(box, tests, programs, {"run_program": program_tool(box)}, gold)
    for execution in tree.designs[0].executions:
        assert programs[1] in execution.result.content and execution.correct == 1.0
    assert not any("4141" in prompt or "9292" in prompt or "run_program" in prompt for prompt in seen)


def test_an_ensemble_votes_by_text_without_the_tool_or_public_tests(box):
    hidden = [{**test, "public": False} for test in STDIN]
    for tests, tools in ((STDIN, {}), (hidden, {"run_program": program_tool(box)})):
        tree, _ = vote(box, tests, ADD, tools)
        assert ADD[0] in tree.designs[0].executions[0].result.content
        assert tree.rewards_MN[0, 0] == 0.4


def test_hidden_tests_are_no_examples():
    question = Question("q", "x", "code", "f", [*STDIN, *CALLS, *CHECKS])
    assert question.examples == (
        {"stdin": "2 3\n"},
        {"args": [2, 3], "entry_point": "f"},
        {"check": "assert f(2, 3)[0] == 5", "functions": ["f"]},
    )
    assert Question("q", "x").examples == ()


def test_public_examples_run_with_their_setup_and_tell_failures(box):
    tool = program_tool(box)
    assert tool.func("print(BASE + int(input()))", setup="BASE = 7", stdin="1") == mas.Reply("8")
    assert tool.func("print('a  ')\nprint()", stdin="") == mas.Reply("a\n")
    assert tool.func("f = lambda: {'b': {2, 1}, 'a': 1.0}", args=[], entry_point="f") == tool.func(
        "f = lambda: {'a': 1, 'b': {1, 2}}", args=[], entry_point="f"
    )
    assert tool.func("raise ValueError", stdin="").error == "runtime_error"
    assert tool.func("f = lambda: 1", check="assert f() == 2", functions=["f"]).error == "wrong_answer"
    long = [tool.func(f"print('x' * 10_000 + '{end}')", stdin="") for end in "aab"]
    assert long[0] == long[1] != long[2] and len(long[0].text) < 3000


def test_python_in_a_conversation_runs_in_the_sandboxs_workers(box):
    tool = python_tool(box)
    trees, _ = rollout(tool)
    in_place, _ = rollout(mas.Tool(tool.func))
    assert shape(trees) == shape(in_place) and trees[0].rewards_MN.tolist() == [[1.4] * 3]
