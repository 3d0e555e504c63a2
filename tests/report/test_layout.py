"""Designs are drawn left to right: every edge that leads on goes right, nothing overlaps, all of it is inside."""

import random

import made_up
import pytest

from mxjax import mas
from mxjax.cold_start import teacher
from mxjax.mas import Edge, Graph, Node
from mxjax.report.drawing import draw_design
from mxjax.report.layout import ANSWER, BOX_HEIGHT, MOST_NODES, QUESTION, place


def graph_of(names, *edges):
    """A graph written as "a b" and edges such as "a b loop"."""
    nodes = tuple(Node(name, name, "AgentNode", "", 1) for name in names.split())
    return Graph(nodes, tuple(Edge(*edge.split()) for edge in edges))


def columns(layout):
    return {name.removeprefix("node "): box.column for name, box in layout.boxes.items()}


def assert_sound(layout):
    boxes = list(layout.boxes.values())
    for i, a in enumerate(boxes):
        assert a.x >= 0 and a.y >= 0 and a.x + a.width <= layout.width and a.y + BOX_HEIGHT <= layout.height
        for b in boxes[i + 1 :]:
            apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + BOX_HEIGHT <= b.y or b.y + BOX_HEIGHT <= a.y
            assert apart, (a, b)
    for edge in layout.edges:
        assert edge.source in layout.boxes and edge.target in layout.boxes
        if edge.kind != "loop":
            assert layout.boxes[edge.source].column < layout.boxes[edge.target].column


@pytest.mark.parametrize("pattern", ["single", "vote", "reflection", "debate", "pipeline"])
def test_the_teachers_patterns(pattern):
    replies = (teacher.design(made_up.questions()[0], random.Random(seed)) for seed in range(200))
    source = mas.parse_design(next(reply for reply in replies if f"Pattern: {pattern}\n" in reply))
    layout = place(mas.graph(mas.check(source)))
    assert_sound(layout)
    drawn = draw_design(source)
    assert drawn.count("<rect") == len(layout.boxes)
    assert ("repeated" in drawn) == (pattern in ("reflection", "debate"))


def test_a_vote_stands_in_three_columns_between_its_ends():
    layout = place(graph_of("a b c vote", "a vote certain", "b vote certain", "c vote certain"))
    assert columns(layout) == {QUESTION: 0, "a": 1, "b": 1, "c": 1, "vote": 2, ANSWER: 3}
    starts = [edge.target for edge in layout.edges if edge.source == QUESTION]
    assert starts == ["node a", "node b", "node c"]


def test_a_node_waits_for_the_last_of_those_before_it():
    layout = place(graph_of("a b c", "a b certain", "b c certain", "a c conditional"))
    assert columns(layout) == {QUESTION: 0, "a": 1, "b": 2, "c": 3, ANSWER: 4}


def test_a_cycle_becomes_a_loop():
    layout = place(graph_of("a b", "a b certain", "b a conditional"))
    assert_sound(layout)
    assert Edge("node b", "node a", "loop") in layout.edges
    assert Edge("node b", ANSWER, "certain") in layout.edges


def test_a_node_that_only_leads_back_does_not_lead_to_the_answer():
    edges = "critic fixer conditional", "critic vote conditional", "fixer critic loop"
    layout = place(graph_of("critic fixer vote", *edges))
    assert [edge.source for edge in layout.edges if edge.target == ANSWER] == ["node vote"]


def test_routes_lead_back_to_a_router_that_goes_on():
    source = (
        "from workflow import Workflow, AgentNode, RouterNode\nw = Workflow()\n"
        'w.add_node(RouterNode("r", {"x": AgentNode("a", ""), "y": AgentNode("b", "")}, lambda c: "x"))\n'
    )
    ends = lambda text: [e.source for e in place(mas.graph(mas.check(text))).edges if e.target == ANSWER]
    assert ends(source + "w.run(question)\n") == ["node a", "node b"]
    assert ends(source + 'w.add_node(AgentNode("c", ""))\nw.run(question)\n') == ["node c"]


def test_stages_stand_one_behind_the_other_and_what_never_runs_has_no_arrow():
    source = (
        "from workflow import *\na, b, c, d, idle = (AgentNode(name, 'p') for name in ('a', 'b', 'c', 'd', 'idle'))\n"
        "vote = EnsembleNode('vote', [a, b])\n"
        "Workflow().add_node(vote).add_node(DebateNode('debate', [c, d], judge=a)).run(question)\n"
    )
    layout = place(mas.graph(mas.check(source)))
    assert_sound(layout)
    at = columns(layout)
    assert at["a"] == at["b"] < at["vote"] < at["c"] == at["d"] < at[ANSWER]
    edges = {(edge.source.removeprefix("node "), edge.target.removeprefix("node ")) for edge in layout.edges}
    assert {target for source, target in edges if source == QUESTION} == {"a", "b"}
    assert {source for source, target in edges if target == ANSWER} == {"debate"}
    assert not any("idle" in edge for edge in edges)


def test_nodes_may_have_any_name():
    graph = Graph((Node("question", "question", "AgentNode", "", 1), Node("answer", "<b>", "X" * 99, "", 2)), ())
    layout = place(graph)
    assert_sound(layout)
    assert len(layout.boxes) == 4


def test_a_huge_design_is_cut_and_says_so():
    agents = "\n".join(f'w.add_node(AgentNode("n{i}", "x"))' for i in range(MOST_NODES + 7))
    drawn = draw_design(f"from workflow import Workflow, AgentNode\nw = Workflow()\n{agents}\nw.run(question)\n")
    assert "7 more nodes are not drawn" in drawn
    assert drawn.count("<rect") == MOST_NODES + 2


@pytest.mark.parametrize("source", ["", "x = 1", "def", "\ud800", "(" * 5000])
def test_a_text_without_a_graph_gets_a_sentence(source):
    assert 'class="absent"' in draw_design(source)


def test_random_graphs_are_sound():
    rng = random.Random(0)
    for _ in range(60):
        names = [f"n{i}" for i in range(rng.randint(1, 9))]
        kinds = ("certain", "conditional", "loop")
        edges = [f"{rng.choice(names)} {rng.choice(names)} {rng.choice(kinds)}" for _ in range(rng.randint(0, 14))]
        assert_sound(place(graph_of(" ".join(names), *edges)))
