"""What `mxjax solve` prints of replies, whatever is in them."""

import json
import types

from mxjax.cli import solve as module
from mxjax.rollout import Question
from mxjax.terminal import say

ESCAPE = "\x1b]0;title\x07\x1b[2Jgone\r\u202e"


def made_up(status="ok", error="", content="so \\boxed{4}"):
    """A tree of one design, whose one call is named and answered by someone who knows terminals."""
    segment = types.SimpleNamespace(
        call_id=f"node{ESCAPE}\nanswer: 5", parent=None, prompt_token_ids=[1, 2], token_ids=[3], finish_reason="stop"
    )
    result = types.SimpleNamespace(status=status, content=content, reason="" if status == "ok" else f"no{ESCAPE}")
    execution = types.SimpleNamespace(result=None if error else result, segments=() if error else (segment,))
    design = types.SimpleNamespace(segment=segment, source=f"x = 1  # {ESCAPE}", error=error, executions=(execution,))
    return types.SimpleNamespace(question=Question("a", f"2 + 2 {ESCAPE}"), designs=(design,))


def printed(capsys, tree):
    found = module.solution(tree, lambda ids: f"reply {ESCAPE}")
    module._show({**found, "unlike": f"word {ESCAPE}"}, several=True)
    return found, capsys.readouterr().out


def test_no_reply_name_or_reason_commands_the_terminal(capsys):
    for tree, last in (
        (made_up(), "answer: 4"),
        (made_up("limit"), "The design did not finish: no"),
        (made_up(error=f"line 1 {ESCAPE}"), "The design cannot run: line 1"),
    ):
        found, out = printed(capsys, tree)
        assert not set(out) & set("\x1b\x07\r\u202e") and "\\x1b[2J" in out
        assert last in out and "\nanswer: 5" not in out
        assert (found["answer"] is None) == ("answer: 4" not in out)


def test_a_line_of_json_has_everything_and_no_control_characters(capsys):
    found, _ = printed(capsys, made_up())
    say(json.dumps(found))
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and not set(line) & set("\x1b\x07\r\u202e")
    assert json.loads(line) == found
    assert found["tokens"] == {"prompt": 4, "response": 2} and found["calls"][0]["tokens"] == 1
