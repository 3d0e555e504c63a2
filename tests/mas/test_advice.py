"""The static check: what fails in every run is an error, in some runs a warning; both say what to write instead."""

import pytest
from mas_support import HEAD

from mxjax import mas

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
    "end_of_a_graph": GRAPH + "g.add_edge('solve', 'END')\ng.run(question)",
    "annotations": HEAD + "def f(x: 'Unknown', y: Missing = 1) -> Nothing:\n    z: Unheard = 1\n    return z\n"
    "Workflow().add_node(AgentNode('A', 'x')).run(question)",
    "comprehension_and_lambda": HEAD + "names = [n for n in 'ab']\nf = lambda k: k\n"
    "Workflow().add_nodes([AgentNode(f(n), 'x') for n in names]).run(question)",
    "walrus_and_with": HEAD + "if (n := 3) > 2:\n    m = n\nWorkflow().add_node(AgentNode(str(n), 'x')).run(question)",
    "star_arguments": HEAD + "o = {'strategy': 'consensus'}\ne = EnsembleNode('E', [AgentNode('A')], **o)\n"
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
def test_what_is_an_error_really_fails_and_within_try_it_is_a_warning(name):
    source, _, hint, _ = ERRORS[name]
    body = "".join("    " + line + "\n" for line in source.splitlines() if not line.startswith("from workflow"))
    head = "".join(line + "\n" for line in source.splitlines() if line.startswith("from workflow"))
    checked = mas.check(f"{head}try:\n{body}    print('fine')\nexcept ValueError as e:\n    print('failed')\n"
                        "except TypeError as e:\n    print('failed')\nexcept LookupError:\n    pass")  # fmt: skip
    assert any(hint in warning and "line" in warning for warning in checked.warnings)
    run = mas.start(checked, "q")
    assert "fine" not in run.printed


@pytest.mark.parametrize("name", WARNINGS)
def test_what_fails_in_some_runs_is_a_warning(name):
    source, hint = WARNINGS[name]
    assert any(hint in warning for warning in mas.check(source).warnings)


@pytest.mark.parametrize("name", FINE)
def test_nothing_is_said_about_a_sound_script(name):
    assert mas.check(FINE[name]).warnings == ()


def test_columns_are_those_of_the_original_script():
    with pytest.raises(mas.DesignError) as caught:
        mas.check("x = '\\alpha' + zebra")
    assert caught.value.column == len("x = '\\alpha' + ") + 1
