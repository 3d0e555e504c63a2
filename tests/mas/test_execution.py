"""Suspending and resuming: ids, errors of the caller, and that nothing depends on the order in which replies arrive."""

import hashlib
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripts import HEAD, boxed, drive

from mxjax import mas

TREE = """
from workflow import *
import asyncio
tools = ToolRegistry()
tools.register("python_execute", None, "Run", {})
def solver(name):
    return AgentNode(name, "solve", tool_registry=tools, max_turns=3)
log = []
class Wrapped(WorkflowNode):
    def __init__(self, name, turns):
        super().__init__(name)
        self.turns = turns
    def process(self, context):
        text = ""
        for turn in range(self.turns):
            text += AgentNode(f"{self.name}-{turn}", "x")(context).content
            log.append((self.name, len(text)))
        return Message(text, MessageType.AGENT_RESPONSE)
inner = EnsembleNode("Inner", [solver("a"), solver("b")], "majority_vote", consensus_agent=AgentNode("J", "judge"))
outer = EnsembleNode("Outer", [inner, solver("c"), ReflectionNode("R", solver("d"), 1)], "majority_vote")
mixed = EnsembleNode("Mixed", [Wrapped("w1", 2), solver("e"), Wrapped("w2", 3)], "majority_vote")
debate = DebateNode("Debate", [solver("f"), AgentNode("g", "x")], num_rounds=2)
class Note(WorkflowNode):
    def process(self, context):
        log.append((self.name, len(context.messages)))
        context.set_state("notes", context.get_state("notes", "") + self.name)
        return Message(solver(self.name)(context).content + context.get_state("notes"), MessageType.AGENT_RESPONSE)
def branching(name, *middle):
    g = AgentGraph(name)
    for node in (AgentNode(name + "-start", "x"), *middle, AgentNode(name + "-join", "x")):
        g.add_node(node.name, node)
    for node in middle:
        g.add_edge(name + "-start", node.name).add_edge(node.name, name + "-join")
    return g
async def walk(graph):
    return graph.run(question).content
async def ask(node):
    return node(Context(messages=[Message(question, MessageType.USER_INPUT)])).content
async def main():
    free = branching("free", solver("h"), ReflectionNode("R2", solver("i"), 1), EnsembleNode("E2", [solver("j")] * 2))
    noted = branching("noted", solver("k"), Note("l"), Note("m"))
    return await asyncio.gather(ask(outer), ask(mixed), ask(debate), walk(free), walk(noted))
texts = asyncio.run(main())
result = Workflow("last").add_node(AgentNode("z", "finish")).run(" ".join(texts)[:500])
print(log, texts)
"""
TOOLS = {"python_execute": mas.Tool(lambda code: code)}


def fixed_reply(call):
    """A reply that is a function of the call alone; now and then code to run, or an error."""
    digest = hashlib.sha256(call.id.encode()).digest()
    if isinstance(call, mas.ToolCall):
        return mas.Reply(f"ran {digest[1] % 10}")
    if digest[0] % 11 == 0:
        return mas.Reply("", error="prompt_too_long")
    if digest[0] % 3 == 0 and call.parent is None:
        return mas.Reply(f"```python\nprint({digest[2]})\n```")
    return mas.Reply(boxed(digest[3] % 3))


def finish(checked, order, limits=None):
    """Runs with replies arriving as `order(pending)` chooses; everything that must not depend on it."""
    run = mas.start(checked, "What is 1+1?", tools=TOOLS, limits=limits)
    asked = {call.id: call for call in run.pending}
    while run.result is None:
        chosen = order(run.pending)
        new = run.advance({call.id: fixed_reply(call) for call in chosen})
        assert not set(asked) & {call.id for call in new}
        asked.update({call.id: call for call in new})
    shown = {i: (type(c).__name__, getattr(c, "messages", None), getattr(c, "parent", None)) for i, c in asked.items()}
    return run.result, shown, run.printed


@pytest.fixture(scope="module")
def tree():
    return mas.check(TREE)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), batch=st.integers(1, 6))
def test_arrival_order_does_not_matter(tree, seed, batch):
    expected = finish(tree, lambda pending: pending)
    assert expected[0].status == "ok" and expected[0].calls > 12
    rng = random.Random(seed)
    assert finish(tree, lambda pending: rng.sample(pending, min(len(pending), batch))) == expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), calls=st.integers(1, 30), fuel=st.integers(200, 4000))
@example(seed=0, calls=10, fuel=731)  # two groups end in one round, and their sum goes over
def test_arrival_order_does_not_matter_at_a_limit(tree, seed, calls, fuel):
    limits = mas.Limits(agent_calls=calls, fuel=fuel)
    rng = random.Random(seed)
    expected = finish(tree, lambda pending: pending, limits)[0]
    assert finish(tree, lambda pending: rng.sample(pending, 1), limits)[0] == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), calls=st.integers(0, 90))
def test_never_more_calls_are_given_out_than_the_limit_says(tree, seed, calls):
    rng = random.Random(seed)
    order = lambda pending: rng.sample(pending, min(len(pending), 2))
    result, asked, _ = finish(tree, order, mas.Limits(agent_calls=calls))
    given_out = sum(kind == "AgentCall" for kind, _, _ in asked.values())
    assert given_out <= result.calls <= calls
    assert (result.status == "ok") == (calls >= finish(tree, order)[0].calls) or result.reason == "agent_calls"


BESIDE = (
    HEAD
    + """
import asyncio
t = ToolRegistry()
t.register("python_execute")
async def vote():
    return EnsembleNode("E", [AgentNode(n, "x", tool_registry=t, max_turns=2) for n in "AB"])(start()).content
async def chain():
    return [AgentNode(n, "x")(start()).content for n in "CDE"]
def start():
    return Context(messages=[Message(question, MessageType.USER_INPUT)])
async def main():
    return await asyncio.gather(vote(), chain())
print(calls_left())
asyncio.run(main())
print(calls_left())
Workflow().add_node(AgentNode("last", "x")).run(question)
"""
)


@pytest.mark.parametrize(("limit", "status"), [(13, "ok"), (7, "ok"), (6, "ok"), (5, "limit")])
def test_calls_beside_a_group_wait_for_what_it_reserved_and_did_not_use(limit, status):
    """The group may make six calls and makes two; the chain beside it makes three, and one comes after both."""
    checked = mas.check(BESIDE)
    results = set()
    for pick in (lambda pending: pending[:1], lambda pending: pending[-1:], lambda pending: pending):
        run = mas.start(checked, "q", tools=TOOLS, limits=mas.Limits(agent_calls=limit))
        while run.result is None:
            assert len([call for call, _ in run.answered]) + len(run.pending) <= limit
            run.advance({call.id: boxed(1) for call in pick(run.pending)})
        results.add((run.result.status, run.result.calls, run.result.fuel, run.printed))
    assert len(results) == 1
    (result,) = results
    assert result[:2] == (status, min(limit, 6))


def test_a_node_that_grows_while_it_runs_gets_no_more_calls_than_were_reserved_for_it():
    source = (
        HEAD
        + """
import asyncio
agents = [AgentNode(n, "x") for n in "AB"]
late = ReflectionNode("R", agents[0], 1)
group = EnsembleNode("E", [late, agents[1]])
async def run():
    return group(Context(messages=[Message(question, MessageType.USER_INPUT)])).content
async def grow():
    t = ToolRegistry()
    t.register("python_execute")
    agents[0].tool_registry = t
    agents[0].max_turns = 30
asyncio.run(asyncio.gather(run(), grow()))
"""
    )
    limits = mas.Limits(agent_calls=6)
    for pick in (lambda pending: pending[:1], lambda pending: pending[-1:]):
        run = mas.start(mas.check(source), "q", tools=TOOLS, limits=limits)
        given_out = len(run.pending)
        while run.result is None:
            replies = {
                call.id: "1" if isinstance(call, mas.ToolCall) else "```python\n1\n```" for call in pick(run.pending)
            }
            given_out += sum(isinstance(call, mas.AgentCall) for call in run.advance(replies))
        assert (run.result.status, run.result.reason) == ("limit", "agent_calls")
        assert given_out == run.result.calls <= 6


def test_a_member_goes_on_without_its_slow_siblings():
    source = HEAD + (
        "t = ToolRegistry()\nt.register('python_execute')\n"
        "a = [AgentNode(n, 'x', tool_registry=t) for n in 'AB']\n"
        "Workflow().add_node(EnsembleNode('E', a, 'majority_vote')).run(question)"
    )
    run = mas.start(mas.check(source), "q", tools=TOOLS)
    first, second = run.pending
    (tool,) = run.advance({first.id: "```python\nprint(1)\n```"})
    assert isinstance(tool, mas.ToolCall) and run.pending == (tool, second)
    (again,) = run.advance({tool.id: "1"})
    assert again.parent == first.id and run.pending == (again, second)
    assert run.advance({again.id: boxed(1)}) == () and run.result is None
    run.advance({second.id: boxed(1)})
    assert run.result.status == "ok" and run.result.calls == 3


def test_partial_answers_and_unknown_or_repeated_ids():
    source = HEAD + (
        "a = [AgentNode(n, 'x') for n in 'ABC']\n"
        "Workflow().add_node(EnsembleNode('E', a, 'majority_vote')).run(question)"
    )
    run = mas.start(mas.check(source), "q")
    ids = [call.id for call in run.pending]
    assert run.advance({}) == ()
    assert run.advance({ids[1]: boxed(1)}) == () and [call.id for call in run.pending] == [ids[0], ids[2]]
    for bad in ({ids[1]: "again"}, {"nowhere": "x"}, {ids[0]: "ok", "nowhere": "x"}):
        with pytest.raises(ValueError, match="pending"):
            run.advance(bad)
    for wrong in (None, 5, ["x"], mas.Reply(7)):
        with pytest.raises(TypeError, match="str"):
            run.advance({ids[0]: wrong})
    assert [call.id for call in run.pending] == [ids[0], ids[2]]
    run.advance({ids[0]: boxed(2), ids[2]: boxed(1)})
    assert run.result.content == boxed(1) and run.pending == ()
    with pytest.raises(ValueError, match="pending"):
        run.advance({ids[0]: "late"})


def test_ids_are_unique_and_tell_the_path():
    source = HEAD + (
        "a = AgentNode('same name!', 'x')\n"
        "w = Workflow('w').add_node(EnsembleNode('E', [a, a], 'majority_vote')).add_node(a)\n"
        "w.run(question)\n"
        "w.run(question)"
    )
    _, batches = drive(source, lambda call: boxed(1))
    ids = [call.id for batch in batches for call in batch]
    assert ids == [
        "w/E/same_name_#1", "w/E/same_name_.2#1", "w/same_name_#1",
        "w.2/E/same_name_#1", "w.2/E/same_name_.2#1", "w.2/same_name_#1",
    ]  # fmt: skip


def test_replay_is_exact(tree):
    assert finish(tree, lambda pending: pending) == finish(tree, lambda pending: pending)


def test_seed_and_question_seed_the_random_module():
    checked = mas.check("import random\nprint(random.random(), random.choice(range(1000)))")
    printed = {(seed, q): mas.start(checked, q, seed=seed).printed for seed in (0, 1) for q in ("a", "b")}
    assert len(set(printed.values())) == 4
    assert mas.start(checked, "a", seed=1).printed == printed[1, "a"]


def test_executions_share_the_program_and_nothing_else():
    source = (
        HEAD
        + "seen = []\nseen.append(question)\nr = Workflow().add_node(AgentNode('A', 'x')).run(question)\nprint(seen)"
    )
    checked = mas.check(source)
    assert mas.check(source) is checked
    runs = [mas.start(checked, f"q{i}") for i in range(50)]
    for i, run in enumerate(runs):
        run.advance({run.pending[0].id: f"r{i}"})
    assert [run.result.content for run in runs] == [f"r{i}" for i in range(50)]
    assert [run.printed for run in runs] == [f"['q{i}']\n" for i in range(50)]


def test_run_is_synchronous_and_catches_chat_errors():
    source = HEAD + "a = AgentNode('A', 'x')\nr = a(Context())\nprint(r.content)\nWorkflow().add_node(a).run(question)"
    seen = []

    def chat(messages):
        seen.append(messages)
        if len(seen) == 1:
            raise RuntimeError("server away")
        return "fine"

    result = mas.run(source, "q?", chat)
    assert (result.status, result.content, result.calls) == ("ok", "fine", 2)
    assert seen[1][-1] == {"role": "user", "content": "q?"}


def test_script_tools_that_call_agents_in_members_stay_in_order():
    source = HEAD + (
        "order = []\ndef ask(x):\n    order.append(x)\n    return AgentNode('Helper', 'h')(Context()).content\n"
        "t = ToolRegistry()\nt.register('ask', ask, 'asks', {})\n"
        "a = [AgentNode(n, 'x', tool_registry=t) for n in 'AB']\n"
        "Workflow().add_node(EnsembleNode('E', a, 'majority_vote')).run(question)\nprint(order)"
    )

    def answer(call):
        if call.node == "Helper":
            return "help"
        return (
            boxed(1)
            if call.parent
            else f'<tool_call>{{"name": "ask", "arguments": {{"x": "{call.node}"}}}}</tool_call>'
        )

    for pick in (lambda pending: pending[:1], lambda pending: pending[-1:]):
        run = mas.start(mas.check(source), "q")
        while run.result is None:
            run.advance({call.id: answer(call) for call in pick(run.pending)})
        assert (run.printed, run.result.status) == ("['A', 'B']\n", "ok")


def test_infinite_turns_fall_back_to_rounds_and_meet_the_limit():
    source = HEAD + (
        "t = ToolRegistry()\nt.register('python_execute')\n"
        "a = [AgentNode(n, 'x', tool_registry=t, max_turns=10 ** 9) for n in 'AB']\n"
        "Workflow().add_node(EnsembleNode('E', a, 'majority_vote')).run(question)"
    )
    run, _ = drive(
        source, lambda call: "```python\n1\n```", tools=TOOLS, limits=mas.Limits(agent_calls=9, tool_calls=99)
    )
    assert (run.result.status, run.result.reason, run.result.calls) == ("limit", "agent_calls", 9)


def test_trace_tells_what_happened(tree):
    run, _ = drive(
        HEAD + "w = Workflow().add_nodes([AgentNode('A', 'x'), AgentNode('B', 'y')])\nw.run(question)",
        lambda call: call.node.lower(),
    )
    assert [(step.node, step.kind, step.reply, step.error) for step in mas.trace(run)] == [
        ("A", "agent", "a", None),
        ("B", "agent", "b", None),
    ]
    assert mas.trace(run)[0].prompt == "What is 1+1?"


def test_trace_follows_a_tool_loop():
    source = HEAD + (
        "t = ToolRegistry()\nt.register('python_execute')\na = AgentNode('A', 'x', tool_registry=t)\n"
        "Workflow().add_nodes([a, AgentNode('B', 'y')]).run(question)"
    )
    replies = {
        "A": iter([mas.Reply("```python\n1 + 1\n```", 7), mas.Reply("two", 3)]),
        "B": iter([mas.Reply("", 0, error="prompt_too_long")]),
        "python_execute": iter([mas.Reply("2\n")]),
    }
    name = lambda call: call.node if isinstance(call, mas.AgentCall) else call.name
    run, batches = drive(source, lambda call: next(replies[name(call)]), tools=TOOLS)
    first, tool, again, last = mas.trace(run)
    asked = [call for batch in batches for call in batch]
    assert [step.id for step in (first, tool, again, last)] == [call.id for call in asked]
    assert [(step.kind, step.node, step.tokens) for step in (first, tool, again, last)] == [
        ("agent", "A", 7), ("tool", "python_execute", 0), ("agent", "A", 3), ("agent", "B", 0),
    ]  # fmt: skip
    assert [step.parent for step in (first, tool, again, last)] == [None, None, first.id, None]
    assert (tool.prompt, tool.reply) == ("1 + 1", "2\n")
    assert first.prompt == "What is 1+1?" and "2" in again.prompt and again.reply == "two"
    assert (last.reply, last.error) == ("", "prompt_too_long") and first.error is None


NOSY = (
    HEAD
    + """
import asyncio
log = []
class Text:
    def __str__(self):
        log.append(len(log))
        return f"read {len(log)} times"
def note(x):
    log.append(x)
    return "noted"
t = ToolRegistry()
t.register("python_execute")
groups = [EnsembleNode(n, [AgentNode(n + i, "x") for i in "12"], "consensus", AgentNode(n + "J", "j")) for n in "AB"]
agents = [AgentNode(n, "x", tool_registry=t, max_turns=2) for n in "CD"]
late = EnsembleNode("late", [ReflectionNode("R" + a.name, a, 1) for a in agents])
async def ask(node, content):
    return str(node(Context(messages=[Message(content, MessageType.USER_INPUT)])).content)
async def register():
    t.register("note", note)
async def main():
    return await asyncio.gather(ask(EnsembleNode("E", groups), Text()), ask(late, question), register())
print(asyncio.run(main()))
print(log)
"""
)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_code_of_the_script_that_members_would_run_does_not_show_the_order(seed):
    """Contents that log when they are read, and tools that are registered while agents are under way."""
    checked, rng = mas.check(NOSY), random.Random(seed)

    def ended(order):
        run = mas.start(checked, "q", tools=TOOLS)
        while run.result is None:
            replies = {}
            for call in order(run.pending):
                is_first = getattr(call, "parent", None) is None
                tool = f'<tool_call>{{"name": "note", "arguments": {{"x": "{call.id}"}}}}</tool_call>'
                replies[call.id] = tool if is_first and call.node in "CD" else boxed(1)
            run.advance(replies)
        return run.printed, run.result

    assert ended(lambda pending: rng.sample(pending, 1)) == ended(lambda pending: pending)
