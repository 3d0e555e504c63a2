"""The library of nodes: who is asked what, in which batches, and what comes out."""

import json

import pytest
from scripts import HEAD, boxed, drive

from mxjax import mas
from mxjax.mas.library import texts

PROMPTS = mas.Prompts()
VOTE = """
from workflow import *
agents = [AgentNode(name=f"S{i}", system_prompt=f"Solve {i}.") for i in range(4)]
node = EnsembleNode("Vote", agents, STRATEGY, **EXTRA)
result = Workflow("w").add_node(node).run(question)
print(result.content, result.sender, result.metadata.get("num_agents"))
"""


def vote(answer, strategy="majority_vote", extra="{}", **options):
    source = VOTE.replace("STRATEGY", repr(strategy)).replace("EXTRA", extra)
    return drive(source, answer, **options)


def agent_script(body, extra=""):
    return f"{HEAD}{extra}\n{body}"


def by_name(replies):
    """Answers each call from a dict by node name; a list is used up in order."""
    left = {name: list(value) if isinstance(value, list) else value for name, value in replies.items()}

    def answer(call):
        value = left[call.node]
        return value.pop(0) if isinstance(value, list) else value

    return answer


# Agents


def test_first_agent_sees_the_question_alone_and_the_delivery_instruction():
    run, batches = drive(HEAD + "Workflow().add_node(AgentNode('A', 'Be brief.')).run(question)", lambda call: boxed(2))
    (call,) = batches[0]
    assert call.messages == [
        {"role": "system", "content": "Be brief." + PROMPTS.delivery_math},
        {"role": "user", "content": "What is 1+1?"},
    ]
    assert (call.node, call.parent, call.sampling) == ("A", None, {})
    assert (run.result.content, run.result.origin_call, run.result.origin_text) == (boxed(2), call.id, boxed(2))
    assert run.result.calls == 1 and run.result.fuel > 0


@pytest.mark.parametrize("task_type", ["math", "code", "text"])
def test_delivery_instruction_follows_the_task_type(task_type):
    source = HEAD + "Workflow().add_node(AgentNode('A', 'x')).run(question)"
    _, batches = drive(source, lambda call: "r", task_type=task_type)
    assert batches[0][0].messages[0]["content"] == "x" + getattr(PROMPTS, f"delivery_{task_type}")


def test_later_agents_see_compact_entries_of_the_earlier_ones():
    source = HEAD + "w = Workflow()\nfor n in 'ABC':\n    w.add_node(AgentNode(n, 'p' + n))\nw.run(question)"
    replies = {"A": "long <delivery>\nkey A\n</delivery> x", "B": "thinking\nFINAL ANSWER: 7\nmore", "C": "done"}
    _, batches = drive(source, by_name(replies))
    user = batches[2][0].messages[1]["content"]
    entries = "[A]:\nkey A\n\n[B]:\n7\n\n"
    assert user == PROMPTS.later_agent.replace("{question}", "What is 1+1?").replace("{entries}", entries)
    assert "thinking" not in user


def test_entry_forms():
    omitted = "<cut>"
    assert texts.entry("a<delivery> d </delivery>FINAL ANSWER: 1", omitted) == "d"
    assert texts.entry("x FINAL ANSWER: \\boxed{1}\ny", omitted) == "\\boxed{1}"
    assert texts.entry("x <solution>print(1)</solution> y", omitted) == "<solution>print(1)</solution>"
    assert texts.entry("x" * 1200, omitted) == "x" * 1200
    assert texts.entry("a" * 200 + "b" * 400 + "c" * 800, omitted) == "a" * 200 + omitted + "c" * 800


def test_sampling_overrides_come_from_the_config_of_the_node():
    source = HEAD + "Workflow().add_node(AgentNode('A', 'x', temperature=0.2, max_tokens=9, junk='z')).run(question)"
    _, batches = drive(source, lambda call: "r")
    assert batches[0][0].sampling == {"temperature": 0.2, "max_tokens": 9}


PYTHON_AGENT = """
from workflow import AgentNode, Workflow, ToolRegistry
from utils.environments.math_env import MathEnvironment
env = MathEnvironment(timeout=120)
tools = ToolRegistry()
tools.register(name="python_execute", func=env.execute, description="Run", parameters={"type": "object"})
a = AgentNode("A", "Use code.", tool_registry=tools, max_turns=TURNS)
print(Workflow().add_node(a).run(question).content)
"""
CODE = "Let me see.\n```python\nprint(1 + 1)\n```"


def test_python_tool_loop_and_parents():
    tools = {"python_execute": mas.Tool(lambda code: "2", "Run", {})}
    replies = iter([CODE, "2", "```python\nprint(3)\n```", "3", boxed(2)])
    run, batches = drive(PYTHON_AGENT.replace("TURNS", "5"), lambda call: next(replies), tools=tools)
    calls = [batch[0] for batch in batches]
    assert [type(call).__name__ for call in calls] == ["AgentCall", "ToolCall", "AgentCall", "ToolCall", "AgentCall"]
    first, tool, second, _, third = calls
    assert (tool.name, tool.arguments) == ("python_execute", {"code": "print(1 + 1)"})
    assert calls[1].session == calls[3].session
    assert (first.parent, second.parent, third.parent) == (None, first.id, second.id)
    assert second.messages == [
        *first.messages,
        {"role": "assistant", "content": CODE},
        {"role": "user", "content": PROMPTS.python_result.replace("{output}", "2")},
    ]
    assert len({call.id for call in calls}) == 5
    assert (run.result.content, run.result.origin_call, run.result.calls) == (boxed(2), third.id, 3)


def test_exhausted_tool_loop_demands_the_answer():
    tools = {"python_execute": mas.Tool(lambda code: "out")}
    run, batches = drive(
        PYTHON_AGENT.replace("TURNS", "2"), lambda call: "out" if isinstance(call, mas.ToolCall) else CODE, tools=tools
    )
    calls = [batch[0] for batch in batches if isinstance(batch[0], mas.AgentCall)]
    assert len(calls) == 3
    assert calls[-1].messages[-1]["content"].endswith(PROMPTS.final_demand)
    assert PROMPTS.final_demand not in calls[1].messages[-1]["content"]
    assert run.result.content == CODE


def test_a_python_fence_is_final_without_the_tool():
    source = HEAD + "Workflow().add_node(AgentNode('A', 'x', tool_registry=ToolRegistry())).run(question)"
    run, batches = drive(source, lambda call: CODE)
    assert (run.result.content, len(batches)) == (CODE, 1)
    run, batches = drive(PYTHON_AGENT.replace("TURNS", "3"), lambda call: CODE)
    assert (run.result.content, len(batches)) == (CODE, 1)


def test_script_tools_bad_json_and_unknown_tools():
    source = agent_script(
        """
def add(a, b):
    if a < 0:
        raise ValueError("negative")
    return {"sum": a + b}
tools = ToolRegistry()
tools.register("add", add, "adds", {"type": "object"})
agent = AgentNode("A", "x", tools)
Workflow().add_node(agent).run(question)
print(tools.list_tools(), tools.call_tool("add", {"a": 1, "b": 2}), tools.get_tool_schemas()[0]["function"]["name"])
"""
    )
    call = '<tool_call>{"name": "%s", "arguments": {"a": %d, "b": 2}}</tool_call>'
    replies = iter([call % ("add", 1), "<tool_call>{bad</tool_call>", call % ("nope", 1), call % ("add", -1), "done"])
    run, batches = drive(source, lambda call: next(replies))
    told = [batch[0].messages[-1]["content"] for batch in batches]
    assert "add" in batches[0][0].messages[0]["content"]
    assert told[1] == PROMPTS.tool_result.replace("{name}", "add").replace("{output}", "{'sum': 3}")
    assert "JSON" in told[2] and "nope" in told[3] and "negative" in told[4]
    assert run.result.content == "done"
    assert run.printed == "['add'] {'sum': 3} add\n"


def test_an_agent_calls_a_host_tool_by_name():
    source = agent_script(
        """
tools = ToolRegistry()
tools.register("search", None, "", {})
Workflow().add_node(AgentNode("A", "x", tools, 3)).run(question)
"""
    )
    asked, queries = [], []

    def search(query, limit=1):
        queries.append((query, limit))
        return f"{limit} results"

    def chat(messages):
        asked.append(messages)
        call = '<tool_call>{"name": "search", "arguments": {"query": "primes", "limit": %s}}</tool_call>'
        return [call % 5, '<tool_call>{"name": "search", "arguments": {"q": 1}}</tool_call>', boxed(7)][len(asked) - 1]

    tool = mas.Tool(search, "finds pages", {"type": "object"})
    result = mas.run(source, "q", chat, tools={"search": tool})
    assert (result.status, result.content, queries) == ("ok", boxed(7), [("primes", 5)])
    assert "finds pages" in asked[0][0]["content"], "the agent is told what the host says of the tool"
    assert asked[1][-1]["content"] == PROMPTS.tool_result.replace("{name}", "search").replace("{output}", "5 results")
    assert "TypeError" in asked[2][-1]["content"] and "'q'" in asked[2][-1]["content"]


def test_failing_tool_is_told_to_the_agent():
    def broken(code):
        raise OSError("no worker")

    asked = []

    def chat(messages):
        asked.append(messages)
        return CODE if len(asked) == 1 else boxed(1)

    result = mas.run(PYTHON_AGENT.replace("TURNS", "3"), "q", chat, tools={"python_execute": mas.Tool(broken)})
    assert result.status == "ok" and "no worker" in asked[1][-1]["content"]


def test_reply_error_becomes_an_error_of_the_node_and_stops_the_workflow():
    source = HEAD + (
        "w = Workflow().add_nodes([AgentNode('A', 'x'), AgentNode('B', 'y')])\n"
        "r = w.run(question)\n"
        "print(r.message_type, r.content, r.sender)"
    )
    run, batches = drive(source, lambda call: mas.Reply("", error="prompt_too_long"))
    assert len(batches) == 1
    assert (run.result.status, run.result.content, run.result.reason) == ("error", "", "prompt_too_long")
    assert run.printed == "MessageType.ERROR {'error': 'prompt_too_long'} A\n"


RETURNED = """
from workflow import *
class N(WorkflowNode):
    def process(self, context):
        return VALUE
Workflow().add_node(N("n")).run(question)
"""


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("Message({'answer': 42})", "{'answer': 42}"),
        ("Message(None)", "None"),
        ("Message(42)", "42"),
        ("Message([1.0, 'a'])", "[1.0, 'a']"),
        ("'text'", "text"),
        ("Message('x' * 900_000)", "x" * 900_000),
    ],
)
def test_what_a_workflow_returns_is_the_text_of_its_message(value, content):
    run, _ = drive(RETURNED.replace("VALUE", value), lambda call: "r")
    assert (run.result.status, run.result.content, run.result.origin_call) == ("ok", content, None)


@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [
        ("None", "error", "must return a Message, not NoneType"),
        ("{'answer': 42}", "error", "must return a Message, not dict"),
        ("[Message('a')]", "error", "must return a Message, not list"),
        ("Message('x' * 2_000_000)", "limit", "string_chars"),
        ("Message(['x' * 900_000] * 30)", "limit", "string_chars"),
    ],
)
def test_what_is_no_message_or_too_large_is_not_returned(value, status, reason):
    run, _ = drive(RETURNED.replace("VALUE", value), lambda call: "r")
    assert (run.result.status, run.result.content) == (status, "") and reason in run.result.reason


def test_only_the_last_run_counts_and_composed_answers_have_no_origin():
    source = HEAD + (
        "a = AgentNode('A', 'x')\nfirst = Workflow().add_node(a).run(question)\n"
        "class N(WorkflowNode):\n"
        "    def process(self, c):\n"
        "        return Message('boxed 42', MessageType.AGENT_RESPONSE)\n"
        "r = Workflow().add_node(N('n')).run(question)\nr.content = 'changed later'"
    )
    run, _ = drive(source, lambda call: boxed(1))
    assert (run.result.status, run.result.content, run.result.origin_call) == ("ok", "boxed 42", None)


def test_origin_is_the_latest_of_equal_replies():
    source = HEAD + "w = Workflow().add_nodes([AgentNode('A', 'x'), AgentNode('B', 'y')])\nw.run(question)"
    run, batches = drive(source, lambda call: boxed(3))
    assert run.result.origin_call == batches[1][0].id


def test_exception_in_the_script_after_a_run_is_an_error_with_its_line():
    run, _ = drive(HEAD + "Workflow().add_node(AgentNode('A', 'x')).run(question)\nx = 1\nx.y", lambda call: "r")
    assert run.result.status == "error" and run.result.reason.startswith("line 4: AttributeError")


def test_exit_keeps_the_result():
    run, _ = drive(HEAD + "Workflow().add_node(AgentNode('A', 'x')).run(question)\nexit()\nboom", lambda call: "r")
    assert run.result.status == "ok"


# Ensembles


def test_members_are_given_out_together_and_the_majority_wins():
    values = {"S0": 1, "S1": 2, "S2": 2, "S3": 3}
    run, batches = vote(lambda call: boxed(values[call.node]))
    assert [call.node for call in batches[0]] == ["S0", "S1", "S2", "S3"] and len(batches) == 1
    assert run.printed == boxed(2) + " Vote 4\n"
    assert run.result.origin_call == batches[0][2].id


def test_equal_answers_in_other_forms_agree_and_first_seen_wins_ties():
    forms = {"S0": "\\boxed{0.5}", "S1": "\\boxed{7}", "S2": "\\boxed{\\frac{1}{2}}", "S3": "\\boxed{ 7 }"}
    run, _ = vote(lambda call: forms[call.node])
    assert run.result.content == "\\boxed{0.5}"


def test_split_votes_go_to_the_judge_and_unanimous_ones_do_not():
    extra = "{'consensus_agent': AgentNode('Judge', 'Decide.')}"
    run, batches = vote(lambda call: boxed(1), extra=extra)
    assert len(batches) == 1
    values = {"S0": 1, "S1": 2, "S2": 2, "S3": 3, "Judge": 9}
    run, batches = vote(lambda call: boxed(values[call.node]), extra=extra)
    judged = batches[1][0].messages[-1]["content"]
    assert run.result.content == boxed(9)
    assert "What is 1+1?" in judged and "Solution 3 (S2)" in judged and boxed(3) in judged


def test_indices_stay_when_a_member_fails():
    extra = "{'consensus_agent': AgentNode('Judge', 'Decide.')}"

    def answer(call):
        if call.node == "S1":
            return mas.Reply("", error="prompt_too_long")
        return boxed({"S0": 1, "S2": 2, "S3": 3, "Judge": 2}[call.node])

    run, batches = vote(answer, extra=extra)
    judged = batches[1][0].messages[-1]["content"]
    assert "Solution 1 (S0)" in judged and "Solution 3 (S2)" in judged and "(S1)" not in judged
    weights = "{'weights': [1, 9, 1, 5]}"
    run, _ = vote(answer, "weighted_vote", weights)
    assert run.result.content == boxed(3)


def test_weighted_vote_and_consensus():
    values = {"S0": 1, "S1": 2, "S2": 2, "S3": 3, "Judge": 5}
    run, _ = vote(lambda call: boxed(values[call.node]), "weighted_vote", "{'weights': [0.9, 0.2, 0.2, 0.1]}")
    assert run.result.content == boxed(1)
    extra = "{'consensus_agent': AgentNode('Judge', 'Decide.')}"
    run, batches = vote(lambda call: boxed(7 if call.node != "Judge" else 5), "consensus", extra)
    assert run.result.content == boxed(5) and len(batches) == 2


def test_all_members_failing_is_an_error():
    run, _ = vote(lambda call: mas.Reply("", error="down"))
    assert run.result.status == "error" and "down" in run.result.reason


def test_code_is_compared_without_comments_and_blank_lines():
    programs = {
        "S0": "<solution>x = 1</solution>",
        "S1": "<solution>print(2)  # two\n\n</solution>",
        "S2": "<solution>\n# comment\nprint(2)\n</solution>",
        "S3": "no program",
    }
    run, _ = vote(lambda call: programs[call.node], task_type="code")
    assert run.result.content == programs["S1"]


@pytest.mark.parametrize(
    "bad",
    ["[], 'majority_vote'", "[AgentNode('A', 'x')], 'nope'", "[AgentNode('A', 'x')], 'consensus'", "[1], 'consensus'"],
)
def test_wrong_ensembles_are_errors_of_the_script(bad):
    run, _ = drive(HEAD + f"def make():\n    EnsembleNode('E', {bad})\nquestion and make()", lambda call: "r")
    assert run.result.status == "error" and run.result.reason.startswith("line 3: ")


# Reflection

REFLECT = """
from workflow import *
solver = AgentNode("Solver", "Solve.")
critic = AgentNode("Critic", "Check.")
node = ReflectionNode("R", solver, EXTRA)
result = Workflow().add_node(node).run(question)
"""
ANSWERS = [boxed(10), "Reworked from the start, I find " + boxed(11), "No: by another way it is " + boxed(12)]


def reflect(critiques, extra="critic_agent=critic", answers=ANSWERS):
    return drive(REFLECT.replace("EXTRA", extra), by_name({"Solver": list(answers), "Critic": list(critiques)}))


def test_reflection_refines_until_the_critic_approves():
    run, batches = reflect(["Wrong. VERDICT: INCORRECT", "VERDICT: CORRECT"])
    assert [batch[0].node for batch in batches] == ["Solver", "Critic", "Solver", "Critic"]
    assert run.result.content == ANSWERS[1]
    assert run.result.origin_call == batches[2][0].id
    refine = batches[2][0].messages[-1]["content"]
    assert boxed(10) in refine and "Wrong. VERDICT: INCORRECT" in refine and "What is 1+1?" in refine


def test_a_critique_that_ends_in_incorrect_is_not_approval():
    run, batches = reflect(["The answer is INCORRECT", "Final verdict: incorrect."])
    assert run.result.content == ANSWERS[2] and len(batches) == 5


def test_self_reflection_and_zero_iterations():
    source = REFLECT.replace("EXTRA", "num_iterations=1")
    run, batches = drive(source, by_name({"Solver": [ANSWERS[0], "VERDICT: INCORRECT", ANSWERS[1]]}))
    assert run.result.content == ANSWERS[1] and len(batches) == 3
    run, batches = reflect([], "num_iterations=0")
    assert len(batches) == 1


def test_reflection_stops_when_nothing_changes():
    same = [boxed(10) + " because of a long argument", boxed(10) + " because of a long argument."]
    run, batches = reflect(["INCORRECT", "INCORRECT"], answers=same)
    assert len(batches) == 3 and run.result.content == same[1]


def test_own_prompts_keep_their_braces_and_are_filled_once():
    extra = (
        r"reflection_prompt='Use \\boxed{x} {unknown} {0}: {question} | {response}', critic_agent=critic, "
        r"refinement_prompt='{{refine}} {reflection} {history}', num_iterations=1"
    )
    answers = ["{question} {response}", "{reflection} other words entirely"]
    run, batches = reflect(["{history} bad: INCORRECT"], extra, answers)
    assert batches[1][0].messages[-1]["content"] == r"Use \boxed{x} {unknown} {0}: What is 1+1? | {question} {response}"
    assert batches[2][0].messages[-1]["content"] == "{{refine}} {history} bad: INCORRECT "
    assert run.result.content == answers[1]


def test_history_is_included_on_request():
    extra = "critic_agent=critic, include_history=True, num_iterations=2"
    _, batches = reflect(["first INCORRECT", "second INCORRECT"], extra)
    assert "first INCORRECT" in batches[4][0].messages[-1]["content"]


@pytest.mark.parametrize(
    ("critique", "approved"),
    [
        ("VERDICT: CORRECT", True),
        ("Final verdict: **CORRECT**.", True),
        ("VERDICT: INCORRECT", False),
        ("verdict: incorrect", False),
        ("VERDICT: NOT CORRECT", False),
        ("VERDICT: CORRECT ... no wait. VERDICT: INCORRECT", False),
        ("VERDICT: INCORRECT at first; VERDICT: CORRECT", True),
        ("The solution is correct.", True),
        ("The solution is not correct.", False),
        ("The solution is INCORRECT", False),
        ("This isn't correct", False),
        ("I cannot tell whether it is correct.", False),
        ("It is correct in step 1, but the sum is wrong.", False),
        ("", False),
        ("correctly done", False),
    ],
)
def test_verdicts(critique, approved):
    assert texts.approves(critique) is approved


# Debate and router


def test_debate_rounds_then_judge():
    source = HEAD + (
        "d = [AgentNode(n, 'p') for n in ('X', 'Y')]\n"
        "Workflow().add_node(DebateNode('D', d, AgentNode('J', 'j'), 2)).run(question)"
    )
    run, batches = drive(source, lambda call: f"{call.node} says {len(call.messages[-1]['content'])}")
    assert [[call.node for call in batch] for batch in batches] == [["X", "Y"], ["X", "Y"], ["J"]]
    assert batches[0][0].messages[-1]["content"] == "What is 1+1?"
    second = batches[1][0].messages[-1]["content"]
    assert "=== Round 1 ===" in second and "Agent 2 (Y):\nY says" in second
    judged = batches[2][0].messages[-1]["content"]
    assert judged.count("X says") == judged.count("Y says") == 1
    assert run.result.origin_call == batches[2][0].id


def test_default_judge_is_the_first_debater_and_a_failure_is_shown():
    source = HEAD + (
        "d = [AgentNode(n, 'p') for n in ('X', 'Y')]\n"
        "Workflow().add_node(DebateNode('D', d, num_rounds=1)).run(question)"
    )
    run, batches = drive(source, lambda call: mas.Reply("", error="boom") if call.node == "Y" else "ok")
    assert batches[1][0].node == "X" and "boom" in batches[1][0].messages[-1]["content"]
    assert run.result.status == "ok"


@pytest.mark.parametrize(
    ("routing", "expected"),
    [("lambda c: 'b'", "B"), ("lambda c: 'zzz'", "A"), ("lambda c: 1 / 0", "A"), ("lambda c: []", "A"), ("None", "A")],
)
def test_router(routing, expected):
    source = HEAD + (
        f"r = {{'default': AgentNode('A', 'x'), 'b': AgentNode('B', 'y')}}\n"
        f"Workflow().add_node(RouterNode('R', r, {routing})).run(question)"
    )
    _, batches = drive(source, lambda call: "r")
    assert [call.node for call in batches[0]] == [expected]


@pytest.mark.parametrize(
    ("question", "flag", "node"),
    [("Find the Prime", "False", "P"), ("Find the Prime", "True", "D"), ("no", "False", "D")],
)
def test_keyword_router(question, flag, node):
    source = HEAD + (
        f"routes = {{'prime': AgentNode('P', 'x')}}\n"
        f"r = create_keyword_router('K', routes, AgentNode('D', 'y'), case_sensitive={flag})\n"
        f"Workflow().add_node(r).run(question)"
    )
    _, batches = drive(source, lambda call: "r", question=question)
    assert batches[0][0].node == node


# Workflows and graphs


def test_conditional_workflow():
    source = HEAD + (
        "w = ConditionalWorkflow('c')\nw.add_node(AgentNode('A', 'x'))\n"
        "w.add_node(AgentNode('B', 'x'), condition=lambda c: 'yes' in c.get_latest_message().content)\n"
        "w.add_node(AgentNode('C', 'x'), lambda c: len(c.messages) > 1)\nw.run(question)"
    )
    _, batches = drive(source, by_name({"A": "no", "B": "b", "C": "c"}))
    assert [batch[0].node for batch in batches] == ["A", "C"]
    _, batches = drive(source, by_name({"A": "yes", "B": "b", "C": "c"}))
    assert [batch[0].node for batch in batches] == ["A", "B", "C"]


def test_loop_workflow():
    source = HEAD + (
        "w = LoopWorkflow(max_iterations=5)\nw.add_node(AgentNode('A', 'x'))\n"
        "w.set_loop_condition(lambda c: 'stop' not in str(c.get_latest_message().content))\nw.run(question)"
    )
    _, batches = drive(source, by_name({"A": ["go", "go", "stop", "never"]}))
    assert len(batches) == 3
    _, batches = drive(source, lambda call: "go")
    assert len(batches) == 5


GRAPH = """
from workflow import *
g = AgentGraph("g", max_steps=MAX)
for n in ("plan", "solve", "check", "end"):
    g.add_node(n, AgentNode(n, "p"))
g.set_entry_point("plan")
g.add_edge("plan", "solve")
g.add_edge("solve", "check")
EDGES
result = g.run(question)
print(result.sender)
"""


@pytest.mark.parametrize(
    ("edges", "walk"),
    [
        ("g.set_finish_point('check')", "plan solve check"),
        ("", "plan solve check"),
        (
            "g.add_edge('check', 'solve', condition=lambda c: len(c.messages) < 5)\ng.add_edge('check', 'end')",
            "plan solve check solve check end",
        ),
        (
            "g.add_conditional_edges('check', lambda c: 'solve' if len(c.messages) < 5 else 'end')",
            "plan solve check solve check end",
        ),
        (
            "g.add_conditional_edges('check', lambda c: len(c.messages) < 5, {True: 'solve', False: 'end'})",
            "plan solve check solve check end",
        ),
        ("g.add_conditional_edges('check', lambda c: 'END')", "plan solve check"),
        ("g.add_edge('check', 'plan')", "plan solve check plan solve check plan"),
    ],
)
def test_agent_graph(edges, walk):
    run, batches = drive(GRAPH.replace("EDGES", edges).replace("MAX", "7"), lambda call: "r")
    assert [batch[0].node for batch in batches] == walk.split()
    assert run.printed == walk.split()[-1] + "\n" and run.result.status == "ok"


def test_simple_chain_and_unknown_target():
    source = HEAD + "create_simple_chain(('a', AgentNode('A', 'x')), ('b', AgentNode('B', 'y'))).run(question)"
    _, batches = drive(source, lambda call: "r")
    assert [batch[0].node for batch in batches] == ["A", "B"]
    run, _ = drive(GRAPH.replace("EDGES", "g.add_edge('check', 'nowhere')").replace("MAX", "9"), lambda call: "r")
    assert run.result.status == "error" and "nowhere" in run.result.reason


BRANCHES = """
from workflow import *
g = AgentGraph("g", max_steps=MAX)
for n in "abcdefz":
    g.add_node(n, AgentNode(n, "p"))
g.set_entry_point("a")
EDGES
result = g.run(question)
print(result.sender, [m.sender for m in g.context.messages[1:]])
"""


def branches(edges, most=20, answer=lambda call: "r"):
    """The batches in which the nodes of a graph are called, and the sender of its result."""
    text = "\n".join(f"g.add_edge({edge[0]!r}, {edge[1]!r})" for edge in edges.split() if "." not in edge)
    text += "".join(f"\ng.set_finish_point({edge[0]!r})" for edge in edges.split() if "." in edge)
    run, batches = drive(BRANCHES.replace("EDGES", text).replace("MAX", str(most)), answer)
    assert run.result.status == "ok", run.result
    return " ".join("".join(call.node for call in batch) for batch in batches), run.printed.split()[0]


@pytest.mark.parametrize(
    ("edges", "most", "walk", "last"),
    [
        ("ab ac ad bz cz dz", 20, "a bcd z", "z"),  # fan out and join
        ("ab ac bz cd dz", 20, "a bc d z", "z"),  # the short branch waits where they meet
        ("ab ac bd ce dz ez", 20, "a bc de z", "z"),
        ("ab ac bd be cf dz ez fz", 20, "a bc def z", "z"),  # a branch in a branch
        ("ab ac", 20, "a bc", "c"),  # branches that never meet
        ("ab ac cd b.", 20, "a bc d", "b"),  # a finish point tells the result
        ("ab ac ba ca", 6, "a bc a bc", "c"),  # a loop over branches
        ("ab ac bc cb bd", 5, "a bc cd", "d"),  # branches that lead to each other
        ("ab ab bz", 20, "a b z", "z"),  # the same edge twice is one
        ("ab ac bz cz", 2, "a b", "b"),  # max_steps counts nodes
    ],
)
def test_edges_without_a_condition_are_branches_that_go_on_together(edges, most, walk, last):
    assert branches(edges, most) == (walk, last)


def test_branches_do_not_see_each_other_and_the_join_sees_all():
    seen = {}

    def answer(call):
        seen[call.node] = call.messages[-1]["content"]
        return f"reply-{call.node}"

    branches("ab ac bz cd dz", answer=answer)
    assert "reply-a" in seen["b"] and "reply-a" in seen["c"]
    assert "reply-b" not in seen["c"] and "reply-c" not in seen["b"]
    assert [name for name in "abcd" if f"reply-{name}" in seen["z"]] == list("abcd")


def test_a_branch_goes_on_by_what_its_own_node_said_and_an_error_ends_the_walk():
    source = BRANCHES.replace("MAX", "9").replace(
        "EDGES",
        "said = lambda c: c.get_latest_message().content == 'yes'\n"
        "g.add_edge('a', 'b').add_edge('a', 'c').add_edge('b', 'd', said).add_edge('b', 'END')\n"
        "g.add_edge('c', 'e', said).add_edge('c', 'END')",
    )
    run, batches = drive(source, by_name({"a": "r", "b": "yes", "c": "no", "d": "r"}))
    assert [[call.node for call in batch] for batch in batches] == [["a"], ["b", "c"], ["d"]]
    run, _ = drive(source, lambda call: mas.Reply("", error="lost") if call.node == "c" else "yes")
    assert (run.result.status, run.result.reason) == ("error", "lost")


CUSTOM = """
from workflow import *
class Twice(WorkflowNode):
    def __init__(self, name, agent, **config):
        super().__init__(name, **config)
        self.agent = agent
    def process(self, context):
        self.logger.info("running")
        first = self.agent(context)
        second = self.agent(context)
        context.set_state("seen", context.get_state("seen", 0) + 1)
        both = first.content + second.content
        return Message(content=both, message_type=MessageType.AGENT_RESPONSE, metadata={"n": 2})
class Loud(AgentNode):
    def process(self, context):
        made = super().process(context)
        made.content = made.content.upper()
        return made
"""


def test_user_nodes():
    body = CUSTOM + (
        "n = Twice('T', AgentNode('A', 'x'))\n"
        "r = Workflow().add_node(n).run(question, initial_state={'seen': 4})\n"
        "print(r.content, r.sender, r.metadata)"
    )
    run, batches = drive(body, by_name({"A": ["a", "b"]}))
    assert run.printed == "ab T {'n': 2}\n" and len(batches) == 2
    run, _ = drive(CUSTOM + "print(Workflow().add_node(Loud('L', 'x')).run(question).content)", lambda call: "quiet")
    assert run.printed == "QUIET\n" and run.result.origin_call is None


def test_user_nodes_in_an_ensemble_are_asked_together_too():
    body = CUSTOM + (
        "ns = [Twice(f'T{i}', AgentNode(f'A{i}', 'x')) for i in range(3)]\n"
        "Workflow().add_node(EnsembleNode('E', ns, 'majority_vote')).run(question)"
    )
    _, batches = drive(body, lambda call: boxed(1))
    assert [[call.node for call in batch] for batch in batches] == [["A0", "A1", "A2"]] * 2


def test_failing_user_node_becomes_an_error_message():
    body = HEAD + (
        "class Bad(WorkflowNode):\n"
        "    def process(self, c):\n"
        "        return 1 / 0\n"
        "r = Workflow().add_node(Bad('b')).run(question)\n"
        "print(r.content)"
    )
    run, _ = drive(body, lambda call: "r")
    assert run.result.status == "error" and "division by zero" in run.result.reason
    body = HEAD + "r = Workflow().add_node(WorkflowNode('w')).run(question)"
    assert "process" in drive(body, lambda call: "r")[0].result.reason


def test_messages_and_contexts():
    source = (
        HEAD
        + """
m = Message("hi", MessageType.INTERMEDIATE, {"k": 1}, sender="s")
c = Context()
c.add_message(Message(content="q", message_type=MessageType.USER_INPUT))
c.add_message(m)
c.set_state("a", 1)
print(m.to_dict(), Message.from_dict(m.to_dict()).content, c.get_latest_message().sender)
print(c.get_latest_message(MessageType.USER_INPUT).content, len(c.get_messages_by_type(MessageType.INTERMEDIATE)))
print(c.get_state("a"), c.get_state("b", 2))
print(c.messages[0].message_type == MessageType.USER_INPUT, c.messages[1].message_type, c.metadata)
a = AgentNode("A", "x")
print(a(c).content, len(c.messages), c.messages[-1].sender, a.name, a.max_turns)
Workflow().add_node(a).run(question)
"""
    )
    run, batches = drive(source, lambda call: "reply")
    assert run.printed == (
        "{'content': 'hi', 'message_type': 'intermediate', 'metadata': {'k': 1}, 'sender': 's', "
        "'recipient': None} hi s\n"
        "q 1\n1 2\nTrue MessageType.INTERMEDIATE {}\nreply 3 A A 10\n"
    )
    assert batches[0][0].messages[-1]["content"] == "q"


def test_asyncio_gather_over_agents_is_one_batch():
    source = (
        HEAD
        + """
import asyncio
agents = [AgentNode(f"A{i}", "x") for i in range(3)]
async def ask(agent):
    c = Context()
    c.add_message(Message(question, MessageType.USER_INPUT))
    return agent(c).content
async def main():
    return await asyncio.gather(*[ask(a) for a in agents])
answers = asyncio.run(main())
print(answers)
Workflow().add_node(agents[0]).run(" ".join(answers))
"""
    )
    run, batches = drive(source, lambda call: call.node.lower())
    assert [len(batch) for batch in batches] == [3, 1]
    assert run.printed == "['a0', 'a1', 'a2']\n"


def test_compaction():
    long = "x" * 20_000
    omitted = PROMPTS.omitted
    assert texts.compact("y" * 10_000, "math", omitted) == "y" * 10_000
    assert texts.compact(f"{long}<delivery>key</delivery>{long}\\boxed{{5}}", "math", omitted) == "key\n\n\\boxed{5}"
    short = texts.compact(long + "\\boxed{\\frac{1}{2}}" + long, "math", omitted)
    assert short.endswith("\\boxed{\\frac{1}{2}}") and len(short) < 1000
    assert "<solution>p</solution>" in texts.compact(long + "<solution>p</solution>", "code", omitted)
    assert len(texts.compact(long, "math", omitted)) <= 3000
    assert len(texts.compact_critique(long + "VERDICT: INCORRECT", omitted)) <= 1500
    assert texts.compact_critique(long + "VERDICT: INCORRECT", omitted).endswith("VERDICT: INCORRECT")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("0.5", "\\frac{1}{2}", True), ("1,234", "1234", True), ("500", "502", False), ("2.0", "2", True),
        ("x + 1", "x+1", True), ("007", "7", True),
        ("1/0", "1", False), ("$7$", "7.", True), ("9" * 50, "9" * 49 + "8", False), ("0.3333333333", "1/3", False),
    ],
)  # fmt: skip
def test_normalised_answers(a, b, same):
    assert (texts.normalise(a) == texts.normalise(b)) is same


PROGRAMS = {"a": "print(1 + 1)", "b": "print( 2 )  # two", "c": "print(3)", "d": "crash()", "e": "crash(1)"}
OUTPUTS = {"print(1 + 1)": "2\n", "print( 2 )  # two": "2  \n\n", "print(3)": "3"}


def vote_on_programs(names, **options):
    agents = ", ".join(f"AgentNode('{name}', 'x')" for name in names)
    source = HEAD + f"Workflow().add_node(EnsembleNode('E', [{agents}], 'majority_vote')).run(question)"

    def answer(call):
        if isinstance(call, mas.ToolCall):
            output = OUTPUTS.get(call.arguments["code"])
            return mas.Reply("", error="NameError") if output is None else call.arguments["stdin"] + output
        return f"<solution>{PROGRAMS[call.node]}</solution>"

    tools = {"run_program": mas.Tool()}
    return drive(
        source, answer, task_type="code", **{"tools": tools, "examples": ({"stdin": "x"}, {"stdin": "y"}), **options}
    )


def test_programs_vote_by_what_they_print_for_the_public_examples():
    run, batches = vote_on_programs("cabde")
    assert "print(1 + 1)" in run.result.content
    ran = [call for batch in batches for call in batch if isinstance(call, mas.ToolCall)]
    assert len(ran) == 8 and {call.arguments["stdin"] for call in ran} == {"x", "y"}
    assert len(batches[1]) == 5, "the programs run side by side"
    assert mas.replay(json.loads(json.dumps(mas.record(run)))).result == run.result


@pytest.mark.parametrize("options", [{"examples": ()}, {"tools": {}}, {"limits": mas.Limits(tool_calls=3)}])
def test_programs_vote_by_their_text_where_they_cannot_be_run(options):
    run, batches = vote_on_programs("cab", **options)
    assert "print(3)" in run.result.content and len(batches) == 1


def test_votes_inside_a_group_are_bounded_by_its_agents_and_not_by_the_tool_calls_of_the_script():
    inner = ", ".join(
        f"EnsembleNode('E{i}', [AgentNode('{i}-' + n, 'x') for n in 'cab'], 'majority_vote')" for i in range(6)
    )
    source = HEAD + f"Workflow().add_node(EnsembleNode('all', [{inner}], 'majority_vote')).run(question)"

    def answer(call):
        if isinstance(call, mas.ToolCall):
            return call.arguments["stdin"] + OUTPUTS[call.arguments["code"]]
        return f"<solution>{PROGRAMS[call.node[-1]]}</solution>"

    run, batches = drive(
        source, answer, task_type="code", tools={"run_program": mas.Tool()},
        examples=[{"stdin": text} for text in "xyz"], limits=mas.Limits(tool_calls=9),
    )  # fmt: skip
    assert run.result.status == "ok" and "print(1 + 1)" in run.result.content
    assert sum(isinstance(call, mas.ToolCall) for batch in batches for call in batch) == 6 * 3 * 3


def test_programs_that_say_the_same_are_not_run():
    run, batches = vote_on_programs("aaa")
    assert "print(1 + 1)" in run.result.content and len(batches) == 1


def test_a_script_sees_what_it_may_still_spend():
    source = HEAD + (
        "a = AgentNode('A', 'x')\nprint(calls_left(), tokens_left())\na(Context())\n"
        "print(calls_left(), tokens_left())\n"
        "import workflow\nprint(workflow.calls_left())"
    )
    run, _ = drive(source, lambda call: mas.Reply("r", tokens=30), limits=mas.Limits(agent_calls=5, reply_tokens=100))
    assert run.printed == "5 100\n4 70\n4\n"


def test_no_call_is_given_out_once_the_tokens_are_spent():
    source = HEAD + "a = AgentNode('A', 'x')\nwhile True: a(Context())"
    run, batches = drive(source, lambda call: mas.Reply("r", tokens=30), limits=mas.Limits(reply_tokens=60))
    assert (run.result.status, run.result.reason, run.result.calls, len(batches)) == ("limit", "reply_tokens", 2, 2)


@pytest.mark.parametrize("most", [0, 3])
def test_no_tool_call_is_given_out_beyond_their_limit(most):
    source = HEAD + "t = ToolRegistry()\nt.register('search')\nwhile True: t.call_tool('search', {'q': 'x'})"
    tools = {"search": mas.Tool()}
    run, batches = drive(source, lambda call: "r", tools=tools, limits=mas.Limits(tool_calls=most))
    assert (run.result.status, run.result.reason, len(batches)) == ("limit", "tool_calls", most)
    agent = PYTHON_AGENT.replace("TURNS", "9")
    tools = {"python_execute": mas.Tool()}
    run, _ = drive(agent, lambda call: CODE, tools=tools, limits=mas.Limits(tool_calls=most))
    assert (run.result.status, run.result.reason, run.result.calls) == ("limit", "tool_calls", most + 1)


@pytest.mark.parametrize(("limits", "turns"), [({}, 6), ({"agent_turns": 3}, 4), ({"agent_tokens": 40}, 3)])
def test_one_agent_is_limited_in_turns_and_tokens(limits, turns):
    source = HEAD + (
        "t = ToolRegistry()\nt.register('python_execute')\n"
        "Workflow().add_node(AgentNode('A', 'x', tool_registry=t, max_turns=5)).run(question)"
    )

    def answer(call):
        return "out" if isinstance(call, mas.ToolCall) else mas.Reply("```python\n1\n```", tokens=20)

    run, _ = drive(source, answer, tools={"python_execute": mas.Tool()}, limits=mas.Limits(**limits))
    assert run.result.calls == turns and run.result.status == "ok"


def test_a_tool_gets_plain_data_that_the_script_cannot_change_afterwards():
    source = HEAD + (
        "t = ToolRegistry()\nt.register('search')\nx = [1, 'a\\ud800', {'k': None}]\n"
        "try:\n    t.call_tool('search', {'q': t})\nexcept TypeError as e:\n    print(e)\n"
        "t.call_tool('search', {'q': x})\nx.append(2)"
    )
    run, _ = drive(source, lambda call: "found", tools={"search": mas.Tool()})
    ((call, _),) = run.answered
    assert call.arguments == {"q": [1, "a\ufffd", {"k": None}]}
    assert "not a ToolRegistry" in run.printed


def test_what_leaves_a_script_is_well_formed_text():
    source = (
        HEAD + "a = AgentNode('A' + chr(0xd800), chr(0xdc00))\nprint(chr(0xdfff))\n"
        "Workflow().add_node(a).run('q' + chr(0xd800))"
    )
    run, batches = drive(source, lambda call: "\ud83d\ude00 \ud800")
    texts = [run.result.content, run.printed, batches[0][0].node, *(item["content"] for item in batches[0][0].messages)]
    assert all(text.encode("utf-8") for text in texts) and run.result.content == "\U0001f600 \ufffd"
