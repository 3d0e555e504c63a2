"""The library as it is documented: names, order and defaults of parameters, by position and by keyword."""

import ast

import pytest
from scripts import HEAD, cpython, drive, machine

PREPARE = (
    HEAD
    + """
import dataclasses
tools, agent, other = ToolRegistry(), AgentNode("X", "x"), AgentNode("Y", "y")
def route(context):
    return "k"
def add(a, b):
    return a + b
"""
)
VALUES = {
    "name": "'N'", "system_prompt": "'S'", "tool_registry": "tools", "max_turns": "2", "max_iterations": "3",
    "enable_conversation_logging": "False", "max_steps": "4", "agents": "[agent]", "strategy": "'consensus'",
    "consensus_agent": "other", "weights": "[2]", "agent": "agent", "num_iterations": "5",
    "reflection_prompt": "'{response}'", "critic_agent": "other", "refinement_prompt": "'{reflection}'",
    "include_history": "True", "debaters": "[agent]", "judge": "other", "num_rounds": "6", "routes": "{'k': agent}",
    "routing_func": "route", "default_route": "'k'", "content": "'C'", "message_type": "MessageType.ERROR",
    "metadata": "{'m': 1}", "sender": "'from'", "recipient": "'to'",
}  # fmt: skip
CLASSES = [
    "Workflow(name='workflow')",
    "LoopWorkflow(max_iterations=10)",
    "AgentGraph(name, max_steps=50)",
    "WorkflowNode(name)",
    "Message(content, message_type, metadata={}, sender=None, recipient=None)",
    "AgentNode(name, system_prompt, tool_registry=None, max_turns=10, enable_conversation_logging=True)",
    "EnsembleNode(name, agents, strategy, consensus_agent=None, weights=None)",
    "ReflectionNode(name, agent, num_iterations=2, reflection_prompt=None, critic_agent=None, refinement_prompt=None, "
    "include_history=False)",
    "DebateNode(name, debaters, judge=None, num_rounds=2)",
    "RouterNode(name, routes, routing_func, default_route='default')",
]


def parameters(signature):
    """Name and default (None without one) of each parameter of a call such as "f(a, b=1)"."""
    call = ast.parse(signature, mode="eval").body
    return [(item.id, None) for item in call.args] + [(k.arg, ast.unparse(k.value)) for k in call.keywords]


@pytest.mark.parametrize("signature", CLASSES, ids=lambda text: text.partition("(")[0])
def test_a_class_takes_the_documented_parameters_in_their_order(signature):
    name, expected = signature.partition("(")[0], parameters(signature)
    needed = {key: VALUES[key] for key, default in expected if default is None}
    if name == "EnsembleNode":  # its strategy would need a judge
        needed["strategy"] = "'majority_vote'"
    given = {key: VALUES[key] for key, _ in expected}
    calls = [
        (f"{name}({', '.join(given.values())})", given),
        (f"{name}({', '.join(f'{key}={value}' for key, value in reversed(given.items()))})", given),
        (f"{name}({', '.join(needed.values())})", {key: needed.get(key, default) for key, default in expected}),
    ]
    for call, values in calls:
        fields = "".join(f"print('{key}', made.{key} == {value})\n" for key, value in values.items())
        shown = machine(f"{PREPARE}made = {call}\n{fields}")
        assert shown.startswith("".join(f"{key} True\n" for key in values)), (call, shown)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("LoopWorkflow(2)", ("loop_workflow", 2)),
        ("LoopWorkflow(2, name='w')", ("w", 2)),
        ("LoopWorkflow('w', 2)", ("w", 2)),
        ("LoopWorkflow('w', max_iterations=2)", ("w", 2)),
        ("LoopWorkflow('w')", ("w", 10)),
    ],
)
def test_a_loop_takes_its_limit_first_and_a_name_too(call, expected):
    assert machine(f"{PREPARE}w = {call}\nprint((w.name, w.max_iterations))").startswith(f"{expected}\n")


METHODS = {  # object: calls by position, each beside the same by keyword, and what it gives
    "Context()": [
        ("x.add_message(agent)", "x.add_message(message=agent)", "None"),
        ("x.set_state('k', 1)", "x.set_state(key='k', value=1)", "None"),
        ("x.get_state('z')", "x.get_state(key='z')", "None"),
        ("x.get_state('z', 3)", "x.get_state(key='z', default=3)", "3"),
        ("x.get_latest_message()", "x.get_latest_message(type=None)", "None"),
        ("x.get_latest_message('error')", "x.get_latest_message(type=MessageType.ERROR)", "None"),
        ("x.get_latest_message('error')", "x.get_latest_message(message_type=MessageType.ERROR)", "None"),
        ("x.get_messages_by_type('error')", "x.get_messages_by_type(type='error')", "[]"),
        ("(x.messages, x.state, x.metadata)", "(x.messages, x.state, x.metadata)", "([], {}, {})"),
    ],
    "ToolRegistry()": [
        (
            "(x.register('t', add, 'adds', {'p': 1}), x.get_tool_schemas())",
            "(x.register(name='t', func=add, description='adds', parameters={'p': 1}), x.get_tool_schemas())",
            "(None, [{'type': 'function', 'function': {'name': 't', 'description': 'adds', 'parameters': {'p': 1}}}])",
        ),
        (
            "(x.register('t', add, '', {}), x.get_tool('t')['func'] is add, x.list_tools())",
            "(x.register('t', add, '', {}), x.get_tool(name='t')['func'] is add, x.list_tools())",
            "(None, True, ['t'])",
        ),
        (
            "(x.register('t', add, '', {}), x.call_tool('t', a=1, b=2))",
            "(x.register('t', add, '', {}), x.call_tool(name='t', a=1, b=2))",
            "(None, 3)",
        ),
    ],
    "Workflow('w')": [
        ("x.add_node(agent).add_nodes([agent, other]) is x", "x.add_node(node=agent).add_nodes(nodes=[]) is x", "True"),
        ("x.run('hi').content", "x.run(input_message='hi').content", "hi"),
        (
            "(x.run('hi', {'k': 1}).content, x.context.state)",
            "(x.run(input_message='hi', initial_state={'k': 1}).content, x.context.state)",
            "('hi', {'k': 1})",
        ),
    ],
    "ConditionalWorkflow('w')": [
        ("x.add_node(agent, route) is x", "x.add_node(node=agent, condition=route) is x", "True"),
    ],
    "LoopWorkflow(2)": [("x.set_loop_condition(route) is x", "x.set_loop_condition(condition=route) is x", "True")],
    "AgentGraph('g')": [
        (
            "x.add_node('a', agent).add_edge('a', 'b', route).add_conditional_edges('a', route, {}) is x",
            "x.add_node(name='a', node=agent).add_edge(src='a', dst='b', condition=route)"
            ".add_conditional_edges(src='a', routing_func=route, mapping={}) is x",
            "True",
        ),
        (
            "x.add_node('a', agent).set_entry_point('a').set_finish_point('a') is x",
            "x.add_node('a', agent).set_entry_point(name='a').set_finish_point(name='a') is x",
            "True",
        ),
        ("create_simple_chain(('a', agent), ('b', other)).name", "create_simple_chain().name", "simple_chain"),
    ],
    "{'k': agent}": [
        (
            "create_keyword_router('R', x, other, True).name",
            "create_keyword_router(name='R', keyword_routes=x, default_node=other, case_sensitive=True).name",
            "R",
        ),
    ],
    "Message('C', MessageType.ERROR)": [
        ("Message.from_dict(x.to_dict()) == x", "Message.from_dict(data=x.to_dict()) == x", "True"),
        ("x.from_dict(x.to_dict()) == x", "Message.from_dict({'content': 'C'}).content == 'C'", "True"),
    ],
}


@pytest.mark.parametrize(("made", "calls"), METHODS.items(), ids=[key.partition("(")[0] for key in METHODS])
def test_methods_take_the_documented_parameters(made, calls):
    for by_position, by_keyword, expected in calls:
        for call in (by_position, by_keyword):
            shown = machine(f"{PREPARE}x = {made}\nprint({call})")
            assert shown.startswith(expected + "\n"), (call, shown)


def test_a_subclass_of_message_is_rebuilt_as_itself():
    source = f"{PREPARE}class Own(Message):\n    pass\nx = Own('C', MessageType.ERROR)\n"
    assert machine(f"{source}y = Own.from_dict(x.to_dict())\nprint(type(y).__name__, y == x)") == "Own True\n"


def test_arguments_of_a_tool_are_not_dropped():
    call = "tools.register('add', add)\nprint(tools.call_tool('add', {'a': 1}, b=2))\ntools.call_tool('add', 'a')"
    assert machine(PREPARE + call) == (
        "3\nTypeError: call_tool() takes the arguments of a tool by name, or all of them as one dict\n"
    )


DATACLASS = """
import dataclasses, enum
class MessageType(enum.Enum):
    USER_INPUT = "user_input"
    ERROR = "error"
@dataclasses.dataclass
class Message:
    content: object
    message_type: MessageType
    metadata: dict = dataclasses.field(default_factory=dict)
    sender: str = None
    recipient: str = None
"""
USES = """
a = Message("x", MessageType("error"), {"k": [1]})
print(a == Message("x", MessageType.ERROR, {"k": [1]}), a == Message("y", MessageType.ERROR), a != a, a == "x")
b = dataclasses.replace(a, content="z", sender="s")
print(b.content, b.sender, b.metadata is a.metadata, a.content, b in [a, b], [a].index(a))
print([f.name for f in dataclasses.fields(a)], dataclasses.is_dataclass(a), dataclasses.astuple(a)[2:])
print(MessageType("user_input") is MessageType.USER_INPUT, MessageType(MessageType.ERROR).name)
print(isinstance(a.message_type, MessageType), isinstance("error", MessageType), isinstance(a, MessageType))
for fails in (lambda: MessageType("nope"), lambda: {a: 1}):
    try:
        fails()
    except (ValueError, TypeError) as error:
        print(type(error).__name__)
@dataclasses.dataclass
class Scored(Message):
    score: int = 0
s = Scored("c", MessageType.ERROR, score=2)
print(s.score, s.metadata, s.sender, s == Scored("c", MessageType.ERROR, score=2), s == Message("c", MessageType.ERROR))
match a:
    case Message("x", kind):
        print(kind.name)
"""


def test_a_message_is_a_dataclass_and_its_type_an_enum():
    assert machine(f"{PREPARE}{USES}Workflow().run(question)") == cpython(DATACLASS + USES)


def test_what_a_script_knows_of_itself():
    source = (
        '"""Adds."""\n'
        "import os, sys\n"
        "sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\n"
        "sys.path.append(os.path.join(os.path.dirname(os.path.dirname(__file__)), 'lib'))\n"
        "print(__name__, __doc__, type(__file__).__name__)\n"
        "from workflow import Workflow\n"
        "Workflow().run(question)"
    )
    assert machine(source) == "__main__ Adds. str\n"
    assert machine("from workflow import *\nprint(__doc__)\nWorkflow().run(question)") == "None\n"


@pytest.mark.parametrize(
    "module", ["workflow", "workflow.core", "workflow.nodes", "workflow.workflow", "workflow.graph"]
)
@pytest.mark.parametrize("form", ["from {} import *", "from {} import Workflow, AgentNode", "import {}"])
def test_every_module_of_the_library_has_every_name(module, form):
    prefix = f"{module}." if form == "import {}" else ""
    source = f"{form.format(module)}\n{prefix}Workflow().add_node({prefix}AgentNode('A', 'x')).run(question)"
    run, _ = drive(source, lambda call: "r")
    assert (run.result.status, run.result.content) == ("ok", "r")


@pytest.mark.parametrize(
    "line",
    [
        "from utils.environments.math_env import MathEnvironment, python_execute",
        "from utils.environments.code_env import CodeEnvironment, python_execute",
        "import utils.environments.code_env",
    ],
)
def test_the_modules_of_the_environments_can_be_imported(line):
    assert machine(f"{line}\nprint('imported')") == "imported\n"


@pytest.mark.parametrize(
    "made", ["Workflow('w')", "AgentGraph('g')", "ToolRegistry()", "MathEnvironment()", "CodeEnvironment()"]
)
def test_handles_are_managed_by_with(made):
    source = (
        f"{PREPARE}x = {made}\nwith x as y:\n    print(x is y)\n"
        "try:\n    with x:\n        1 / 0\nexcept ZeroDivisionError:\n    print('not held back')\n"
    )
    assert machine(source) == "True\nnot held back\n"
