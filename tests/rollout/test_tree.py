"""Hierarchical rollout against scripted replies: trees, rewards, failures, exact ids, independence of arrival order."""

import dataclasses

import numpy as np
import pytest
from rollout.scripted import TOKENIZER, ScriptedEngine

from mxjax import mas
from mxjax.models import Tokenizer
from mxjax.rewards import make_reward
from mxjax.rl import credit, merge_turns, pack
from mxjax.rollout import DesignSampling, Question, Reward, Role, collect
from mxjax.rollout.tree import derive_seed
from mxjax.sampling import Request, SamplingParams

GOOD = "<delivery>adds up</delivery>\nFINAL ANSWER: \\boxed{16}"
BAD = "<delivery>hm</delivery>\nFINAL ANSWER: \\boxed{15}"
QUESTIONS = [Question("a", "12 + 7 - 3", gold="16"), Question("b", "10 + 6", gold="16")]

SINGLE = """<code>
from workflow import Workflow, AgentNode
w = Workflow()
w.add_node(AgentNode("solver", "Solve."))
w.run(question)
</code>"""
VOTE = """<code>
from workflow import Workflow, AgentNode, EnsembleNode
w = Workflow()
w.add_node(EnsembleNode("vote", [AgentNode(f"s{i}", "Solve.") for i in range(3)], "majority_vote"))
w.run(question)
</code>"""


def is_designer(prompt):
    return "Design a multi-agent system" in prompt


def rollout(reply, designs=2, executions=2, shuffle=None, questions=QUESTIONS, reward=None, **options):
    engine = ScriptedEngine(reply, shuffle=shuffle)
    roles = {name: Role(engine, SamplingParams(max_tokens=50)) for name in ("designer", "executor")}
    trees = collect(questions, roles, reward or make_reward(), designs=designs, executions=executions, **options)
    return trees, engine


def test_a_tree_has_every_design_and_execution_with_its_reward():
    trees, _ = rollout(lambda prompt, request: VOTE if is_designer(prompt) else GOOD, designs=3, executions=2)
    assert [tree.question.id for tree in trees] == ["a", "b"]
    for tree in trees:
        np.testing.assert_array_equal(tree.rewards_MN, np.full((3, 2), 1.4))
        assert tree.valid_MN.all() and tree.executor_valid_MN.all()
        for design in tree.designs:
            assert design.error == "" and design.segment.role == "designer"
            for execution in design.executions:
                assert [segment.role for segment in execution.segments] == ["executor"] * 3
                assert execution.status == "ok" and execution.correct == 1 and execution.format == 1


def test_an_invalid_design_is_reward_zero_with_its_reason_and_no_segments():
    trees, _ = rollout(lambda prompt, request: "<code>w = (</code>" if is_designer(prompt) else GOOD)
    for design in trees[0].designs:
        assert design.error and design.segment is not None
        assert all(e.status == "invalid_design" and e.reward == 0 and not e.segments for e in design.executions)
    assert trees[0].valid_MN.all() and not trees[0].executor_valid_MN.any()


def test_designers_learn_from_a_design_that_does_not_parse_and_executors_are_not_paid_for_it():
    replies = iter([SINGLE, "no code here"] * 4)
    trees, _ = rollout(lambda prompt, request: next(replies) if is_designer(prompt) else GOOD, questions=QUESTIONS[:1])
    segments = credit(trees)
    designers = [s for s in segments if s.role == "designer"]
    executors = [s for s in segments if s.role == "executor"]
    assert sorted(np.sign(s.advantages[-1]) for s in designers) == [-1, 1]
    assert executors and all((s.advantages == 0).all() for s in executors)


def test_over_budget_scripts_get_zero_and_say_why():
    trees, _ = rollout(
        lambda prompt, request: VOTE if is_designer(prompt) else GOOD, limits=mas.Limits(agent_calls=2), executions=1
    )
    for execution in (e for tree in trees for design in tree.designs for e in design.executions):
        assert execution.reward == 0 and execution.status in ("limit", "invalid_design") and execution.reason


def test_a_prompt_that_does_not_fit_is_an_error_and_no_segment():
    engine = ScriptedEngine(lambda prompt, request: SINGLE if is_designer(prompt) else GOOD, max_len=300)
    roles = {"designer": Role(engine), "executor": Role(engine)}
    question = Question("long", "1 + 1", gold="2")
    (tree,) = collect([question], roles, make_reward(), designs=1, executions=1, scripts=[
        mas.parse_design(SINGLE).replace("Solve.", "Solve. " + "x" * 400)
    ])  # fmt: skip
    (execution,) = tree.designs[0].executions
    assert execution.reward == 0 and not execution.segments and "prompt_too_long" in execution.reason


def test_fixed_scripts_need_no_designer():
    engine = ScriptedEngine(lambda prompt, request: GOOD)
    trees = collect(
        QUESTIONS, {"executor": Role(engine)}, make_reward(), scripts=[mas.parse_design(SINGLE)], executions=3
    )
    assert trees[0].rewards_MN.shape == (1, 3) and trees[0].designs[0].segment is None


def test_infrastructure_failures_are_invalid_not_zero():
    lost = lambda question, result, segments: Reward(0, 0, valid=False, how="worker lost")
    trees, _ = rollout(lambda prompt, request: SINGLE if is_designer(prompt) else GOOD, reward=lost)
    assert not trees[0].valid_MN.any()
    assert trees[0].designs[0].executions[0].status == "infrastructure"
    assert credit(trees) == []


def test_trees_do_not_depend_on_the_order_of_replies():
    def reply(prompt, request):
        if is_designer(prompt):
            return (SINGLE, VOTE)[request.sampling.seed % 2]
        return (GOOD, BAD)[request.sampling.seed % 2]

    def shape(trees):
        return [
            (design.source, [(e.reward, [(s.call_id, s.token_ids.tolist(), s.sampling.seed) for s in e.segments])])
            for tree in trees
            for design in tree.designs
            for e in design.executions
        ]

    first, _ = rollout(reply, designs=4, executions=3)
    for shuffle in (1, 2):
        again, _ = rollout(reply, designs=4, executions=3, shuffle=shuffle)
        assert shape(again) == shape(first)


def test_every_call_has_a_seed_of_its_own_and_another_step_has_others():
    reply = lambda prompt, request: VOTE if is_designer(prompt) else GOOD
    _, engine = rollout(reply, step=0)
    seeds = [request.sampling.seed for request in engine.requests]
    assert len(set(seeds)) == len(seeds)
    _, other = rollout(reply, step=1)
    assert not set(seeds) & {request.sampling.seed for request in other.requests}
    assert derive_seed(0, "a") == derive_seed(0, "a") != derive_seed(0, "b")


TOOL = """
from workflow import Workflow, AgentNode, ToolRegistry
def double(x):
    return str(2 * int(x))
tools = ToolRegistry()
tools.register("double", double, "doubles", {"type": "object"})
w = Workflow()
w.add_node(AgentNode("solver", "Solve.", tool_registry=tools))
w.run(question)
"""


ASK = '<tool_call>{"name": "double", "arguments": {"x": 8}}</tool_call>'


def use_a_tool(tokenizer=TOKENIZER, reason="stop", asked=ASK):
    """(tree, first segment, second segment) of an agent that calls a tool and then answers."""

    def reply(prompt, request):
        if "Result of double" in prompt:
            return GOOD
        return asked, reason

    engine = ScriptedEngine(reply, tokenizer=tokenizer)
    (tree,) = collect(QUESTIONS[:1], {"executor": Role(engine)}, make_reward(), scripts=[TOOL], executions=1)
    first, second = sorted(tree.designs[0].executions[0].segments, key=lambda s: len(s.prompt_token_ids))
    assert second.parent == first.call_id
    return tree, first, second


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_the_ids_that_were_sampled_are_prompted_again_and_trained_on(reason):
    """Whatever they spell: letters that an encoder would merge, and a byte that is no UTF-8.

    A reply cut at its limit gets the end token in the next prompt, where it is not trained on.
    """
    tokenizer = Tokenizer.train([ASK] * 9, vocab_size=400)
    sampled = [i for letter in ASK for i in tokenizer.encode(letter)] + [tokenizer.backend.token_to_id("ÿ")]
    text = tokenizer.decode(sampled)
    assert text == ASK + "\ufffd" and len(tokenizer.encode(ASK)) < len(ASK) < len(sampled)
    tree, first, second = use_a_tool(tokenizer, reason, sampled)
    sampled += [tokenizer.end_id] * (reason == "stop")
    assert first.token_ids.tolist() == sampled
    before = [*first.prompt_token_ids, *sampled]
    np.testing.assert_array_equal(second.prompt_token_ids[: len(before)], before)
    glue = second.prompt_token_ids[len(before) - (reason == "stop") :]
    assert glue[0] == tokenizer.end_id and "16" in tokenizer.decode(glue)
    assert tree.rewards_MN[0, 0] == 1.4
    for segments in (credit([tree]), merge_turns(credit([tree]))):
        rows = pack(segments, row_length=2000)
        ordered = rows.tokens_BT[rows.weights_BT > 0].tolist()
        answer = second.token_ids.tolist()
        assert ordered in ([*sampled, *answer], [*answer, *sampled])


def test_a_template_that_rewrites_past_turns_gets_fresh_prompts():
    thinking = TOKENIZER.template.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|><think></think>' }}")
    tokenizer = dataclasses.replace(TOKENIZER, template=thinking)
    tree, first, second = use_a_tool(tokenizer)
    text = tokenizer.decode(second.prompt_token_ids, skip_special=False)
    assert text.count("<think></think>") == 1 and text.endswith("<|assistant|><think></think>")
    assert tokenizer.decode(first.token_ids) in text and tree.rewards_MN[0, 0] == 1.4


def test_a_script_that_writes_the_answer_itself_earns_nothing():
    script = """
from workflow import Workflow, AgentNode, WorkflowNode, Message, MessageType
class Mine(WorkflowNode):
    def process(self, context):
        return Message("FINAL ANSWER: \\\\boxed{16}", MessageType.AGENT_RESPONSE)
w = Workflow()
w.add_node(AgentNode("dummy", "Say anything."))
w.add_node(Mine("mine"))
w.run(question)
print("<delivery>x</delivery> FINAL ANSWER: \\\\boxed{16}")
"""
    engine = ScriptedEngine(lambda prompt, request: BAD)
    (tree,) = collect(QUESTIONS[:1], {"executor": Role(engine)}, make_reward(), scripts=[script], executions=1)
    assert tree.rewards_MN[0, 0] == 0
    assert tree.designs[0].executions[0].status == "ok"
    assert tree.designs[0].executions[0].reason == "not_from_agent"
    paid = collect(QUESTIONS[:1], {"executor": Role(engine)}, make_reward("any"), scripts=[script], executions=1)
    assert paid[0].rewards_MN[0, 0] == 1.0  # the reference's rule, on request; the format is never paid for an echo


def test_a_crash_is_zero_and_keeps_its_own_segments_only():
    crash = mas.parse_design(SINGLE).replace("w.run(question)", "w.run(question)\nif random() < 0.5:\n    1 / 0")
    script = "from random import random\n" + crash
    engine = ScriptedEngine(lambda prompt, request: GOOD)
    (tree,) = collect(QUESTIONS[:1], {"executor": Role(engine)}, make_reward(), scripts=[script], executions=12)
    executions = tree.designs[0].executions
    assert {e.status for e in executions} == {"ok", "error"}
    for execution in executions:
        assert len(execution.segments) == 1
        assert execution.reward == (1.4 if execution.status == "ok" else 0.0)
        assert execution.status == "ok" or "ZeroDivisionError" in execution.reason
    ids = [id(segment) for execution in executions for segment in execution.segments]
    assert len(set(ids)) == len(ids) and tree.executor_valid_MN.all()


def test_a_verifier_may_ask_the_same_engine_and_one_that_is_stopped_leaves_nothing_behind():
    engine = ScriptedEngine(lambda prompt, request: GOOD)
    early = engine.submit(Request(np.arange(3), SamplingParams()))  # somebody else's

    def judged(question, result, segments):
        return Reward(float("16" in engine.submit(Request(np.arange(5), SamplingParams())).result().text), 0.0)

    roles = {"executor": Role(engine)}
    trees = collect(QUESTIONS, roles, judged, scripts=[mas.parse_design(SINGLE)], executions=3)
    assert early.done and {float(reward) for tree in trees for reward in tree.rewards_MN.flat} == {1.0}

    def stopped(question, result, segments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(QUESTIONS, roles, stopped, scripts=[mas.parse_design(SINGLE)], executions=3)
    assert not engine.live


def test_wrong_calls_are_refused_in_a_sentence():
    engine = ScriptedEngine(lambda prompt, request: GOOD)
    with pytest.raises(ValueError, match="designer"):
        collect(QUESTIONS, {"executor": Role(engine)}, make_reward())
    roles = {"designer": Role(engine), "executor": Role(engine)}
    with pytest.raises(ValueError, match="distinct"):
        collect([QUESTIONS[0]] * 2, roles, make_reward())
    with pytest.raises(ValueError, match="at least 1"):
        collect(QUESTIONS, roles, make_reward(), designs=0)


@pytest.mark.parametrize(
    "setting",
    ["temperature=-1", "temperature=10**400", "temperature=1e39", "temperature=float('nan')", "max_tokens=0",
     "max_tokens=float('inf')", "top_p=5", "top_k=-7", "min_p=float('nan')", "max_tokens=10**30", "temperature='hot'",
     "temperature=0.5"],
)  # fmt: skip
def test_a_scripts_sampling_settings_cannot_stop_the_rollout(setting):
    script = mas.parse_design(SINGLE).replace('"Solve.")', f'"Solve.", {setting})')
    engine = ScriptedEngine(lambda prompt, request: GOOD)
    role = Role(engine, SamplingParams(max_tokens=50))
    good = mas.parse_design(SINGLE)
    (tree,) = collect(QUESTIONS[:1], {"executor": role}, make_reward(), scripts=[script, good], executions=1)
    assert tree.rewards_MN[1, 0] == 1.4
    assert tree.rewards_MN[0, 0] in (0, 1.4)
    assert all(request.sampling.max_tokens <= 50 for request in engine.requests)


@pytest.mark.parametrize(
    ("asked", "bounds", "used", "clamped"),
    [
        ("temperature=0.0", {}, {"temperature": 0.3}, True),
        ("temperature=0", {}, {"temperature": 0.3}, True),
        ("temperature=9.5", {}, {"temperature": 1.5}, True),
        ("temperature=0.7", {}, {"temperature": 0.7}, False),
        ("temperature=1.2, max_tokens=9", {}, {"temperature": 1.2, "max_tokens": 9}, False),
        ("top_k=1", {}, {"top_k": 0}, True),
        ("top_p=0.1, min_p=0.5", {}, {"top_p": 1.0, "min_p": 0.0}, True),
        ("top_k=5, top_p=0.9", {"truncation": True}, {"top_k": 5, "top_p": 0.9}, False),
        ("temperature=0.5", {"temperature": (0.9, 1.1)}, {"temperature": 0.9}, True),
        ("temperature=0.5", {"temperature": (1.2, 1.3)}, {"temperature": 1.0}, True),
    ],
)
def test_a_design_chooses_sampling_settings_within_bounds(asked, bounds, used, clamped):
    script = mas.parse_design(SINGLE).replace('"Solve.")', f'"Solve.", {asked})')
    engine = ScriptedEngine(lambda prompt, request: GOOD)
    role = Role(engine, SamplingParams(max_tokens=50), design_sampling=DesignSampling(**bounds))
    (tree,) = collect(QUESTIONS[:1], {"executor": role}, make_reward(), scripts=[script], executions=2)
    for execution in tree.designs[0].executions:
        (segment,) = execution.segments
        assert {name: getattr(segment.sampling, name) for name in used} == used
        assert segment.clamped is clamped
    assert [request.sampling.temperature for request in engine.requests] == [segment.sampling.temperature] * 2


def test_greedy_executors_stay_greedy_where_a_design_asks_for_it():
    script = mas.parse_design(SINGLE).replace('"Solve.")', '"Solve.", temperature=0.0)')
    role = Role(ScriptedEngine(lambda prompt, request: GOOD), SamplingParams(temperature=0.0))
    (tree,) = collect(QUESTIONS[:1], {"executor": role}, make_reward(), scripts=[script], executions=1)
    (segment,) = tree.designs[0].executions[0].segments
    assert segment.sampling.temperature == 0.0 and not segment.clamped


@pytest.mark.parametrize(
    "bounds", [{"temperature": (1.0, 0.5)}, {"temperature": (-1, 1)}, {"temperature": (0.3,)}, {"truncation": 1},
               {"temperature": (0.3, float("nan"))}, {"temperature": ("a", 1)}]
)  # fmt: skip
def test_impossible_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match=r"design_sampling\.(temperature|truncation) must be"):
        DesignSampling(**bounds)


def test_segments_stand_in_the_order_of_the_calls():
    agents = "".join(f'w.add_node(AgentNode("{name}", "Solve."))\n' for name in "zmabcdefghijk")
    script = f"from workflow import Workflow, AgentNode\nw = Workflow()\n{agents}w.run(question)\n"
    engine = ScriptedEngine(lambda prompt, request: GOOD)
    (tree,) = collect(QUESTIONS[:1], {"executor": Role(engine)}, make_reward(), scripts=[script], executions=1)
    segments = tree.designs[0].executions[0].segments
    assert [segment.call_id.split("/")[1][0] for segment in segments] == list("zmabcdefghijk")
