"""Cold start: which tokens are trained, which examples a step takes, and what a wrong file gets."""

import json

import numpy as np
import pytest
from rollout.scripted import ScriptedEngine
from support import sandbox

from mxjax.cold_start import sft
from mxjax.cold_start.sft import (
    batch_indices,
    load_examples,
    read_conversations,
    sampled_segments,
    segment,
    segments_of,
)
from mxjax.config import default_config
from mxjax.errors import UserError
from mxjax.models import Tokenizer
from mxjax.rollout import Question, Role
from mxjax.run import Run
from mxjax.workdir import Workdir

TOKENIZER = Tokenizer.byte_level()


def message(role, content):
    return {"role": role, "content": content}


def test_exactly_the_assistant_turns_and_their_end_tokens_are_trained():
    conversation = [
        message("system", "s"), message("user", "ask"), message("assistant", "one"),
        message("user", "more"), message("assistant", "two"),
    ]  # fmt: skip
    made = segment(TOKENIZER, conversation)
    trained = made.tokens[made.weights > 0].tolist()
    end = TOKENIZER.end_id
    assert trained == [*TOKENIZER.encode("one"), end, *TOKENIZER.encode("two"), end]
    assert made.tokens.tolist()[: len(TOKENIZER.chat_ids(conversation[:2]))] == TOKENIZER.chat_ids(conversation[:2])


def test_a_template_that_rewrites_history_gets_one_stream_for_each_turn(monkeypatch):
    conversation = [
        message("user", "ask"), message("assistant", "one"), message("user", "more"), message("assistant", "two"),
    ]  # fmt: skip
    assert len(segments_of(TOKENIZER, conversation)) == 1
    monkeypatch.setitem(vars(TOKENIZER), "rewrites_history", True)
    streams = segments_of(TOKENIZER, conversation)
    for made, text, asked in zip(streams, ("one", "two"), (conversation[:1], conversation[:3]), strict=True):
        assert made.tokens[made.weights > 0].tolist() == [*TOKENIZER.encode(text), TOKENIZER.end_id]
        assert made.tokens[made.weights == 0].tolist() == TOKENIZER.chat_ids(asked)


def test_every_example_is_taken_once_per_epoch():
    examples, size = 10, 4
    taken = np.concatenate([batch_indices(examples, size, seed=3, step=step) for step in range(5)])
    for epoch in (taken[:10], taken[10:]):
        assert sorted(epoch) == list(range(examples))
    assert (taken[:10] != taken[10:]).any()
    np.testing.assert_array_equal(batch_indices(examples, size, 3, 2), taken[8:12])


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "holds no example"), ("{}\n", "line 1"), ('{"messages": []}\n', "line 1"), ("not json\n", "line 1"),
     (json.dumps({"messages": [message("user", "q")]}), "ends with the assistant")],
)  # fmt: skip
def test_a_wrong_file_is_named_with_its_line(tmp_path, text, says):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(UserError, match=says):
        read_conversations(str(tmp_path / "a.jsonl"))


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match="not a file"):
        read_conversations("nowhere.jsonl")


def test_a_file_of_conversations_is_read(tmp_path):
    rows = [{"messages": [message("user", "q"), message("assistant", str(i))]} for i in range(3)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_conversations(str(tmp_path / "a.jsonl")) == [row["messages"] for row in rows]


DESIGN = """<code>
from workflow import Workflow, AgentNode
w = Workflow()
w.add_node(AgentNode("a", "Solve."))
w.add_node(AgentNode("b", "Check."))
w.run(question)
</code>"""


@pytest.fixture
def self_taught(monkeypatch, tmp_path):
    """A config whose policy is scripted: it designs two agents, and answers 2 whatever is asked."""
    engines = []

    def scripted_roles(config, policies, mesh):
        reply = lambda prompt, request: DESIGN if "Design" in prompt else "<delivery>d</delivery>\\boxed{2}"
        engines.append(ScriptedEngine(reply))
        engines[0].warmup = lambda: None
        return {role: Role(engines[0]) for role in ("designer", "executor")}

    monkeypatch.setattr(sft, "make_roles", scripted_roles)
    monkeypatch.setattr(Run, "load", lambda self: None)
    config = default_config()
    config.init, config.rollout.designs = "trained", 3
    for role in config.roles.values():
        role.prompt = "configs/prompts/arithmetic.toml"
    config.workdir = str(tmp_path)
    return Run(config, "sft", Workdir(tmp_path), quiet=True), engines


def test_sampled_examples_are_the_designs_and_calls_of_right_answers(self_taught):
    run, engines = self_taught
    questions = [Question("right", "1 + 1", gold="2"), Question("wrong", "1 + 2", gold="3")]
    segments, graded = sampled_segments(run, questions)
    assert (
        graded["sandbox_level"] is None
        and len(segments) == 3 * (1 + 2)
        and len(engines[0].requests) == 2 * len(segments)
    )
    decode = lambda ids: TOKENIZER.decode(ids, skip_special=False)
    for made, reply in zip(segments, 3 * [DESIGN, "<delivery>", "<delivery>"], strict=True):
        assert reply in decode(made.tokens[made.weights > 0]) and "1 + 1" in decode(made.tokens[made.weights == 0])


def test_the_level_of_the_sandbox_of_examples_is_known(self_taught):
    sandbox("auto").close()
    run, _ = self_taught
    config = run.config
    questions = [Question("right", "1 + 1", gold="2", source="arithmetic:sums")]
    assert load_examples(config, questions)[1] is None
    config.rollout.tools, config.sft.tool_share = ("python_execute",), 1.0
    assert load_examples(config, questions)[1]["sandbox_level"] in ("A", "B")
    assert sampled_segments(run, questions)[1]["sandbox_level"] in ("A", "B")


def test_sampling_needs_a_policy_that_can_answer(self_taught):
    run, _ = self_taught
    config = run.config
    with pytest.raises(UserError, match="no sampled answer of trained was right"):
        sampled_segments(run, [Question("wrong", "1 + 2", gold="3")])
    config.init = "random:tiny"
    with pytest.raises(UserError, match=r"--config\.init"):
        sampled_segments(run, [Question("q", "1 + 1", gold="2")])
