"""Every config in configs/: it loads, and the main job keeps its promises about data and sizes."""

import pathlib
import runpy

import pytest
from support import optional

from mxjax.config import default_config, from_json, to_json
from mxjax.data import texts_of
from mxjax.data.pools import question_pools
from mxjax.models import preset
from mxjax.models.params import num_params
from mxjax.rl import make_optimizer, role_weights
from mxjax.sandbox import tool

CONFIGS = sorted(pathlib.Path("configs").glob("*.py"))


def load(name):
    return runpy.run_path(f"configs/{name}.py")["get_config"]()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_has_the_default_keys_and_says_its_command(path):
    config = load(path.stem)
    assert set(config) == set(default_config())
    assert "Command:" in path.read_text() and "Hardware:" in path.read_text()
    make_optimizer(dict(config.rl.optimizer))


def test_the_defaults_are_the_papers():
    config = default_config()
    rollout, rl = config.rollout, config.rl
    assert (rollout.questions, rollout.designs, rollout.executions) == (8, 4, 4)
    assert (rl.stage_length, rl.clip_low, rl.clip_high, rl.minibatch_segments) == (30, 0.2, 0.2, 16)
    optimizer = rl.optimizer
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.clip_norm) == (5e-6, 0.01, 1.0)
    assert config.reward.format_weight == 0.4 and config.reward.answer_from == "agent"
    assert all(role.sampling.temperature == 1.0 and role.sampling.top_p == 1.0 for role in config.roles.values())


def test_a_setting_of_one_role_is_not_the_others():
    config = default_config()
    config.roles.designer.max_tokens, config.roles.designer.sampling.temperature = 5, 0.5
    assert config.roles.executor.max_tokens == 8192 and config.roles.executor.sampling.temperature == 1.0


def test_the_main_job_trains_on_no_held_out_question():
    optional("reasoning_gym")
    config = load("quickstart")
    pools = question_pools(config)
    assert len(pools.held_out) == 512 == len(texts_of(pools.held_out))
    assert not texts_of(pools.train) & texts_of(pools.held_out)
    assert len(texts_of(pools.train)) >= 20 * len(pools.held_out)


def test_the_main_jobs_teacher_shows_python_where_a_sandbox_gives_it(monkeypatch):
    for given, tools in [(True, ("python_execute",)), (False, ())]:
        monkeypatch.setattr(tool, "has_python", lambda given=given: given)
        config = load("quickstart")
        assert config.rollout.tools == tools and (config.sft.tool_share > 0) == given
    monkeypatch.setattr(tool, "has_python", None)
    assert load("tiny").rollout.tools == ()  # without asking


def test_the_main_job_is_of_the_promised_size():
    config = load("quickstart")
    cfg = preset(config.init.removeprefix("random:")).replace(vocab_size=config.sft.vocab_size)
    assert 0.5e6 <= num_params(cfg) <= 10e6
    assert config.rl.steps == 20 and config.roles.designer.max_tokens <= 200
    stages = {role for step in range(config.rl.steps) for role, a in role_weights(
        step, config.rl.mode, config.rl.stage_length, config.rl.first_stage).items() if a}  # fmt: skip
    assert stages == {"designer", "executor"}


@pytest.mark.parametrize("control", ["continued", "rejection"])
def test_a_control_differs_from_the_main_job_in_its_fine_tuning_alone(control):
    make = runpy.run_path("configs/quickstart.py")["get_config"]
    main, other = make(), make(control)
    assert other.sft.steps < main.sft.steps and (other.sft.examples == "rollouts") == (control == "rejection")
    with main.unlocked(), other.unlocked():
        del main.sft, other.sft
    assert main == other


def test_a_config_comes_back_from_json_and_an_older_one_gets_the_new_keys():
    config = load("quickstart")
    assert to_json(from_json(to_json(config))) == to_json(config)
    older = to_json(config)
    del older["rollout"]["tools"], older["reward"]
    found = from_json(older)
    assert found.reward == default_config().reward and found.rollout.questions == config.rollout.questions
    assert found.rollout.limits == config.rollout.limits and list(found.rollout.tools) == []
