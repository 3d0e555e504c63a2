"""Groups whose members may make more calls than are left: fair shares, and nothing depends on the order of replies."""

import dataclasses
import hashlib
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripts import HEAD, boxed, drive

from mxjax import mas
from mxjax.mas.library.groups import shares

TOOLS = {"python_execute": mas.Tool()}
CODE = "```python\n1\n```"
SOLVERS = (
    HEAD
    + """
t = ToolRegistry()
t.register("python_execute")
class Empty(AgentNode):
    pass
class Solver(AgentNode):
    def __init__(self, name):
        super().__init__(name, "solve", t)
        self.note = name
    def shout(self):
        return self.note.upper()
"""
)
TREE = (
    SOLVERS
    + """
def solver(name):
    return Solver(name)
deep = EnsembleNode("deep", [EnsembleNode("d1", [solver("a"), solver("b")]), solver("c")], "consensus", solver("dj"))
two = EnsembleNode("two", [solver("d"), ReflectionNode("r", solver("e"), 1, critic_agent=Empty("f", "x", t))])
debate = DebateNode("debate", [solver("g"), Empty("h", "x", t)])
g = AgentGraph("g").add_node("in", solver("in")).add_node("l", deep).add_node("m", two).add_node("r", debate)
g.add_edge("in", "l").add_edge("in", "m").add_edge("in", "r")
first = EnsembleNode("first", [solver(f"s{i}") for i in range(6)])
print(calls_left())
Workflow("w").add_node(first).run(question)
print(calls_left())
result = g.run(question)
print(calls_left(), result.content)
"""
)


def fixed_reply(call, salt):
    """A reply that is a function of the call and `salt`; members differ in how often they use their tool."""
    digest = hashlib.sha256(f"{salt} {call.id}".encode()).digest()
    if isinstance(call, mas.ToolCall):
        return mas.Reply(f"ran {digest[1]}")
    if digest[0] % 23 == 0:
        return mas.Reply("", error="prompt_too_long")
    return mas.Reply(CODE if digest[0] % 8 < 5 else boxed(digest[2] % 3))


def finish(pick, limit, salt, fuel=1_000_000):
    """The result, what was printed and every call with its messages, with replies arriving as `pick` chooses."""
    run = mas.start(mas.check(TREE), "q", tools=TOOLS, limits=mas.Limits(agent_calls=limit, fuel=fuel))
    asked = list(run.pending)
    while run.result is None:
        assert run.pending
        asked += run.advance({call.id: fixed_reply(call, salt) for call in pick(run.pending)})
        assert sum(isinstance(call, mas.AgentCall) for call in asked) <= limit
    told = {call.id: call.messages for call in asked if isinstance(call, mas.AgentCall)}
    assert len({call.id for call in asked}) == len(asked)
    return run.result, run.printed, told


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), short=st.integers(-3, 100), batch=st.integers(1, 5), salt=st.integers(0, 10**6))
@example(seed=0, short=7, batch=1, salt=31)  # an ensemble around a group must not spend what others were given
@example(seed=0, short=17, batch=2, salt=50)
def test_arrival_order_does_not_matter_where_calls_are_short(seed, short, batch, salt):
    needed = finish(lambda pending: pending, 1000, salt)
    limit = max(0, needed[0].calls - short)
    rng = random.Random(seed)
    expected = finish(lambda pending: pending, limit, salt)
    assert finish(lambda pending: rng.sample(pending, min(len(pending), batch)), limit, salt) == expected
    result = expected[0]
    if limit >= needed[0].calls:  # no call that is left is kept from who needs it
        assert (dataclasses.replace(result, fuel=needed[0].fuel), expected[2]) == (needed[0], needed[2])
    else:
        assert (result.status, result.reason, result.calls) == ("limit", "agent_calls", limit)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), limit=st.integers(10, 80), fuel=st.integers(400, 3500), salt=st.integers(0, 10**6))
def test_arrival_order_does_not_matter_where_members_run_out_of_fuel(seed, limit, fuel, salt):
    rng = random.Random(seed)
    expected = finish(lambda pending: pending, limit, salt, fuel)
    assert finish(lambda pending: rng.sample(pending, 1), limit, salt, fuel) == expected


@settings(max_examples=200, deadline=None)
@given(bounds=st.lists(st.integers(1, 40), min_size=1, max_size=12), left=st.integers(0, 200))
def test_shares_are_fair_and_leave_nothing(bounds, left):
    given_out = shares(bounds, left)
    assert sum(given_out) == min(left, sum(bounds))
    short = [share for share, bound in zip(given_out, bounds) if share < bound]
    assert all(share <= bound for share, bound in zip(given_out, bounds))
    assert not short or max(given_out) - min(short) <= 1


@pytest.mark.parametrize("made", ["AgentNode(n, 'x', t)", "Empty(n, 'x', t)", "Solver(n)"])
def test_six_agents_at_the_default_turns_do_not_wait_for_the_slowest(made):
    source = f"{SOLVERS}e = EnsembleNode('E', [{made} for n in 'ABCDEF'])\nWorkflow().add_node(e).run(question)"
    run = mas.start(mas.check(source), "q", tools=TOOLS)
    slow = run.pending[0].id
    for _ in range(10):  # ten of the 64 calls are the first share of each
        (call,) = [call for call in run.pending if call.id.startswith("workflow/E/F")]
        run.advance({call.id: CODE})
        (tool,) = [call for call in run.pending if isinstance(call, mas.ToolCall)]
        new = run.advance({tool.id: "1"})
    assert new == () or new[0].node == "F"
    assert slow in [call.id for call in run.pending]


def test_a_member_that_used_its_share_gets_what_the_others_left():
    source = f"{SOLVERS}e = EnsembleNode('E', [Solver(n) for n in 'ABC'])\nWorkflow().add_node(e).run(question)"
    run = mas.start(mas.check(source), "q", tools=TOOLS, limits=mas.Limits(agent_calls=9))
    turns = {"A": 5, "B": 1, "C": 3}

    def answer(call):
        if isinstance(call, mas.ToolCall):
            return "1"
        turns[call.node] -= 1
        return CODE if turns[call.node] else boxed(1)

    while len(run.pending) > 1:  # A waits with its share of three used, until B and C have ended
        call = next(call for call in run.pending if getattr(call, "node", "A") == "A" or len(run.pending) < 3)
        run.advance({call.id: answer(call)})
    while run.result is None:
        run.advance({call.id: answer(call) for call in run.pending})
    assert (run.result.status, run.result.calls, turns) == ("ok", 9, {"A": 0, "B": 0, "C": 0})


@pytest.mark.parametrize(
    ("body", "in_rounds"),
    [
        ("def process(self, c):\n        return super().process(c)", True),
        ("def __call__(self, c):\n        return super().__call__(c)", True),
        ("def helper(self):\n        return 1", False),
    ],
)
def test_members_that_run_script_code_go_on_in_rounds(body, in_rounds):
    source = (
        f"{SOLVERS}class Own(AgentNode):\n    {body}\n"
        "e = EnsembleNode('E', [Own(n, 'x', t, 2) for n in 'AB'])\nWorkflow().add_node(e).run(question)"
    )
    run = mas.start(mas.check(source), "q", tools=TOOLS)
    new = run.advance({run.pending[0].id: CODE})
    assert len(new) == (not in_rounds), "the tool call of the first member waits for the second's reply, or not"
    while run.result is None:
        run.advance({call.id: "1" if isinstance(call, mas.ToolCall) else boxed(1) for call in run.pending})
    assert run.result.status == "ok"


def test_an_agent_without_a_usable_tool_counts_as_one_call_whatever_its_turns():
    """Five such agents fit in five calls, so that nothing is shared out and the sixth agent's call fits too."""
    source = (
        f"{SOLVERS}none = ToolRegistry()\nnone.register('nowhere')\n"
        "e = EnsembleNode('E', [AgentNode(n, 'x', none if n > 'B' else None, 30) for n in 'ABCDE'])\n"
        "import asyncio\n"
        "async def ask(node):\n    return node(Context(messages=[Message(question, MessageType.USER_INPUT)])).content\n"
        "async def main():\n    return await asyncio.gather(ask(e), ask(AgentNode('F', 'x')))\n"
        "print(asyncio.run(main()))\nWorkflow().run(question)"
    )
    _, batches = drive(source, lambda call: boxed(1), tools=TOOLS, limits=mas.Limits(agent_calls=6))
    assert [[call.node for call in batch] for batch in batches] == [list("ABCDEF")]


def test_more_members_than_calls_fail_before_a_call_is_made():
    source = f"{SOLVERS}e = EnsembleNode('E', [Solver(n) for n in 'ABCD'])\nWorkflow().add_node(e).run(question)"
    run, batches = drive(source, lambda call: boxed(1), tools=TOOLS, limits=mas.Limits(agent_calls=3))
    assert (run.result.status, run.result.reason, batches) == ("limit", "agent_calls", [])
