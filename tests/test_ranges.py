"""Every key of the config has a meaning and a range, and no value outside it gets past the first second of a run."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict
from support import optimizer_settings
from test_configs import CONFIGS, load

from mxjax import cli
from mxjax.checks import check_config
from mxjax.cli.config import command_config
from mxjax.config import default_config, to_json
from mxjax.errors import UserError
from mxjax.keys import KEYS, RANGES, check_ranges, defaults, leaves, sections, unknown_key
from mxjax.rl import make_optimizer

DEFAULTS = {
    name: value.to_dict() if isinstance(value, ConfigDict) else value for name, value in leaves(default_config())
}
NUMERIC = sorted(
    name for name, value in DEFAULTS.items() if isinstance(value, int | float) and not isinstance(value, bool)
)
WRONG_TYPES = ["1", "", [], (), {"a": 1}, True, False, math.nan, math.inf, -math.inf, 1j, "nan"]
RUINS = {  # by hand, from what each setting means
    "rl.optimizer.clip_norm": [0, 0.0, -1.0], "rl.optimizer.learning_rate": [-1e-6], "sft.optimizer.eps": [0.0, -1e-8],
    "rl.optimizer.b1": [1, 1.0, -0.1, 2], "sft.optimizer.b2": [1.0, -1], "sft.optimizer.weight_decay": [-0.01],
    "rl.optimizer.schedule": ["step", None], "rl.entropy": [None], "reward.format_weight": [-0.4],
    "eval.every": [-1], "telemetry.episodes_every": [-1], "checkpoint.every": [0, -5], "checkpoint.keep": [0],
    "sft.designer_share": [-0.1, 1.1], "sft.tool_share": [2], "reward.max_fault_share": [1.5], "rl.mode": ["stage", ""],
    "rl.aggregation": ["mean"], "engine.prefix_cache": ["on"], "data.overlap": ["keep"], "mesh.data": [0, -2],
    "roles.executor.sampling.temperature": [0, -1, 1e9], "roles.designer.sampling.top_p": [0, 1.5],
    "roles.designer.sampling.top_k": [-2, 1.5], "roles.executor.max_tokens": [0, 1.5], "rl.clip_low": [1.0, -0.1],
    "rl.clip_high": [-0.1], "rl.epochs": [0], "rollout.tools": ["python_execute", ("",), (1,)], "data.train_size": [-1],
    "engine.attention": ["flash"], "reward.sandbox": ["D"], "rl.split_policy": [1, "yes"], "seed": [2**64, 0.5],
    "data.mixture": [{"source": "a:b"}, 3], "rollout.limits": [3], "model.dtype": ["float16"], "init": [""],
}  # fmt: skip


def config_with(name, value):
    """The default config as plain values, which refuse nothing by themselves, with one of them changed."""
    values = to_json(default_config())
    *groups, last = name.split(".")
    inner = values
    for group in groups:
        inner = inner[group]
    inner[last] = value
    return values


def refusal(name, value):
    with pytest.raises(UserError) as caught:
        check_ranges(config_with(name, value))
    return str(caught.value)


def test_the_table_and_the_config_have_the_same_keys():
    """A key without a range would be a value that nobody looks at."""
    assert set(KEYS) == set(RANGES) == set(DEFAULTS)
    assert sorted(name for _, names in sections() for name in names) == sorted(KEYS)
    assert {name: key.default for name, key in KEYS.items()} == DEFAULTS


def test_every_default_is_within_its_range():
    assert [name for name, key in KEYS.items() if not key.range.holds(key.default)] == []


def test_what_is_made_of_the_defaults_does_not_change_them():
    changed = defaults()
    changed["data"]["train"]["options"]["max_terms"] = changed["rollout"]["limits"]["fuel"] = 9
    assert defaults()["rollout"]["limits"] == {} == KEYS["data.train"].default["options"]


@pytest.mark.parametrize("verb", ["train", "sft", "plan"])
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_has_every_key_with_its_default_and_its_meaning(verb, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main([verb, "--help"]) == 0
    usage, *lines = capsys.readouterr().out.splitlines()
    assert verb in usage and max(map(len, lines[1:])) <= columns
    flat = " ".join(" ".join(lines).split())
    found = [re.search(rf"(?<![\w.]){re.escape(name)} = ", flat) for name in DEFAULTS]
    assert None not in found
    starts = sorted(match.start() for match in found)
    for name, match in zip(DEFAULTS, found, strict=True):
        following = next((start for start in starts if start > match.start()), len(flat))
        shown = flat[match.end() : following]
        assert shown.startswith(f"{KEYS[name].default!r} "), name
        assert KEYS[name].meaning in shown, name
        assert len(re.findall(r"[A-Za-z]{2,}", KEYS[name].meaning)) >= 3, name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configs_are_within_them(path):
    check_config(load(path.stem))


@pytest.mark.parametrize("name", NUMERIC)
def test_what_is_no_number_is_refused_by_key_range_and_value(name):
    values = [*WRONG_TYPES, *([] if name.endswith("clip_norm") else [None])]
    for value in [*values, *([0.5, 1.0] if isinstance(DEFAULTS[name], int) else [])]:
        assert refusal(name, value) == f"{name} must be {RANGES[name].says}, got {value!r}"


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in RUINS.items() for value in values])
def test_values_that_ruin_a_run_are_refused(name, value):
    assert refusal(name, value) == f"{name} must be {RANGES[name].says}, got {value!r}"


def said_range(says, value):
    """Whether a number is in the range that a sentence names, read from its words alone."""
    if " or " in says and not says.startswith(("a whole", "a number", "a finite")):
        one, _, other = says.partition(" or ")
        return one.partition(" ")[0] == repr(value) or value == 0 == (one[:1] == "0") - 1 or said_range(other, value)
    if says.startswith("a whole") and not isinstance(value, int):
        return False
    if interval := re.search(r"in ([\[(])(\S+), (\S+)([\])])", says):
        low, high = float(interval[2]), float(interval[3])
        above = value > low if interval[1] == "(" else value >= low
        return above and (value < high if interval[4] == ")" else value <= high)
    if bound := re.search(r"(above|of at least) (-?[\d.e+-]+\d|\d)", says):
        low = float(bound[2])
        above = value > low if bound[1] == "above" else value >= low
        most = re.search(r"and at most (\d+)", says)
        return above and value <= (int(most[1]) if most else 2**31 - 1 if says.startswith("a whole") else math.inf)
    return says == "a finite number"


@given(
    st.sampled_from(NUMERIC),
    st.integers(-3, 3) | st.integers() | st.floats(-2, 2) | st.floats(allow_nan=False, allow_infinity=False),
)
def test_the_sentence_says_what_holds(name, value):
    assert RANGES[name].holds(value) == said_range(RANGES[name].says, value)
    if not RANGES[name].holds(value):
        assert refusal(name, value).startswith(f"{name} must be ")


def test_no_clip_is_a_value():
    check_ranges(config_with("rl.optimizer.clip_norm", None))
    optimizer = make_optimizer(optimizer_settings(clip_norm=None, weight_decay=0.0, b1=0.0, b2=0.0, learning_rate=1.0))
    updates, _ = optimizer.update({"w": 1e6 * make_ones()}, optimizer.init({"w": make_ones()}), {"w": make_ones()})
    assert abs(float(updates["w"][0]) + 1) < 1e-3


def make_ones():
    import jax.numpy as jnp

    return jnp.ones(2)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("rl.learning_rate", "rl.optimizer.learning_rate"), ("sft.learning_rate", "sft.optimizer.learning_rate"),
        ("rl.optimiser.clip_norm", "rl.optimizer.clip_norm"), ("rollouts.designs", "rollout.designs"),
        ("rl.stage_len", "rl.stage_length"), ("seeds", "seed"), ("designs", "rollout.designs"),
        ("roles.designer.temperature", "roles.designer.sampling.temperature"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_told_the_nearest(name, near):
    assert unknown_key(name) == f"the config has no key {name}: did you mean {near}?"
    config = default_config()
    group, _, key = name.rpartition(".")
    inner = config
    for part in filter(None, group.split(".")):
        inner[part] = inner.get(part, ConfigDict())
        inner = inner[part]
    inner[key] = 1
    with pytest.raises(UserError, match=f"no key {re.escape(name)}: did you mean {re.escape(near)}"):
        check_ranges(config)


def test_what_is_like_no_key_is_told_so():
    assert unknown_key("zzz.qqq") == "the config has no key zzz.qqq"


def test_a_group_that_was_replaced_as_a_whole_is_missed():
    config = default_config()
    config.rl = ConfigDict({"steps": 3})
    with pytest.raises(UserError, match=r"the config lacks rl\."):
        check_ranges(config)


def test_coupled_roles_need_equal_mini_batches():
    config = default_config()
    config.roles.designer.minibatch_segments = 8
    check_config(config)
    config.rl.mode = "coupled"
    with pytest.raises(UserError, match="must be equal, and are 8 of the designer and 16 of the executor segments"):
        check_config(config)
    config.roles.executor.minibatch_segments = 8
    check_config(config)


@pytest.mark.parametrize("part", ["rl", "sft"])
def test_a_schedule_is_longer_than_its_warm_up(part):
    config = default_config()
    config[part].optimizer.schedule, config[part].optimizer.warmup_steps = "cosine", 2000
    with pytest.raises(UserError, match=rf"{part}\.optimizer\.schedule=cosine needs {part}\.optimizer\.total_steps"):
        check_config(config)
    config[part].optimizer.total_steps = 3000
    check_config(config)


CONFIG = """from mxjax.config import default_config
def get_config():
    config = default_config()
    {}
    return config
"""


def commanded(tmp_path, line="pass", *flags):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG.format(line))
    config, _ = command_config("train", ["--config", str(file), "--workdir", str(tmp_path / "run"), *flags])
    check_config(config)
    return config


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--config.rl.learning_rate=1e-5", "no key rl.learning_rate: did you mean rl.optimizer.learning_rate?"),
        ("--config.rollout.design=4", "no key rollout.design: did you mean rollout.designs?"),
        ("--config.rl.steps=many", "--config.rl.steps=many: invalid literal"),
        ("--config.rl.optimizer.clip_norm=nan", "clip_norm must be None or a finite number above 0, got nan"),
        ("--config.eval.benchmarks=", "eval.benchmarks must be a tuple of names"),
        ("--config.rollout.limits.fuel=3", "rollout.limits.fuel is not in the config file"),
        ("--config.rollout.limits={'petrol': 3}", "rollout.limits knows fuel"),
    ],
)
def test_a_wrong_flag_is_one_sentence(flag, says, tmp_path):
    with pytest.raises(UserError) as caught:
        commanded(tmp_path, "pass", flag)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("config.rl.learning_rate = 1e-5", "no key rl.learning_rate: did you mean rl.optimizer.learning_rate?"),
        ("config.rl.steps = 'many'", "mine.py, line 4, in get_config)"),
        ("config.rl.steps = 1 // 0", "ZeroDivisionError: integer division or modulo by zero ("),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere' ("),
        ("config.rl.optimizer.b1 = 1.0", "rl.optimizer.b1 must be a number in [0, 1), got 1.0"),
        ("config.checkpoint.every = -1", "checkpoint.every must be a whole number of at least 1, got -1"),
    ],
)
def test_a_wrong_config_file_is_one_sentence(line, says, tmp_path):
    with pytest.raises(UserError) as caught:
        commanded(tmp_path, line)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_flags_set_values_none_among_them(tmp_path):
    flags = ("--config.rl.optimizer.clip_norm=None", "--config.rollout.limits={'fuel': 300}", "--config.rl.steps", "7")
    config = commanded(tmp_path, "pass", *flags)
    assert config.rl.optimizer.clip_norm is None and config.rollout.limits.fuel == 300 and config.rl.steps == 7
    assert json.loads(json.dumps(to_json(config)))["rl"]["optimizer"]["clip_norm"] is None
