"""What a run is graded with: the sandbox is there exactly when something needs it."""

import types

import pytest
from support import sandbox

from mxjax.config import UserError, default_config
from mxjax.rollout import Question
from mxjax.runs import open_grading

SUM = Question("sum", "1 + 1", gold="2")
CODE = Question("code", "Write f(x) = x + 1.", "code", gold="f", tests=[{"args": [1], "expected": 2}])


def returned(text):
    """A finished execution whose returned message an agent gave."""
    return types.SimpleNamespace(status="ok", reason="", content=text, origin_call="a", origin_text=text)


def test_sums_need_no_sandbox():
    with open_grading(default_config(), [SUM]) as grading:
        assert grading.level is None and grading.tools == {}
        assert grading.reward(SUM, returned(r"\boxed{2}")).correct == 1.0


def test_code_is_graded_and_tools_run_in_one():
    sandbox("auto").close()
    config = default_config()
    config.rollout.tools = ("python_execute",)
    with open_grading(config, [SUM, CODE]) as grading:
        assert grading.level in ("A", "B")
        right, wrong = (f"<solution>\ndef f(x):\n    return x + {n}\n</solution>" for n in (1, 2))
        assert grading.reward(CODE, returned(right)).correct == 1.0
        assert grading.reward(CODE, returned(wrong)).correct == 0.0
        assert grading.tools["python_execute"].func(code="print(6 * 7)") == "42"
        assert grading.tools["run_program"].func(code="print(int(input()) + 1)", stdin="1").text == "2"


@pytest.mark.parametrize(("level", "says"), [("A", ""), ("B", "install bubblewrap for level A (make system-deps)")])
def test_a_weaker_sandbox_says_how_to_get_a_stronger_one(level, says, capfd):
    sandbox(level).close()
    config = default_config()
    config.reward.sandbox = level
    with open_grading(config, [CODE, SUM, CODE]) as grading:
        assert grading.level == level
    assert capfd.readouterr().err.strip() == (f"sandbox level {level}; {says}" if says else "")


def test_mistakes_are_one_sentence():
    config = default_config()
    config.rollout.tools = ("browser",)
    with pytest.raises(UserError, match="python_execute, not 'browser'"), open_grading(config, [SUM]):
        pass
    config.rollout.tools, config.reward.sandbox = (), "Z"
    with pytest.raises(UserError, match="level must be auto, A, B or C"), open_grading(config, [CODE]):
        pass
