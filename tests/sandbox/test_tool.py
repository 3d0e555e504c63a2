"""The Python tool inside running designs: output, errors as text, state by conversation, a lost machine."""

import contextlib
import types

import pytest
from rollout.scripted import ScriptedEngine
from support import sandbox

from mxjax import mas
from mxjax.rewards import make_reward
from mxjax.rollout import Question, Role, collect
from mxjax.sandbox import Sandbox, SandboxLimits, SandboxUnavailable, tool
from mxjax.sandbox.outcome import InfrastructureError
from mxjax.sandbox.tool import MAX_CHARS, python_tool

DESIGN = """
from workflow import Workflow, AgentNode, ToolRegistry
tools = ToolRegistry()
tools.register("python_execute", None, "Run", {})
w = Workflow()
w.add_node(AgentNode("solver", "Solve.", tools))
w.run(question)
"""
ANSWER = "<delivery>ran it</delivery>\nFINAL ANSWER: \\boxed{%s}"


@pytest.fixture(scope="module")
def box():
    with sandbox("auto") as made:
        yield made


def block(code):
    return f"```python\n{code}\n```"


def converse(tool, replies):
    """Runs the design with an agent that says `replies`; what it was told after each."""
    told, left = [], iter(replies)

    def chat(messages):
        told.append(messages[-1]["content"])
        return next(left)

    result = mas.run(DESIGN, "What is 2 ** 10?", chat, tools={"python_execute": tool})
    return result, told[1:]


@pytest.mark.parametrize("stateful", [False, True])
def test_an_agent_runs_python_and_answers_with_what_it_printed(box, stateful):
    result, told = converse(python_tool(box, stateful=stateful), [block("print(2 ** 10)"), ANSWER % 1024])
    assert result.status == "ok" and "1024" in told[0] and result.content.endswith("{1024}")


@pytest.mark.parametrize(("stateful", "expected"), [(False, "NameError"), (True, "8")])
def test_variables_stay_only_in_a_stateful_tool(box, stateful, expected):
    _, told = converse(python_tool(box, stateful=stateful), [block("x = 7"), block("x + 1"), ANSWER % 8])
    assert "(no output)" in told[0] and expected in told[1]


def test_who_has_level_c_alone_is_told_that_the_tool_needs_more(monkeypatch):
    monkeypatch.setattr(Sandbox, "_fault", lambda self, level: "" if level == "C" else "absent")
    with Sandbox() as box:
        assert "no Python tool" in box.advice
        with pytest.raises(SandboxUnavailable, match="needs level A or B; "):
            python_tool(box)


@pytest.mark.parametrize(("level", "found"), [("B", True), ("C", False), (None, False)])
def test_whether_agents_can_have_python_here(level, found, monkeypatch, caplog):
    def made():
        if level is None:
            raise SandboxUnavailable("no level")
        return contextlib.nullcontext(types.SimpleNamespace(level=level, call=None))

    monkeypatch.setattr(tool, "Sandbox", made)
    assert tool.has_python.__wrapped__() == found
    assert ("agents have no Python here: " in caplog.text) != found


def test_conversations_do_not_share_variables(box):
    tool = python_tool(box, stateful=True)
    one, other = tool.open(), tool.open()
    one.run("x = 1")
    assert "NameError" in other.run("x") and one.run("x") == "1"
    one.close(), other.close()


def test_errors_limits_and_long_output_are_text(box):
    tool = python_tool(box, SandboxLimits(cpu_s=0.5, wall_s=2))
    assert "ZeroDivisionError" in tool.func("1 / 0") and "SyntaxError" in tool.func("def (")
    assert "out of time" in tool.func("while True: pass")
    assert tool.func(7) == "The code must be text."
    long = tool.func("print('a' * 9000 + 'z')")
    assert len(long) < MAX_CHARS + 100 and long.startswith("aaa") and long.endswith("z") and "left out" in long
    assert tool.func("import numpy as np, sympy\nnp.arange(3).sum() + sympy.Integer(4)") == "7"


def test_in_a_rollout_and_a_lost_machine_makes_the_execution_void(box):
    def reply(prompt, request):
        return ANSWER % 1024 if "1024" in prompt else block("print(2 ** 10)")

    role = {"executor": Role(ScriptedEngine(reply))}
    question = Question("q", "What is 2 to the tenth?", gold="1024")
    tools = {"python_execute": python_tool(box, stateful=True)}
    (tree,) = collect([question], role, make_reward(), tools=tools, scripts=[DESIGN], executions=2)
    assert tree.rewards_MN.tolist() == [[1.4, 1.4]]

    def lost(code):
        raise InfrastructureError("gone")

    tools = {"python_execute": mas.Tool(lost)}
    role = {"executor": Role(ScriptedEngine(reply))}
    replies = iter([block("print(1)"), ANSWER % 1024])
    role = {"executor": Role(ScriptedEngine(lambda prompt, request: next(replies)))}
    (tree,) = collect([question], role, make_reward(), tools=tools, scripts=[DESIGN], executions=1)
    assert not tree.valid_MN.any() and tree.rewards_MN.tolist() == [[0.0]]
