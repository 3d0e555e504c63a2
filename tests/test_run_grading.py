"""What a run is graded with: the sandbox is there exactly when something needs it."""

import contextlib
import dataclasses
import types

import pytest
from support import sandbox

from mxjax import grading as graders
from mxjax.checks import check_config
from mxjax.config import default_config
from mxjax.errors import UserError
from mxjax.grading import Grading, open_grading
from mxjax.mas.records import ToolCall
from mxjax.mas.toolbox import Toolbox
from mxjax.rewards import make_reward
from mxjax.rollout import Question
from mxjax.sandbox import SandboxUnavailable

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


@pytest.mark.parametrize(
    ("level", "missing", "says"),
    [
        ("A", (), ""),
        ("B", (), "level auto tries level A first"),
        ("B", ("bubblewrap",), "install bubblewrap (make system-deps, or apt-get install bubblewrap) for level A"),
    ],
)
def test_a_weaker_sandbox_says_how_to_get_a_stronger_one(level, missing, says, capfd, monkeypatch):
    monkeypatch.setattr("mxjax.sandbox.pool.missing_parts", lambda: missing)
    sandbox(level).close()
    config = default_config()
    config.reward.sandbox = level
    with open_grading(config, [CODE, SUM, CODE]) as grading:
        assert grading.level == level
    assert capfd.readouterr().err.strip() == (f"sandbox level {level}; {says}" if says else "")


def test_training_may_run_some_tests_and_pay_their_share():
    sandbox("auto").close()
    config, tests = default_config(), [{"args": [i], "expected": i} for i in range(8)]
    question = Question("q", "Write f(x) = x.", "code", gold="f", tests=tests)
    third = returned("<solution>\ndef f(x):\n    return x if x == 3 else None\n</solution>")
    config.reward.tests = 1
    with open_grading(config, [question]) as grading:
        paid = [grading.of_step(step)(question, third).correct for step in range(24)]
        assert set(paid) == {0.0, 1.0} and paid[5] == grading.of_step(5)(question, third).correct
        assert grading.reward(question, third).correct == 0.0  # of an evaluation, which runs all
        others = [grading.of_step(0)(dataclasses.replace(question, id=f"q{i}"), third).correct for i in range(24)]
        assert set(others) == {0.0, 1.0}
    config.reward.tests, config.reward.all_pass = 0, False
    with open_grading(config, [question]) as grading:
        paid = grading.of_step(0)(question, third)
        assert (paid.correct, paid.how) == (1 / 8, "wrong_answer") and grading.reward(question, third).correct == 0.0


def test_a_grading_without_a_reward_for_training_pays_as_in_evaluations():
    grading = Grading(make_reward(), {}, None)
    assert grading.of_step(0) is grading.reward is grading.of_step(7)


@pytest.mark.parametrize(("stateful", "then"), [(False, "NameError"), (True, "8")])
def test_a_config_says_whether_variables_stay(stateful, then):
    sandbox("auto").close()
    config = default_config()
    config.rollout.tools, config.rollout.stateful_tools = ("python_execute",), stateful
    with open_grading(config, []) as grading, contextlib.closing(Toolbox(grading.tools)) as toolbox:
        use = lambda code: toolbox.use(ToolCall("a", "python_execute", {"code": code}, "agent")).text
        assert use("x = 7") == "(no output)" and then in use("x + 1")


def test_limits_of_a_test_come_from_the_config():
    sandbox("auto").close()
    config = default_config()
    slow = returned("<solution>\nimport time\ntime.sleep(60)\ndef f(x):\n    return x + 1\n</solution>")
    config.reward.limits = {"wall_s": 0.5}
    with open_grading(config, [CODE]) as grading:
        assert grading.reward(CODE, slow).how == grading.training(0)(CODE, slow).how == "time"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tests": -1}, "reward.tests must be a whole number of at least 0, 0 for all, got -1"),
        ({"limits": {"seconds": 3}}, "reward.limits knows cpu_s, wall_s, .*, not 'seconds'"),
        ({"limits": {"cpu_s": 0}}, "SandboxLimits.cpu_s must be a positive number, got 0"),
        ({"answer_from": "me"}, "reward.answer_from must be one of agent, any, got 'me'"),
    ],
)
def test_wrong_settings_of_the_reward_are_one_sentence(settings, says):
    config = default_config()
    config.reward.update(settings)
    with pytest.raises(UserError, match=says):
        check_config(config)


def test_mistakes_are_one_sentence():
    config = default_config()
    config.rollout.tools = ("browser",)
    with pytest.raises(UserError, match="python_execute, not 'browser'"), open_grading(config, [SUM]):
        pass
    config.rollout.tools, config.reward.sandbox = (), "Z"
    with pytest.raises(UserError, match="level must be auto, A, B or C"), open_grading(config, [CODE]):
        pass


def test_without_a_sandbox_the_error_says_how_to_go_without_the_tool(monkeypatch):
    def absent(*args):
        raise SandboxUnavailable("There is no safe way to run Python here.")

    monkeypatch.setattr(graders, "Sandbox", absent)
    config = default_config()
    config.rollout.tools = ("python_execute",)
    hint = r"Python here; or let agents go without it: --tools none, or --config\.rollout\.tools=\(\) .*tool_share=0$"
    with pytest.raises(UserError, match=hint), open_grading(config, [SUM]):
        pass
    with pytest.raises(UserError, match=r"Python here$"), open_grading(config, [CODE]):  # which needs it anyway
        pass
