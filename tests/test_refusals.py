"""A command that is refused leaves nothing behind: no folder, no config, no lock."""

import json

import pytest
from runs import ROOT, tiny

from mxjax import cli, grading
from mxjax.sandbox import SandboxUnavailable

SUMS = "--config.data.train={'source': 'arithmetic:sums'}"
BOTH = {  # flags, and what the sentence says
    "--config.rl.optimizer.clip_norm=0": "clip_norm",
    "--config.rl.learning_rate=1": "did you mean",
    "--config.mesh.data=3": "mesh",
    "--config.data.train.source='arithmetic:none'": "none",
    "--config.data.train_size=50": "held-out",
    "--config.init=nowhere": "nowhere",
    "--config.roles.designer.prompt=nowhere.toml": "nowhere.toml",
    "--config.reward.limits={'cpu': 1}": "reward.limits knows",
    "--config.telemetry.wandb=project": "mxjax[log]",
}
TRAIN = {
    "--config.eval.benchmarks=('nowhere',)": "nowhere",
    "--config.engine.max_len=300": "rl.row_length",
    "--config.rollout.questions=4000": "pool",
    "--config.rollout.tools=('browser',)": "browser",
    "--config.rl.mode=coupled": "must be equal",
}
SFT = {
    "--config.sft.examples=nothing": "sft.examples",
    "--config.sft.examples=jsonl:nowhere.jsonl": "nowhere.jsonl",
    "--config.sft.vocab_size=10": "vocab_size",
    "--config.sft.tool_share=0.5": "rollout.tools",
}


def refused(capsys, tmp_path, *command, says):
    assert cli.main([str(argument) for argument in command]) == 2
    printed = capsys.readouterr().err
    assert says in printed and printed.count("\n") == 1, printed
    assert sorted(path.name for path in tmp_path.iterdir()) == []


@pytest.fixture(autouse=True)
def no_sandbox(monkeypatch):
    def absent(*args):
        raise SandboxUnavailable("There is no sandbox here.")

    monkeypatch.setattr(grading, "Sandbox", absent)
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("verb", "flag", "says"),
    [(verb, *item) for verb, own in (("train", TRAIN), ("sft", SFT)) for item in {**BOTH, **own}.items()],
)
def test_a_refused_run_leaves_nothing(verb, flag, says, tmp_path, capsys):
    workdir = tmp_path / "a" / "[b]" / "run"
    refused(capsys, tmp_path, *tiny(verb, workdir), SUMS, flag, says=says)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "flags", "says"),
    [
        ("train", ["--config.engine.pages=1"], "pages"),
        ("train", ["--config.engine.attention=tpu"], "attention"),
        ("train", ["--config.rollout.tools=('python_execute',)"], "no sandbox here"),
        ("train", ["--config.engine.max_len=9999", "--config.rl.row_length=9999"], "positions"),
        ("sft", ["--config.sft.examples=rollouts"], "--config.init"),
        ("sft", ["--config.sft.row_length=2"], "row_length"),
    ],
)
def test_a_run_that_is_refused_for_its_model_leaves_nothing(verb, flags, says, tmp_path, capsys):
    refused(capsys, tmp_path, *tiny(verb, tmp_path / "a" / "run"), SUMS, *flags, says=says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--checkpoint", "nowhere", "--benchmark", "gsm8k"), "nowhere"),
        (("--checkpoint", "random:tiny", "--benchmark", "nothing"), "nothing"),
        (("--checkpoint", "random:tiny", "--benchmark", "gsm8k", "--system", "oracle"), "oracle"),
        (("--checkpoint", "random:tiny", "--benchmark", "held_out"), "held_out"),
        (("--checkpoint", "random:tiny", "--benchmark", "gsm8k", "--limit", "0"), "--limit"),
        (("--checkpoint", "random:tiny", "--benchmark", "gsm8k", "--tools", "browser", "--max_len", "64"), "browser"),
    ],
)
def test_a_refused_evaluation_leaves_nothing(arguments, says, tmp_path, capsys):
    output = tmp_path / "a" / "b"
    refused(capsys, tmp_path, "evaluate", *arguments, "--output", output, "--quiet", "--slots", "2", says=says)


@pytest.mark.parametrize(("source", "says"), [("nowhere", "nowhere"), ("random:nothing", "nothing")])
def test_a_refused_conversion_leaves_nothing(source, says, tmp_path, capsys):
    refused(capsys, tmp_path, "convert", source, tmp_path / "a" / "b", says=says)


def test_a_data_set_that_is_not_prepared_leaves_nothing(tmp_path, capsys, tmp_path_factory):
    rows = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows.write_text(json.dumps({"question": "1 + 1"}))
    for name, says in (
        ("gsm8k/test", "no column 'answer'"),
        ("nothing", "nothing"),
        ("math500", "no column 'problem'"),
    ):
        command = ("data", "prepare", name, "--from", rows, "--output", tmp_path / "a" / "b")
        refused(capsys, tmp_path, *command, says=says)
    refused(capsys, tmp_path, "data", "pack", "nothing", "--output", tmp_path / "a", says="nothing")
