"""Cold start: which tokens are trained, which examples a step takes, and what a wrong file gets."""

import json

import numpy as np
import pytest

from mxjax.config import UserError
from mxjax.models import Tokenizer
from mxjax.sft import batch_indices, read_conversations, segment

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
