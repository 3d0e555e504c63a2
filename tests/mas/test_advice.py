"""The check: what fails in every run is an error, in some runs a warning; both say what to write instead."""

import time

import pytest
from scripts import HEAD, drive

from mxjax import mas
from mxjax.mas.advice import MOST_WARNINGS
from mxjax.script.library import BUILTINS

GRAPH = HEAD + "g = AgentGraph('g')\ng.add_node('solve', AgentNode('A', 'x'))\n"
ERRORS = {
    "misspelled": ("from workflow import AgentNode\nx = AgentNod('A', 'x')", "name", "write AgentNode", 2),
    "not_imported": ("import json\nx = AgentNode('A', 'x')", "name", "from workflow import AgentNode", 2),
    "module_not_imported": ("x = json.dumps(1)", "name", "import json", 1),
    "not_in_the_language": ("x = bytearray(3)", "name", "not available", 1),
    "never_defined": ("x = 1\nprint(zebra)", "name", "define it", 2),
    "too_many_arguments": (HEAD + "x = Message('a', 'b', {}, None, None, 5)", "argument", "metadata", 2),
    "wrong_argument": (HEAD + "x = Message(text='a')", "argument", "content", 2),
    "no_judge": (HEAD + "e = EnsembleNode('E', [AgentNode('A', 'x')], 'consensus')", "consensus", "consensus_agent", 2),
    "judge_is_none": (
        HEAD + "e = EnsembleNode('E', [AgentNode('A', 'x')], strategy='consensus', consensus_agent=None)",
        "consensus",
        "consensus_agent",
        2,
    ),
    "unknown_strategy": (HEAD + "e = EnsembleNode('E', [AgentNode('A')], 'best')", "argument", "majority_vote", 2),
    "no_members": (HEAD + "e = EnsembleNode('E', [])", "argument", "agents=", 2),
    "undefined_entry": (GRAPH + "g.set_entry_point('start')", "graph", "it has: solve", 4),
    "undefined_finish": (GRAPH + "g.set_entry_point('solve').set_finish_point('end')", "graph", "'end'", 4),
}
WARNINGS = {
    "name_in_a_branch": ("if question:\n    print(zebra)", "zebra"),
    "name_in_a_function": ("def f():\n    return zebra", "zebra"),
    "name_after_a_possible_end": ("import sys\nif question:\n    sys.exit()\nprint(zebra)", "zebra"),
    "name_in_a_short_circuit": ("x = question and zebra", "zebra"),
    "ignored_argument": (HEAD + "a = AgentNode('A', 'x', tols=5, sistem_prompt='y')", "write system_prompt"),
    "judge_missing_in_a_branch": (
        HEAD + "if question:\n    e = EnsembleNode('E', [AgentNode('A')], 'consensus')",
        "judge",
    ),
    "undefined_edge": (GRAPH + "g.add_edge('solve', 'review')", "'review'"),
    "many_rounds": (HEAD + "d = DebateNode('D', [AgentNode('A'), AgentNode('B')], num_rounds=50)", "100 calls"),
    "many_positional_rounds": (HEAD + "d = DebateNode('D', [AgentNode('A'), AgentNode('B')], None, 50)", "100 calls"),
    "many_reflections": (HEAD + "r = ReflectionNode('R', AgentNode('A'), num_iterations=100)", "201 calls"),
    "many_members": (HEAD + "e = EnsembleNode('E', [AgentNode(str(i)) for i in range(100)])", "100 calls"),
    "many_members_by_name": (
        HEAD + "N = 100\nx = [AgentNode(f'{i}') for i in range(N)]\ne = EnsembleNode('E', x)",
        "100 calls",
    ),
    "many_copies": (HEAD + "e = EnsembleNode('E', agents=[AgentNode('A')] * 100)", "100 calls"),
    "many_calls": (HEAD + "a = AgentNode('A')\nfor i in range(100):\n    x = a(Context())", "calls an agent 100 times"),
    "many_calls_within": (
        HEAD + "a = AgentNode('A')\nfor i in range(10):\n    for j in [1, 2, 3, 4, 5, 6, 7]:\n        x = a(Context())",
        "calls an agent 70 times",
    ),
    "undefined_edge_by_keyword": (GRAPH + "g.add_edge(src='solve', dst='review')", "'review'"),
    "name_in_a_default": ("def g():\n    def f(x=zebra):\n        zebra = 1", "zebra"),
    "name_in_an_iterable": ("def f():\n    return [zebra for zebra in zebra]", "zebra"),
    "many_runs": (HEAD + "w = Workflow()\nfor i in range(500):\n    w.run(question)", "500 times"),
    "no_run": ("from workflow import AgentNode\na = AgentNode('A', 'x')", "never calls run()"),
    "no_agent": ("x = 1", "makes no agent"),
}
FINE = {
    "all_defined": HEAD + "a = AgentNode('A', 'x', temperature=0.5, max_tokens=9)\n"
    "Workflow().add_node(a).run(question)",
    "later_global": HEAD + "def f():\n    return later\nlater = 1\nWorkflow().add_node(AgentNode('A', 'x')).run(f())",
    "reckoned_with": HEAD + "try:\n    text = task\nexcept NameError:\n    text = question\n"
    "Workflow().add_node(AgentNode('A', 'x')).run(text)",
    "own_class_of_that_name": HEAD + "class EnsembleNode(WorkflowNode):\n    def __init__(self, n):\n"
    "        self.n = n\ne = EnsembleNode(3)\nWorkflow().add_node(AgentNode('A', 'x')).run(question)",
    "computed_node_names": HEAD + "g = AgentGraph('g')\nfor n in ['a', 'b']:\n    g.add_node(n, AgentNode(n, 'x'))\n"
    "g.set_entry_point('a')\ng.run(question)",
    "nodes_by_keyword": HEAD + "g = AgentGraph('g')\ng.add_node(name='a', node=AgentNode('A', 'x'))\n"
    "g.add_node(node=AgentNode('B', 'x'), name='b')\ng.add_edge(src='a', dst='b')\ng.set_entry_point('a')\n"
    "g.run(question)",
    "nodes_from_a_function": HEAD + "def build(graph):\n    graph.add_node('a', AgentNode('A', 'x'))\n"
    "g = AgentGraph('g')\nbuild(g)\ng.set_entry_point('a')\ng.run(question)",
    "nodes_by_a_method_of_another_name": HEAD + "g = AgentGraph('g')\nadd = g.add_node\nadd('a', AgentNode('A', 'x'))\n"
    "g.set_entry_point('a')\ng.run(question)",
    "nodes_by_another_name": HEAD + "g = AgentGraph('g')\nh = g\nh.add_node('a', AgentNode('A', 'x'))\n"
    "g.set_entry_point('a')\ng.run(question)",
    "nodes_by_unpacking": HEAD + "g = AgentGraph('g')\nfor pair in [('a', AgentNode('A', 'x'))]:\n"
    "    g.add_node(*pair)\n"
    "g.set_entry_point('a')\ng.run(question)",
    "graph_of_an_argument": HEAD + "g = AgentGraph('g')\ndef f(g):\n    g.add_node('a', AgentNode('A', 'x'))\nf(g)\n"
    "g.set_entry_point('a')\ng.run(question)",
    "iterated_local": HEAD + "def f(votes):\n    return [v for v in votes]\n"
    "Workflow().add_node(AgentNode(str(f([1, 2])), 'x')).run(question)",
    "local_default": HEAD + "def f(n):\n    def g(k=n, *, m=n):\n        return k\n    h = lambda k=n: k\n"
    "    return g() + h()\n"
    "Workflow().add_node(AgentNode(str(f(1)), 'x')).run(question)",
    "local_decorator": HEAD + "def f():\n    def twice(g):\n        return lambda: g() * 2\n    @twice\n    def h():\n"
    "        return 'a'\n    class C(Exception):\n        pass\n    return h()\n"
    "Workflow().add_node(AgentNode(f(), 'x')).run(question)",
    "loop_that_is_left": HEAD + "a = AgentNode('A', 'x')\nfor i in range(100):\n    x = a(Context())\n    if i > 1:\n"
    "        break\nWorkflow().add_node(a).run(question)",
    "module_of_the_library": "import workflow as wf\nwf.Workflow().add_node(wf.AgentNode('A', 'x')).run(question)",
    "end_of_a_graph": GRAPH + "g.add_edge('solve', 'END')\ng.run(question)",
    "annotations": HEAD + "def f(x: 'Unknown', y: Missing = 1) -> Nothing:\n    z: Unheard = 1\n    return z\n"
    "Workflow().add_node(AgentNode('A', 'x')).run(question)",
    "comprehension_and_lambda": HEAD + "names = [n for n in 'ab']\nf = lambda k: k\n"
    "Workflow().add_nodes([AgentNode(f(n), 'x') for n in names]).run(question)",
    "walrus_and_with": HEAD + "if (n := 3) > 2:\n    m = n\nWorkflow().add_node(AgentNode(str(n), 'x')).run(question)",
    "star_arguments": HEAD + "o = {'strategy': 'consensus', 'consensus_agent': AgentNode('J')}\n"
    "e = EnsembleNode('E', [AgentNode('A')], **o)\n"
    "Workflow().add_node(e).run(question)",
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_fails_in_every_run_is_an_error(name):
    source, kind, hint, line = ERRORS[name]
    with pytest.raises(mas.DesignError) as caught:
        mas.check(source)
    assert (caught.value.kind, caught.value.line) == (kind, line) and caught.value.column >= 1
    assert hint in caught.value.reason


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_an_error_really_fails_and_where_it_is_caught_it_is_a_warning(name):
    source, kind, hint, _ = ERRORS[name]
    body = "".join("    " + line + "\n" for line in source.splitlines() if not line.startswith("from workflow"))
    head = "".join(line + "\n" for line in source.splitlines() if line.startswith("from workflow"))
    text = (
        f"{head}try:\n{body}    print('fine')\nexcept ValueError as e:\n    print('failed')\n"
        "except TypeError as e:\n    print('failed')\nexcept LookupError:\n    pass"
    )
    if kind == "name":
        with pytest.raises(mas.DesignError) as caught:  # by none of the handlers
            mas.check(text)
        assert caught.value.kind == "name" and hint in caught.value.reason
        checked = mas.check(text.replace("LookupError", "NameError"))
    else:
        checked = mas.check(text)
        assert any(hint in warning and "line" in warning for warning in checked.warnings)
    run = mas.start(checked, "q")
    assert "fine" not in run.printed


SEEN = {  # errors that only running shows; kind, hint, line
    "in_a_function": ("def f():\n    return zebra\nx = f()", "name", "define it", 2),
    "in_a_default": ("def f(x=zebra):\n    zebra = 1", "name", "define it", 1),
    "in_a_loop": (HEAD + "for n in 'ab':\n    EnsembleNode(n, [])", "argument", "agents=", 3),
    "before_its_definition": ("print(later)\nlater = 1", "name", "'later' is not defined", 1),
    "in_the_library": ("from workflow import Agent", "import", "write AgentNode", 1),
    "of_a_module": ("import workflow as w\nw.AgentNod('A')", "name", "write AgentNode", 2),
    "not_a_node": (HEAD + "EnsembleNode('E', [1])", "argument", "must hold nodes", 2),
    "computed_strategy": (HEAD + "s = 'be' + 'st'\nEnsembleNode('E', [AgentNode('A')], s)", "argument", "'best'", 3),
    "of_a_method": (HEAD + "w = Workflow()\nw.add_node()", "argument", "add_node(): missing", 3),
    "after_a_text_with_the_question": ("p = f'Solve {question}'\nprint(zebra)", "name", "define it", 2),
    "after_a_text_no_judge": (
        HEAD + "p = f'Solve {question}'\ne = EnsembleNode('E', [AgentNode('A', p)], strategy='consensus')",
        "consensus", "consensus_agent", 3,
    ),
    "after_a_text_wrong_argument": (HEAD + "p = f'{question}'\nx = Message(text=p)", "argument", "content", 3),
}  # fmt: skip
DEPENDS = {  # on the question, so that a run may go well that fails in the dry run
    "number": "x = int(question)",
    "word": "x = question.split()[3]",
    "name_in_a_branch": "if 'apples' not in question:\n    print(zebra)",
    "name_that_a_branch_defines": "if 'apples' in question:\n    x = 1\nprint(x)",
    "strategy": "s = {'apples': 'majority_vote'}.get(question, 'best')\nEnsembleNode('E', [AgentNode('A')], s)",
    "members": "EnsembleNode('E', [AgentNode('A') for w in question.split() if w == 'apples'])",
    "arguments": "Message(*question.split('p'), *'abcde'[len(question):])",
    "entry": "g = AgentGraph('g')\ng.add_node(question, AgentNode('A'))\ng.set_entry_point('apples')",
    "within_a_function": "def f(t):\n    if t != 'apples':\n        Message(text=t)\nf(question)",
    "random": "import random\nif random.random() < 2:\n    print(zebra)",
    "shuffled": "import random\nrandom.shuffle(l := [zebra for x in 'ab' if random.random() < 2])",
    "tools": "try:\n    MathEnvironment().execute('1')\nexcept RuntimeError:\n    print(zebra)",
    "other_error": "x = [][1]",
    "not_a_function": "try:\n    True()\nexcept TypeError:\n    None()",
    "odd_graph": "g = AgentGraph('g')\ng.edges = {'a': [(), 3], 'b': 4}\ng.routes = {1: 2}\ng.config = {3: 4}",
    "odd_owner": "try:\n    AgentGraph.set_entry_point('a', 'b')\nexcept TypeError:\n    pass\n{}[AgentGraph]",
    "odd_flow": "w = Workflow()\nw.nodes = 5\nw.config = 6\nw.run(question)",
    "large_numbers": "w = N = 9**5000\nDebateNode('D', [AgentNode('A')], num_rounds=N)\nfor i in range(N):\n  w.run()",
    "own_error": "raise TypeError('x')",
    "endless": "while True:\n    pass",
    "suspended": "AgentNode('A')(Context())\nprint(zebra)",
}


@pytest.mark.parametrize("name", SEEN)
def test_what_running_shows_to_fail_in_every_run_is_an_error(name):
    source, kind, hint, line = SEEN[name]
    with pytest.raises(mas.DesignError) as caught:
        mas.check(source)
    assert (caught.value.kind, caught.value.line) == (kind, line) and hint in caught.value.reason


@pytest.mark.parametrize("name", DEPENDS)
def test_what_may_go_well_in_some_run_is_no_error(name):
    assert mas.describe(mas.check(HEAD + DEPENDS[name]))


def test_the_dry_run_changes_no_run_and_logs_no_fault(caplog, monkeypatch):
    source = HEAD + "import random\nprint(random.random())\nWorkflow().add_node(AgentNode('A')).run(question)"
    printed = []
    for _ in range(2):
        run = mas.start(mas.check(source), "q", seed=3)
        mas.graph(run.checked)
        run.advance({call.id: "r" for call in run.pending})
        printed.append((run.printed, run.result))
    assert printed[0] == printed[1] and not printed[0][0].startswith("0.8444218515")  # of seed 0
    monkeypatch.setattr(BUILTINS["len"], "fn", lambda m, value: m.no_such_attribute)
    checked = mas.check("print(len('a'))  # a fault of the interpreter")
    mas.graph(checked)
    assert not caplog.records
    assert "internal error" in mas.start(checked, "q").result.reason


@pytest.mark.parametrize("name", WARNINGS)
def test_what_fails_in_some_runs_is_a_warning(name):
    source, hint = WARNINGS[name]
    assert any(hint in warning for warning in mas.check(source).warnings)


@pytest.mark.parametrize("name", FINE)
def test_nothing_is_said_about_a_sound_script(name):
    assert mas.check(FINE[name]).warnings == ()


@pytest.mark.parametrize("name", FINE)
def test_a_sound_script_really_runs(name):
    run, _ = drive(FINE[name], lambda call: "r", check_limits=mas.Limits(agent_calls=200))
    assert run.result.status == "ok", run.result


UNKNOWN = "".join(f"    missing_{i}, other_{i % 7}\n" for i in range(1400))
LARGE = {
    "many_unknown_names": "".join(f"known_{i} = 1\n" for i in range(1000)) + "def f():\n" + UNKNOWN,
    "long_unknown_names": "def f():\n" + "".join(f"    {'ab' * 1500}{i}, {'ba' * 1500}{i}\n" for i in range(10)),
    "many_nodes_of_a_graph": GRAPH + "".join(f"g.add_node('{i}', 1)\ng.add_edge('x{i}', 'y')\n" for i in range(900)),
    "nested_loops": "f = 0\n" + "".join("  " * i + "for i in range(70):\n"
    "" for i in range(90)) + "  " * 90 + "; ".join(["f.run()"] * 3000)
    + "\n" + "  " * 90 + "break",
    "many_wrong_arguments": HEAD + "".join(f"AgentNode(sistem_prompt{i}=1)\n" for i in range(1500)),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_large_script_is_checked_in_bounded_time(name):
    began = time.process_time()
    warnings = mas.check(LARGE[name]).warnings
    assert time.process_time() - began < 8
    assert len(warnings) <= MOST_WARNINGS + 2 and all(len(warning) < 2000 for warning in warnings)


def test_each_unknown_name_is_reported_once_where_it_fails_for_certain():
    with pytest.raises(mas.DesignError) as caught:
        mas.check("def f():\n    return zebra\nprint(zebra)\nprint(zebra)")
    assert caught.value.line == 3
    found = [warning for warning in mas.check("def f():\n    return zebra + zebra").warnings if "zebra" in warning]
    assert len(found) == 1


def test_columns_are_those_of_the_original_script():
    with pytest.raises(mas.DesignError) as caught:
        mas.check("x = '\\alpha' + zebra")
    assert caught.value.column == len("x = '\\alpha' + ") + 1
