"""An error of the interpreter itself ends the run as "internal"; no script sees it, and what holds what is declared."""

import importlib
import itertools
import logging
import pkgutil
import types

import pytest
from test_fuzz import CORPUS, FLOWS

from mxjax import mas, script
from mxjax.mas import library
from mxjax.mas.execution import INTERNAL
from mxjax.mas.prompts import Prompts
from mxjax.mas.records import AgentCall, Reply, Tool, ToolCall
from mxjax.script.exceptions import InternalError, may_raise
from mxjax.script.library import BUILTINS
from mxjax.script.machine import Machine
from mxjax.script.measure import live_bytes, weighing

CATCHING = "try:\n  {call}\nexcept BaseException as error:\n  print('caught', error)\nfinally:\n  print('finally')\n"
WAYS = {
    "called": "len([1])",
    "in a generator of the script": "list(len([x]) for x in [1])",
    "in map": "list(map(len, [[1]]))",
    "in a key function": "sorted([[2], [1]], key=len)",
    "in a method": "type('C', (), {'__repr__': lambda self: str(len([]))})().__repr__()",
    "in a node": (
        "from workflow import Context, WorkflowNode\n"
        "  class N(WorkflowNode):\n"
        "    def process(self, context): return len([])\n"
        "  N('n')(Context())"
    ),
}


def run(script):
    checked = mas.check(script)
    return mas.start(checked, "q")


def missing_attribute(m, value):
    return m.no_such_attribute


def wrong_type(m, value):
    return 1 + "a"


def wrong_key(m, value):
    return {}[value[0] if value else 0]


def failed_assertion(m, value):
    assert value is None


def endless(m, value):
    return endless(m, value)


def exhausted(m, value):
    return next(iter(()))


def later(m, value):
    yield from ()
    return [][0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "broken",
    [missing_attribute, wrong_type, wrong_key, failed_assertion, endless, exhausted, later],
    ids=lambda broken: broken.__name__,
)
def test_a_fault_of_the_interpreter_is_caught_by_no_script(broken, way, monkeypatch):
    monkeypatch.setattr(BUILTINS["len"], "fn", broken)
    made = run(CATCHING.format(call=WAYS[way]))
    assert made.result.status == "error" and made.result.reason.startswith(INTERNAL)
    assert made.printed == ""


def test_a_fault_is_logged_once_with_its_traceback_and_script(monkeypatch, caplog):
    monkeypatch.setattr(BUILTINS["len"], "fn", lambda m, value: value.nothing_like_this)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert "nothing_like_this" in run("len([1, 2, 3])").result.reason
    (record,) = [record for record in caplog.records if "internal error" in record.message]
    assert "len([1, 2, 3])" in record.message and record.exc_info[0] is AttributeError


def test_only_declared_errors_of_the_host_are_a_scripts(monkeypatch):
    declared = may_raise(ZeroDivisionError)(lambda m, value: 1 // 0 if value else [][0])
    monkeypatch.setattr(BUILTINS["len"], "fn", declared)
    assert run("try:\n  len([1])\nexcept ZeroDivisionError as error: print(error)").printed != ""
    assert run("try:\n  len([])\nexcept IndexError as error: print(error)").result.reason.startswith(INTERNAL)


def test_errors_that_our_code_raises_are_a_scripts():
    made = run("try:\n  len(3)\nexcept TypeError as error: print(error)")
    assert made.printed == "object of type 'int' has no len()\n"


def modules(package):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".lib." not in found.name:
            yield importlib.import_module(found.name)


# Types whose objects are gone before a script runs
COMPILING = {"compiler", "expressions", "lexer", "patterns", "regex", "scopes", "source", "unit"}
KINDS = {
    kind
    for package in (script, library)
    for module in modules(package)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__ and not issubclass(kind, BaseException)
    if module.__name__.rpartition(".")[2] not in COMPILING or "holds" in vars(kind)
}
RECORDS = {AgentCall, ToolCall, Reply, Tool, mas.Limits, Prompts}  # of the harness, which generators of ours refer to


ALL = sorted(KINDS | RECORDS, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_type_says_what_it_holds(kind):
    slots = {name for base in kind.__mro__ for name in getattr(base, "__slots__", ())}
    assert set(kind.holds) <= slots
    value, text = kind.__new__(kind), "a" * 1000
    for name in slots:
        object.__setattr__(value, name, text if name in kind.holds else 1)
    stack = []
    assert weighing(kind)(value, stack) > 0
    assert stack.count(text) == len(kind.holds)


@pytest.mark.parametrize("index", range(len(CORPUS + FLOWS)))
def test_memory_can_be_measured_at_any_moment(index, monkeypatch):
    source = (CORPUS + FLOWS)[index]
    allocate, counts = Machine.allocate, itertools.count()

    def measured(machine, size):
        allocate(machine, size)
        if next(counts) % 7 == 0 and machine.meter.fuel < 20_000:
            live_bytes(machine)

    monkeypatch.setattr(Machine, "allocate", measured)
    try:
        checked = mas.check(source, mas.Limits(fuel=20_000))
    except mas.DesignError:
        return
    made = mas.start(checked, "q", tools={"python_execute": mas.Tool()})
    for _ in range(50):
        if made.result is None:
            made.advance({call.id: "VERDICT: CORRECT" for call in made.pending})
    assert INTERNAL not in getattr(made.result, "reason", "")


def test_a_type_that_does_not_say_what_it_holds_is_a_fault():
    with pytest.raises(InternalError, match="Silent does not say what it holds"):
        weighing(type("Silent", (), {"__slots__": ("value",)}))


@pytest.mark.parametrize(
    "script",
    [
        "def g():\n  x = BIG()\n  yield\nkept = g(); next(kept)",
        "def f(x=BIG()): pass\nkept = f",
        "import functools\nkept = functools.partial(print, BIG())",
        "class C:\n  def m(self): pass\nc = C(); c.x = BIG(); kept = c.m",
        "class C:\n  x = BIG()\nkept = C",
        "kept = iter([BIG()])",
        "kept = enumerate([BIG()])",
        "kept = zip([BIG()], [1])",
        "kept = map(lambda x: x, [BIG()])",
        "kept = reversed([BIG()])",
        "import itertools\nkept = itertools.chain([BIG()], [1])",
        "import itertools\nkept = itertools.cycle([BIG()]); next(kept)",
        "kept = {1: BIG()}.items()",
        "kept = {BIG(): 1}.keys()",
        "from collections import deque, defaultdict, Counter\nkept = [deque([BIG()]), defaultdict(list, a=1)]",
        "kept = ValueError(BIG())",
        "kept = slice(BIG())",
        "import re\nkept = re.search('b', BIG() + 'b')",
        "import contextlib\nkept = contextlib.nullcontext(BIG())",
        "import functools\n@functools.cache\ndef f(x): return x\nf(BIG()); kept = f",
        "import functools\nkept = functools.cmp_to_key(lambda a, b: 0)(BIG())",
        "import dataclasses\nkept = dataclasses.field(default=BIG())",
        "import types\nkept = types.SimpleNamespace(a=BIG())",
        "kept = property(BIG())",
        "kept = lambda x=BIG(): x",
        "from workflow import Message\nkept = Message(BIG())",
        "import asyncio\nasync def f(x):\n  pass\nkept = f(BIG())",
    ],
)
def test_what_a_script_keeps_is_counted_wherever_it_keeps_it(script):
    """Four pieces of half a megabyte each fit into the limit, nine do not."""
    body = "BIG = lambda: 'a' * 499999 + str(len(all))\nall = []\n"
    script = script.replace("\n", "\n  ")
    for rounds, status in ((4, "error"), (200, "limit")):
        made = mas.start(mas.check(f"{body}for i in range({rounds}):\n  {script}\n  all.append(kept)\n"), "q",
                         limits=mas.Limits(live_bytes=4_000_000))  # fmt: skip
        assert made.result.status == status, made.result
        assert made.result.reason in ("live_bytes", "the script ended without running a workflow"), made.result


def test_functions_of_ours_are_found_by_the_host_types_that_scripts_reach():
    assert weighing(types.FunctionType)(lambda: KINDS, stack := []) == 0 and stack == []


HALF = """from workflow import *
class Half(AgentGraph):
    def __init__(self): pass
class Message2(Message):
    def __init__(self): pass
"""


@pytest.mark.parametrize(
    "script",
    [
        "Half().add_node('a', AgentNode('a', 'b'))",
        "Half().add_edge('a', 'b')",
        "Half().add_conditional_edges('a', len)",
        "Half().set_entry_point('a')",
        "g = AgentGraph('g'); g.nodes = 3; g.add_node('a', AgentNode('a', 'b'))",
        "g = AgentGraph('g'); g.finish = 3; g.add_node('a', AgentNode('a', 'b')); g.set_finish_point('a')",
        "g = AgentGraph('g'); g.edges['a'] = 3; g.add_node('a', AgentNode('a', 'b')); g.add_edge('a', 'a')",
        "g = AgentGraph('g'); g.edges['a'] = [3]; g.add_node('a', AgentNode('a', 'b')); g.add_edge('a', 'a')",
        "AgentGraph.add_node(3, 'a', AgentNode('a', 'b'))",
        "Message.to_dict(3)",
        "Message2().to_dict()",
        "Context.add_message(AgentGraph('g'), Message('x'))",
        "class C(AgentNode, metaclass=AgentNode): pass",
        "from collections import namedtuple; namedtuple('P', 'x')._asdict(3)",
        "from functools import cmp_to_key; cmp_to_key(len)(1) < 3",
        "import enum; enum.Flag('A', 'B').__or__(3, 4)",
        "import itertools; list(itertools.islice(itertools.count('a'), 3))",
        "from collections import deque; deque([1], 'a')",
        "'%*d' % ('a', 3)",
        "import string; t = string.Template('$a'); t.template = 3; t.substitute(a=1)",
    ],
)
def test_misuse_of_objects_of_ours_is_an_error_of_the_script(script):
    body = "\n    ".join(script.split("; "))
    made = run(f"{HALF}try:\n    {body}\nexcept Exception as error:\n    print('caught')\n")
    assert INTERNAL not in made.result.reason
    assert made.printed == "caught\n"
