"""The graph of a design: what each way of building nodes and flows shows, within bounds for any text."""

import re
import time

import pytest
from scripts import HEAD

from mxjax import mas
from mxjax.mas.library.modules import NAMES
from mxjax.mas.shape import MOST_EDGES, MOST_NODES

TWO = HEAD + "a, b = AgentNode('A', 'first'), AgentNode('B', 'second')\n"
CHAIN = [("A", "B", "certain")]
# name: script, ids of nodes, edges, pattern
SHAPES = {
    "loop_over_range": (
        HEAD + "w = Workflow()\nfor i in range(3):\n    w.add_node(AgentNode(f'S{i}', 'x'))\nw.run(question)",
        "S0 S1 S2", [("S0", "S1", "certain"), ("S1", "S2", "certain")], "pipeline",
    ),
    "factory": (
        HEAD + "def make(n, p='x'):\n    return AgentNode(n, p)\nw = Workflow()\nw.add_node(make('A'))\n"
        "w.add_node(make('B', p='y'))\nw.run(question)",
        "A B", CHAIN, "pipeline",
    ),
    "factory_of_agents_of_one_name": (
        HEAD + "def make():\n    return AgentNode('A', 'x')\n"
        "Workflow().add_nodes([make(), make(), make()]).run(question)",
        "A A@3 A@3#2", [("A", "A@3", "certain"), ("A@3", "A@3#2", "certain")], "pipeline",
    ),
    "lambda": (
        HEAD + "make = lambda n: AgentNode(n, 'x')\nWorkflow().add_nodes([make(n) for n in ('A', 'B')]).run(question)",
        "A B", CHAIN, "pipeline",
    ),
    "map": (
        HEAD + "Workflow().add_nodes(list(map(lambda n: AgentNode(n, 'x'), ['A', 'B']))).run(question)",
        "A B", CHAIN, "pipeline",
    ),
    "loop_over_nodes": (
        TWO + "w = Workflow()\nfor n in [a, b]:\n    w.add_node(n)\nw.run(question)", "A B", CHAIN, "pipeline",
    ),
    "loop_over_items": (
        HEAD + "d = {'s': AgentNode('A', 'x'), 't': AgentNode('B', 'y')}\ng = AgentGraph('g')\n"
        "for k, v in d.items():\n    g.add_node(k, v)\ng.add_edge('s', 't')\ng.run(question)",
        "A B", CHAIN, "graph",
    ),
    "enumerate_and_zip": (
        HEAD + "g = AgentGraph('g')\nfor i, (n, p) in enumerate(zip('AB', ['x', 'y']), 1):\n"
        "    g.add_node(f's{i}', AgentNode(n, p))\n    if i > 1:\n        pass\ng.add_edge('s1', 's2')\n"
        "g.run(question)",
        "A B", CHAIN, "graph",
    ),
    "condition": (
        TWO + "w = Workflow()\nw.add_node(a)\nif len(question) > 9:\n    w.add_node(b)\nw.run(question)",
        "A B", [("A", "B", "conditional")], "pipeline",
    ),
    "condition_within": (
        TWO + "c = AgentNode('C', 'z')\nw = Workflow()\nw.add_node(a)\nif len(question) > 9:\n    w.add_node(b)\n"
        "w.add_node(c)\nw.run(question)",
        "A B C", [("A", "B", "conditional"), ("A", "C", "conditional"), ("B", "C", "conditional")], "pipeline",
    ),
    "one_of_two_nodes": (
        TWO + "if len(question) > 9:\n    n = a\nelse:\n    n = b\n"
        "Workflow().add_node(EnsembleNode('E', [n])).run(question)",
        "A B E", [("A", "E", "conditional"), ("B", "E", "conditional")], "vote",
    ),
    "step_of_one_of_two_nodes": (
        TWO + "c = AgentNode('C', 'z')\nw = LoopWorkflow()\nw.add_node(c)\n"
        "w.add_node(a if len(question) > 9 else b)\nw.run(question)",
        "A B C", [("A", "C", "loop"), ("B", "C", "loop"), ("C", "A", "conditional"), ("C", "B", "conditional")],
        "custom",
    ),
    "main": (
        TWO + "def main():\n    w = Workflow()\n    w.add_node(a)\n    w.add_node(b)\n    return w.run(question)\n"
        "if __name__ == '__main__':\n    main()",
        "A B", CHAIN, "pipeline",
    ),
    "nodes_added_by_a_function": (
        TWO + "def build(g):\n    add = g.add_node\n    add('s', a)\n    add(name='t', node=b)\n"
        "    g.add_edge(src='s', dst='t')\n"
        "g = AgentGraph('g')\nbuild(g)\ng.run(question)",
        "A B", CHAIN, "graph",
    ),
    "own_node_around_an_agent": (
        HEAD + "class N(WorkflowNode):\n    def __init__(self, inner):\n        self.inner = inner\n"
        "Workflow().add_node(N(AgentNode('A', 'x'))).run(question)",
        "A N", [("N", "A", "conditional")], "custom",
    ),
    "own_class_that_builds": (
        HEAD + "class Team:\n    def __init__(self, names):\n        self.flow = Workflow()\n        for n in names:\n"
        "            self.flow.add_node(AgentNode(n, 'x'))\n    def solve(self):\n"
        "        return self.flow.run(question)\n"
        "Team(['A', 'B']).solve()",
        "A B", CHAIN, "pipeline",
    ),
    "module": (
        "import workflow as wf\nw = wf.Workflow()\nw.add_node(wf.AgentNode('A', 'x'))\n"
        "w.add_node(wf.AgentNode('B', 'y'))\n"
        "w.run(question)",
        "A B", CHAIN, "pipeline",
    ),
    "appended": (
        TWO + "nodes = []\nnodes.append(a)\nnodes += [b]\n"
        "Workflow().add_nodes(nodes).run(question)", "A B", CHAIN, "pipeline",
    ),
    "loop_that_does_not_end": (
        HEAD + "w = Workflow()\nwhile len(question) > 3:\n    w.add_node(AgentNode('A', 'x'))\nw.run(question)",
        " ".join(["A", "A@4", *(f"A@4#{i}" for i in range(2, MOST_NODES))]),
        [(f"A@4#{i}" if i > 1 else "A@4" if i else "A", f"A@4#{i + 1}" if i else "A@4", "conditional")
         for i in range(MOST_NODES - 1)],
        "pipeline",
    ),
    "loop_that_depends_on_the_question": (
        HEAD + "w = Workflow()\nfor c in question[:9:4]:\n    w.add_node(AgentNode('A', 'x'))\nw.run(question)",
        "A A@4 A@4#2", [("A", "A@4", "conditional"), ("A@4", "A@4#2", "conditional")], "pipeline",
    ),
    "one_agent_in_a_row": (
        HEAD + "a = AgentNode('A', 'x')\nw = Workflow()\nfor _ in range(3):\n    w.add_node(a)\nw.run(question)",
        "A", [("A", "A", "loop")], "pipeline",
    ),
    "many_items": (
        HEAD + "e = EnsembleNode('E', [AgentNode('A', 'x') for _ in range(1000)])\n"
        "Workflow().add_node(e).run(question)",
        " ".join(["A", "A@2", *(f"A@2#{i}" for i in range(2, MOST_NODES))]), [], "vote",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    source, ids, edges, pattern = SHAPES[name]
    checked = mas.check(source)
    found = mas.graph(checked)
    assert [node.id for node in found.nodes] == ids.split()
    assert edges is None or sorted((e.source, e.target, e.kind) for e in found.edges) == sorted(edges)
    assert mas.pattern(checked) == pattern
    assert not any("makes no agent" in warning for warning in checked.warnings)


STAGES = (
    HEAD
    + """
a, b, c, d, x, y = (AgentNode(name, 'p') for name in 'abcdxy')
vote, again = EnsembleNode('vote', [a, b]), EnsembleNode('again', [c, d])
refl = ReflectionNode('refl', x, critic_agent=y)
"""
)
STEPS = lambda *steps: "Workflow()" + "".join(f".add_node({step})" for step in steps) + ".run(question)"
GRAPH = "g = AgentGraph('g')\n"
VOTE, AGAIN, REFL = "a->vote b->vote", "c->again d->again", "x->y y@x x->refl"
FIXING = (
    "g.add_node('fix', c).add_node('check', b).add_node('draft', a)\n"
    "g.add_edge('draft', 'check').add_edge('fix', 'check').set_entry_point('draft')\n"
)
# name: script, edges; > is the question as a source and the answer as a target
ORDERS = {
    "vote_reflection": (STEPS("vote", "refl"), f">->a >->b {VOTE} vote->x {REFL} refl->>"),
    "reflection_vote": (STEPS("refl", "vote"), f">->x {REFL} refl->a refl->b {VOTE} vote->>"),
    "two_votes": (STEPS("vote", "again"), f">->a >->b {VOTE} vote->c vote->d {AGAIN} again->>"),
    "vote_agent": (STEPS("vote", "c"), f">->a >->b {VOTE} vote->c c->>"),
    "agent_vote": (STEPS("c", "vote"), f">->c c->a c->b {VOTE} vote->>"),
    "vote_debate": (
        STEPS("vote", "DebateNode('debate', [c, d], judge=x)"),
        f">->a >->b {VOTE} vote->c vote->d c@d d@c c->x d->x x->debate debate->>",
    ),
    "an_agent_that_comes_again": (
        STEPS("vote", "ReflectionNode('r', a, critic_agent=y)"), f">->a >->b {VOTE} vote@a a->y y@a a->r r->>",
    ),
    "a_judge_that_has_voted": (
        STEPS("vote", "DebateNode('debate', [c, d], judge=a)"),
        f">->a >->b {VOTE} vote->c vote->d c@d d@c c@a d@a a->debate debate->>",
    ),
    "reflection_on_a_vote": (
        STEPS("ReflectionNode('r', vote, critic_agent=y)"), f">->a >->b {VOTE} vote->y y@a y@b vote->r r->>",
    ),
    "consensus_of_reflections": (
        STEPS("EnsembleNode('e', [refl, a], 'consensus', consensus_agent=b)"),
        f">->x >->a {REFL} refl->b a->b b->e e->>",
    ),
    "route_through_stages": (
        STEPS("c", "RouterNode('r', {'v': vote, 'x': refl}, len)", "d"),
        f">->c c->r r?a r?b r?x {VOTE} {REFL} vote->d refl->d d->>",
    ),
    "loop": (
        "w = LoopWorkflow()\nw.add_node(vote).add_node(refl)\nw.run(question)",
        f">->a >->b {VOTE} vote->x {REFL} refl@a refl@b refl->>",
    ),
    "condition": (
        "w = ConditionalWorkflow()\nw.add_node(vote).add_node(refl, len)\nw.run(question)",
        f">->a >->b {VOTE} vote?x {REFL} vote?> refl->>",
    ),
    "condition_first": (
        "w = ConditionalWorkflow()\nw.add_node(a, len).add_node(b)\nw.run(question)", ">?a a?b >?b b->>",
    ),
    "graph_in_any_order": (
        GRAPH + "g.add_node('r', refl).add_node('v', vote).add_edge('v', 'r').set_entry_point('v')\ng.run(question)",
        f">->a >->b {VOTE} vote->x {REFL} refl->>",
    ),
    "graph_that_ends_in_the_middle": (
        GRAPH + FIXING + "g.add_edge('check', 'END', len).add_edge('check', 'fix', len)\ng.run(question)",
        ">->a a->b c@b b?c b?>",
    ),
    "graph_that_ends_where_no_condition_holds": (
        GRAPH + FIXING + "g.add_edge('check', 'fix', len)\ng.run(question)", ">->a a->b c@b b?c b?>",
    ),
    "graph_with_a_finish_point": (
        GRAPH + FIXING + "g.add_edge('check', 'fix', len).add_node('end', d).add_edge('check', 'end', len)\n"
        "g.set_finish_point('end')\ng.run(question)",
        ">->a a->b c@b b?c b?d d->>",
    ),
    "graph_with_a_function_and_its_targets": (
        GRAPH + FIXING + "g.add_conditional_edges('check', len, {'bad': 'fix', 'good': 'END'})\ng.run(question)",
        ">->a a->b c@b b?c b?>",
    ),
    "one_run_on_the_result_of_another": (
        "r = Workflow().add_node(vote).run(question)\ntext = f'{question}: {r.content.strip()}'\n"
        "Workflow().add_node(refl).run('Check: ' + text)",
        f">->a >->b {VOTE} vote->x {REFL} refl->>",
    ),
    "a_run_on_the_results_of_several": (
        "rs = [Workflow().add_node(n).run(question).content for n in (a, b)]\n"
        "Workflow().add_node(c).run('{}'.format('\\n'.join(rs)))",
        ">->a >->b a->c b->c c->>",
    ),
    "a_run_on_its_own_result": (
        "r, w = question, Workflow().add_node(vote)\nfor _ in range(2):\n    r = w.run(r)",
        f">->a >->b {VOTE} vote@a vote@b vote->>",
    ),
    "a_second_run_on_a_condition": (
        "r = Workflow().add_node(a).run(question)\nif len(r.content) > 9:\n    Workflow().add_node(b).run(r.content)",
        ">->a a?b a?> b->>",
    ),
    "runs_beside_each_other": (
        "Workflow().add_node(vote).run(question)\nWorkflow().add_node(c).run(question)", f">->a >->b {VOTE} >->c c->>",
    ),
    "an_own_node_that_runs_a_workflow": (
        "class Stage(WorkflowNode):\n    def process(self, context):\n"
        "        return Workflow().add_node(vote).run(question)\n" + STEPS("Stage('stage')", "refl"),
        f">->stage stage->a stage->b {VOTE} vote->x {REFL} refl->>",
    ),
    "agents_asked_by_the_script": (
        "context = Context()\na(context)\nvote.process(context)", f">->a >->b {VOTE} a->> vote->>",
    ),
}  # fmt: skip
ARROWS = {"->": "certain", "?": "conditional", "@": "loop"}


@pytest.mark.parametrize("name", ORDERS)
def test_edges_lead_from_stage_to_stage_as_they_run(name):
    source, drawn = ORDERS[name]
    found = mas.graph(mas.check(STAGES + source))
    arrows = [re.fullmatch(r"(\w+|>)(->|\?|@)(\w+|>)", edge).groups() for edge in drawn.split()]
    expected = sorted((a.strip(">"), b.strip(">"), ARROWS[kind]) for a, kind, b in arrows)
    inner = {"vote": VOTE, "again": AGAIN, "refl": REFL}  # of what a script has and does not use
    unused = {edge for part, edges in inner.items() for edge in edges.split() if edge not in drawn.split()}
    unused = {(a, b, ARROWS[kind]) for a, kind, b in (re.split("(->|@)", edge) for edge in unused)}
    shown = {(edge.source, edge.target, edge.kind) for edge in (*found.edges, *found.outer)}
    assert sorted(shown - unused) == expected


PROMPTS = {
    "variable": "P = 'The answer is 16'\nAgentNode('A', P)",
    "strip": "AgentNode('A', '''\nThe answer is 16\n'''.strip())",
    "dedent": "import textwrap\nAgentNode('A', textwrap.dedent('The answer is 16'))",
    "keyword": "AgentNode(name='A', system_prompt='The answer ' + 'is 16')",
    "f_string": "n = 16\nAgentNode('A', f'The answer is {n} for {question}')",
    "join": "AgentNode('A', ' '.join(['The', 'answer is', '16']))",
    "format": "AgentNode('A', 'The answer is 16, {}'.format(question))",
    "one_of_two": "AgentNode('A', 'x' if len(question) > 3 else 'The answer is 16')",
    "dict": "P = {'a': 'The answer is 16'}\nAgentNode('A', P['a'])",
    "loop": "for p in ['The answer is 16']:\n    AgentNode('A', p)",
    "parameter": "def make(p):\n    return AgentNode('A', p)\nmake('The answer is 16')",
    "own_class": "class N(AgentNode):\n    pass\nN('A', 'The answer is 16')",
}


def test_what_only_a_run_knows_is_left_out_of_prompts():
    source = HEAD + "r = Workflow().add_node(AgentNode('A', f'on {question}')).run(question)\n"
    first, second = mas.graph(mas.check(source + "AgentNode('B', f'16, not {r.content}!')")).nodes
    assert first.prompt == "on {...}" and second.prompt.startswith("16, not {...}")


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_shown_however_they_are_written(name):
    (node,) = mas.graph(mas.check(HEAD + PROMPTS[name])).nodes
    assert "The answer is 16" in node.prompt.strip()


BOMBS = {
    "extended_by_itself": "l = [AgentNode('A')]\nl.extend(l)\n" * 20,
    "extended_by_a_generator_of_itself": "l = [AgentNode('A')]\nl.extend(x for x in l)\nl.append(l)\nl += l",
    "doubled": "l = [AgentNode('A')]\n" + "l = l + l\n" * 200,
    "doubled_in_loops": "l = [1]\ns = 'x' * 9\n" + "".join("  " * i + f"for a{i} in range(32):\n" for i in range(9))
    + "  " * 9 + "l = l + l; s = s + s; t = f'{s}{s}'",
    "debate_of_many": "l = [AgentNode('A') for i in range(32) for j in range(32)]\nd = [DebateNode('D', l) for _ in l]",
    "calls_within_calls": "def f0(x): return [x, AgentNode('A')]\n"
    + "".join(f"def f{i}(x): return f{i - 1}(f{i - 1}(x))\n" for i in range(1, 40)) + "f39(1)",
    "recursion": "def f(x): return f([x, x])\nf(AgentNode('A'))\ng = lambda h: h(h)\ng(g)",
    "many_choices": "x = AgentNode('A')\n" + "if x: x = [x, x]\nelse: x = {1: x}\n" * 300,
    "long_choices": "x = 'a' * 3\n" + "x = x if x else x + 'abc'\n" * 500 + "AgentNode(x, x)\n" * 500,
    "same_names": "AgentNode('A@3')\n" * 2000,
    "links_to_all": "f = len\ng = AgentGraph('g')\n"
    + "".join(f"g.add_node('{i}', AgentNode('x'))\ng.add_conditional_edges('{i}', f)\n" for i in range(900)),
    "conditional_steps": "w = Workflow()\na = AgentNode('A')\n" + "if a: w.add_node(AgentNode('A'))\n" * 1200,
    "many_generators": "x = [a " + "for a in 'ab' " * 900 + "]",
    "nested_items": "x = [AgentNode('A')]\n" + "x = [x, list(x), {1: x}, x[:]]\n" * 500 + "Workflow().add_nodes(x)",
    "texts": "s = '" + "ab " * 9000 + "'\n" + "s = s + s\n" * 60 + "l = s.split()\nl = s.strip(s)\nAgentNode(s, s)",
    "closures": "f = lambda: 0\n" + "f = (lambda g: lambda: g())(f)\n" * 900 + "f()",
    "many_targets": "x = [1]\n" + "".join("  " * i + f"for a{i} in range(32):\n" for i in range(4)) + "        "
    + ", ".join(f"b{i}" for i in range(4000)) + " = x",
    "many_options": f"x = [{', '.join(map(str, range(5000)))}][question]\n" + "x.foo()\nAgentNode(x)\nx + 'a'\n" * 700,
    "many_parts": f"x = [{', '.join(map(str, range(5000)))}]\n" + "''.join(x)\n{}.update({1: 2})\n" * 700,
    "many_parameters": "for i in range(30):\n for j in range(30):\n  def f(*, "
    + ", ".join(f"b{i}" for i in range(4000)) + "): pass\n",
    "many_arguments": "def f(" + ", ".join(f"b{i}" for i in range(3000)) + "): pass\nf("
    + ", ".join(f"b{i}=1" for i in range(3000)) + ")",
    "many_debates": "l = [AgentNode('A') for i in range(8) for j in range(32)]\n"
    "" + "d = [DebateNode('D', l) for i in range(32)]\n" * 8,
    "odd_bases": "".join(f"class C{i}({name}): pass\nC{i}('a', 'b').add_node(1)\n" for i, name in enumerate(NAMES)),
    "odd_calls": "if question:\n" + "".join(
        f" x = {name}({given})\n {name}.add_node(x)\n x.add_node(x)\n x[0] = {name}[0]\n"
        for name in (*NAMES, "range", "zip", "map", "enumerate", "str", "dict", "len", "list", "question", "''")
        for given in ("", "None", "*x", "**x", "x, x, x, x", "1.5", "name=x", "x=1, *[1, [2]]")
    ),
    "big_integers": f"x = {9 ** 2000}\n" + "x = x * x\nf'{x:>999}'\n" * 40,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_the_graph_of_any_text_is_bounded(name):
    checked = mas.check(HEAD + BOMBS[name])
    began = time.process_time()
    found = mas.graph(checked)
    mas.pattern(checked)
    assert time.process_time() - began < 5
    assert len(found.nodes) <= MOST_NODES and len(found.edges) <= MOST_EDGES
