"""The command line as a user meets it: verbs on a real tiny run, and one sentence with exit code 2 for mistakes."""

import io
import json
import os
import shlex
from xml.etree import ElementTree

import pytest
from runs import ROOT, mxjax, tiny, tiny_run
from support import optional

from mxjax import cli, mas, serving
from mxjax.cli.arguments import serving_options
from mxjax.errors import UserError
from mxjax.lock import LOCK, only_writer
from mxjax.run import chosen_step
from mxjax.serving import read_contract, write_contract


@pytest.fixture(scope="module")
def workdir():
    optional("reasoning_gym")
    return tiny_run()


def fails(capsys, *args):
    """The one sentence that a user's mistake gets."""
    assert cli.main([str(a) for a in args]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "Traceback" not in printed
    return printed


def test_help_lists_the_verbs(capsys):
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in cli.VERBS)


@pytest.mark.parametrize(
    ("verb", "compiler", "devices", "expected"),
    [
        ("doctor", True, [], "cpu"),
        ("doctor", True, ["/dev/accel0"], None),
        ("doctor", False, [], None),
        ("plan", True, ["/dev/accel0"], "cpu"),
    ],
)
def test_no_tpu_is_looked_for_where_only_its_compiler_is(verb, compiler, devices, expected, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "restored at the end")
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: compiler or None)
    monkeypatch.setattr(cli.glob, "glob", lambda pattern: devices)
    cli._settle_jax(verb)
    assert os.environ.get("JAX_PLATFORMS") == expected


def test_compiled_programs_are_kept_for_the_next_command_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for told, expected in ((None, f"{tmp_path}/.cache/mxjax/compiled"), ("", ""), ("/elsewhere", "/elsewhere")):
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", told or "")
        if told is None:
            monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        cli._settle_jax("train")
        assert os.environ["JAX_COMPILATION_CACHE_DIR"] == expected


def test_a_run_leaves_the_files_that_are_promised(workdir):
    names = {path.name for path in workdir.iterdir()}
    files = {"config.json", "tokenizer", "checkpoints", "metrics.jsonl", "episodes", "results.json", "report.html"}
    assert names >= files
    results = json.loads((workdir / "results.json").read_text())
    assert results["schema"] == 1 and len(results["rows"]) == 6
    told = (*tiny("train", workdir), f"--config.init={workdir / 'cold_start'}")
    assert shlex.split(results["command"]) == ["mxjax", *map(str, told)]
    wanted = {"system", "benchmark", "n", "samples", "accuracy", "ci95", "valid_design_rate", "calls", "failures"}
    assert all(wanted <= set(row) for row in results["rows"])
    assert set(results["phases_s"]) == {"cold_start_data", "cold_start", "rl", "evaluation"}
    stages = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in stages if row["phase"] == "rl"] == ["executor", "designer"]


def test_training_again_only_prints_the_table(workdir):
    before = (workdir / "metrics.jsonl").read_text()
    again = mxjax(*tiny("train", workdir, f"--config.init={workdir / 'cold_start'}"))
    assert "designed" in again.stdout and (workdir / "metrics.jsonl").read_text() == before


def test_evaluate_writes_a_table_and_resumes(workdir, tmp_path, capsys):
    args = [
        "evaluate",
        "--checkpoint",
        str(workdir),
        "--benchmark",
        "held_out",
        "--output",
        str(tmp_path),
        "--limit",
        "2",
    ]
    assert cli.main([*args, "--system", "single", "--greedy"]) == 0
    assert cli.main([*args, "--system", "single,vote", "--resume"]) == 0
    assert "single" in capsys.readouterr().out
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["system"] for row in rows] == ["single", "vote"] and all(row["n"] == 2 for row in rows)


def test_solve_answers_or_says_why_not(workdir, capsys):
    assert cli.main(["solve", "3 + 4", "--checkpoint", str(workdir)]) in (0, 1)
    printed = capsys.readouterr().out
    assert printed.startswith(f"model: {workdir}, step 2\n") and "unlike" not in printed
    assert "answer:" in printed or "cannot run" in printed or "did not finish" in printed


def test_solve_takes_several_questions_and_says_which_are_strange(workdir, tmp_path, capsys, monkeypatch):
    asked, strange = tmp_path / "asked.jsonl", "What is the capital of France?"
    asked.write_text(json.dumps({"question": strange}) + "\n\n")
    arguments = ["solve", "3 + 4", "--checkpoint", str(workdir), "1 + 2"]
    assert cli.main([*arguments, "--questions", str(asked), "--json"]) in (0, 1)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["question"] for line in lines] == ["3 + 4", "1 + 2", strange]
    assert [bool(line["unlike"]) for line in lines] == [False, False, True]
    for line in lines:
        assert (line["model"], line["step"]) == (str(workdir), 2)
        assert (line["answer"] is None) == (line["status"] != "ok") == bool(line["reason"])
        assert line["tokens"]["response"] >= sum(call["tokens"] for call in line["calls"]) and line["tokens"]["prompt"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{strange}\n"))
    cli.main(["solve", "--checkpoint", str(workdir), "--questions", "-"])
    assert "note: unlike the questions that this model was trained on: " in capsys.readouterr().out
    asked.write_text('{"text": "1 + 1"}\n')
    assert "line 1 of" in fails(capsys, "solve", "--checkpoint", workdir, "--questions", asked)
    assert "nowhere" in fails(capsys, "solve", "--checkpoint", workdir, "--questions", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("flag", "expected"), [("", ("python_execute",)), ("none", ()), ("python_execute", ("python_execute",))]
)
def test_tools_are_those_of_the_run_or_of_the_flag(flag, expected, monkeypatch):
    config = serving.default_config()
    config.rollout.tools = ("python_execute",)
    monkeypatch.setattr(serving, "make_roles", lambda config, *_, **__: config.rollout.tools)
    args = cli.parse("solve", ["1 + 1", "--checkpoint", "random:tiny", f"--tools={flag}"])
    assert serving.serve(args.checkpoint, config, **serving_options(args)).roles == expected
    assert config.rollout.tools == ("python_execute",)  # the caller's stays
    with pytest.raises(UserError, match=r"rollout\.tools knows python_execute, not 'none'"):
        serving.serve(args.checkpoint, config, tools="none,python_execute")


def served(path):
    """What a checkpoint is served with, prompt sets by their contents."""
    config = serving.checkpoint_config(str(path))
    roles = {name: (mas.load_prompts(role.prompt), dict(role.sampling), role.max_tokens)
             for name, role in config.roles.items()}  # fmt: skip
    return roles, config.rollout.to_dict() | {"tools": tuple(config.rollout.tools)}, config.engine.max_len


def test_convert_there_and_back_keeps_every_bit_and_how_it_is_served(workdir, tmp_path, monkeypatch):
    import jax
    import numpy as np

    from mxjax.data.provenance import TRAINED_ON, likeness_of, trained_on
    from mxjax.models import load

    hf, back = tmp_path / "hf", tmp_path / "back"
    assert cli.main(["convert", str(workdir), str(hf)]) == 0
    assert cli.main(["convert", str(hf), str(back)]) == 0
    first, last = load(str(workdir)), load(str(back))
    jax.tree.map(np.testing.assert_array_equal, first.params, last.params)
    assert first.tokenizer.encode("12 + 7") == last.tokenizer.encode("12 + 7")
    before, usual = served(workdir), serving.default_config()
    keys = ("limits", "tools", "stateful_tools")
    for path in (hf, back):
        roles, rollout, max_len = served(path)
        assert (roles, max_len) == (before[0], before[2])
        assert {key: rollout[key] for key in keys} == {key: before[1][key] for key in keys}
        assert trained_on(str(path)) == trained_on(str(workdir)) != frozenset()
        assert likeness_of(str(path)) == likeness_of(str(workdir)) != {}
    assert before[2] != usual.engine.max_len
    moved = tmp_path / "moved"  # nothing of it points back to where it came from
    hf.rename(moved)
    assert served(moved)[0] == before[0]
    plain = tmp_path / "plain"
    plain.write_text("")
    written = [path for path in moved.rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in written} == {plain.stat().st_mode}
    assert {"mxjax.json", TRAINED_ON, "model.safetensors"} <= {path.name for path in written}


@pytest.mark.parametrize("form", ["hf", "orbax"])
def test_convert_writes_where_nobody_else_does(workdir, tmp_path, capsys, monkeypatch, form):
    target = tmp_path / form
    convert = ("convert", workdir, target, "--to", form)
    with only_writer(target):
        assert f"{target} is being written by process {os.getpid()} on " in fails(capsys, *convert)
        assert [path.name for path in target.iterdir()] == [LOCK]
    save, listed = serving.models.save_hf, []
    noted = lambda *given: (listed.extend(path.name for path in target.iterdir()), save(*given))
    monkeypatch.setattr(serving.models, "save_hf", noted)
    assert cli.main([*map(str, convert)]) == 0
    assert listed == ([LOCK] if form == "hf" else []) and not (target / LOCK).exists()
    load = serving.models.load
    late = tmp_path / "late"
    written = lambda *given, **named: (late.mkdir(), (late / "file").touch(), load(*given, **named))[-1]
    monkeypatch.setattr(serving.models, "load", written)
    if form == "hf":
        assert "not an empty folder" in fails(capsys, "convert", workdir, late, "--to", form)
        assert [path.name for path in late.iterdir()] == ["file"]


def test_convert_writes_the_dtype_and_the_step_that_are_asked_for(workdir, tmp_path, capsys):
    from mxjax.models import load

    half = tmp_path / "half"
    assert cli.main(["convert", str(workdir), str(half), "--dtype", "bfloat16", "--step", "chosen"]) == 0
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((half / "mxjax.json").read_text())["step"] == chosen_step(str(workdir))
    assert {str(leaf.dtype) for leaf in jax_leaves(load(str(half), dtype="bfloat16").params)} == {"bfloat16"}
    assert "invalid choice" in fails(capsys, "convert", workdir, tmp_path / "x", "--dtype", "float16")
    assert "step=2 is for the workdir" in fails(capsys, "convert", half, tmp_path / "x", "--step", "2")


def jax_leaves(tree):
    import jax

    return jax.tree.leaves(tree)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("roles.designer.prompt", "/etc/secret.toml", "none of its own"),
        ("roles.designer.max_tokens", "many", "wrong kind"),
        ("roles.designer.sampling", {"temperature": "hot"}, "mxjax.json"),
        ("roles.judge", {}, "roles.judge"),
        ("rollout.limits", {"fuel": -1}, "mxjax.json"),
        ("rollout.shell", True, "rollout.shell"),
        ("engine.max_len", 0, "max_len"),
        ("engine", [], "wrong kind"),
        ("reward.sandbox", "C", "reward.sandbox"),
    ],
)
def test_what_a_stranger_wants_to_be_served_with_is_checked(tmp_path, key, value, said):
    """mxjax.json comes with a download: it has known keys only, and no path."""
    config = serving.default_config()
    write_contract(tmp_path, config, 1)
    assert read_contract(tmp_path).roles.designer.prompt == "short"
    record = json.loads((tmp_path / "mxjax.json").read_text())
    *outer, last = key.split(".")
    inner = record["serving"]
    for name in outer:
        inner = inner[name]
    inner[last] = value
    (tmp_path / "mxjax.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=said):
        read_contract(tmp_path)
    (tmp_path / "mxjax.json").write_text("[]")
    with pytest.raises(ValueError, match="not a JSON object"):
        read_contract(tmp_path)


def test_doctor_knows_the_machine_and_a_damaged_checkpoint(workdir, tmp_path, capsys):
    import shutil

    assert cli.main(["doctor"]) == 0
    assert "self-test          ok" in capsys.readouterr().out
    assert cli.main(["doctor", str(workdir)]) == 0
    shutil.copytree(workdir, tmp_path / "copy")
    step = max((tmp_path / "copy" / "checkpoints").iterdir(), key=lambda path: path.name)
    largest = max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    assert cli.main(["doctor", str(tmp_path / "copy")]) == 1
    assert "differs from what was written" in capsys.readouterr().out


def test_mistakes_get_one_sentence(workdir, tmp_path, capsys):
    config = ("--config", "configs/tiny.py", "--workdir", tmp_path / "new", "--quiet")
    assert "unknown verb" in fails(capsys, "trian")
    assert "--config" in fails(capsys, "train")
    assert "does not exist" in fails(capsys, "train", "--config", "nowhere.py", "--workdir", tmp_path)
    assert "--workdir" in fails(capsys, "train", "--config", "configs/tiny.py")
    assert "learning_rat" in fails(capsys, "train", *config, "--config.rl.optimizer.learning_rat=1")
    assert "nonsense" in fails(capsys, "train", *config, "--nonsense=1")
    assert "nowhere" in fails(capsys, "train", *config, "--config.init=nowhere")
    assert "unknown model preset" in fails(capsys, "sft", *config, "--config.init=random:giant")
    assert "rl.mode" in fails(capsys, "train", *config, "--config.rl.mode=both", f"--config.init={workdir}")
    assert "nowhere" in fails(capsys, "evaluate", "--checkpoint", "nowhere", "--benchmark", "gsm8k")
    assert "oracle" in fails(
        capsys, "evaluate", "--checkpoint", workdir, "--benchmark", "held_out", "--system", "oracle"
    )
    assert "unheard" in fails(capsys, "evaluate", "--checkpoint", workdir, "--benchmark", "unheard")
    assert "not an empty folder" in fails(capsys, "convert", workdir, workdir)
    assert "config.json" in fails(capsys, "doctor", tmp_path)
    for setting, named in WRONG_SETTINGS.items():
        assert named in fails(capsys, "train", *config, f"--config.init={workdir}", f"--config.{setting}"), setting
    for setting, named in {
        "sft.optimizer.learning_rate=a": "learning_rate",
        "sft.examples=jsonl:/": "not a file",
    }.items():
        assert named in fails(capsys, "sft", *config, f"--config.{setting}"), setting
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    at_a_file = ("--config", "configs/tiny.py", "--workdir", tmp_path / "file" / "run", "--quiet")
    assert "file" in fails(capsys, "train", *at_a_file, f"--config.init={workdir / 'cold_start'}")
    evaluate = ("evaluate", "--checkpoint", workdir, "--benchmark", "held_out")
    assert "--limit" in fails(capsys, *evaluate, "--limit", "0")
    assert "debate@3" in fails(capsys, *evaluate, "--system", "debate@3")
    assert "must be a whole number or chosen, got 'abc'" in fails(capsys, *evaluate, "--step", "abc")
    assert "--output" in fails(capsys, "evaluate", "--checkpoint", "random:tiny", "--benchmark", "gsm8k")
    assert "question" in fails(capsys, "solve", " ", "--checkpoint", workdir)
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config(:\n")
    assert "configuration" in fails(capsys, "train", "--config", broken, "--workdir", tmp_path / "new")
    (tmp_path / "empty.jsonl").write_text("")
    empty = f"jsonl:{tmp_path / 'empty.jsonl'}"
    assert "empty" in fails(capsys, "evaluate", "--checkpoint", workdir, "--benchmark", empty)


WRONG_SETTINGS = {
    "rollout.questions=0": "rollout.questions",
    "rollout.questions=100000": "100000",
    "rollout.designs=0": "rollout.designs",
    "checkpoint.keep=0": "checkpoint.keep",
    "checkpoint.every=0": "checkpoint.every",
    "rl.executor_group=x": "x",
    "rl.aggregation=x": "rl.aggregation",
    "rl.first_stage=x": "x",
    "rl.stage_length=0": "stage",
    "rl.row_length=32": "rl.row_length",
    "rl.clip_low=-1.0": "rl.clip_low",
    "eval.systems=('oracle',)": "oracle",
    "eval.systems=('single','best_fixed')": "eval.systems cannot have best_fixed",
    "eval.systems=('self_consistency@matched','single','designed')": "name both before it",
    "eval.benchmarks=('nowhere',)": "nowhere",
    "eval.temperature=-1.0": "temperature",
    "eval.samples=0": "eval.samples",
    "engine.page_size=0": "engine.page_size",
    "engine.max_len=100000": "rl.row_length",
    "mesh.data=3": "mesh",
    "roles.designer.prompt=shrt": "shrt",
    "roles.executor.sampling.top_p=0.0": "top_p",
    "data.train_size=100": "held-out",
    "data.train.source='reasoning_gym:nothing'": "nothing",
    "task=nowhere:make": "nowhere",
}


def test_a_relative_workdir_and_continuing_without_init(workdir, tmp_path):
    """The README's commands use relative folders; a run that has begun needs its `init` no more."""
    import os

    folder = tmp_path / "relative"
    cold_start = os.path.relpath(workdir / "cold_start", ROOT)
    relative = os.path.relpath(folder, ROOT)
    mxjax(*tiny("train", relative, f"--config.init={cold_start}", "--config.rl.steps=1"))
    before = (folder / "config.json").read_text(), (folder / "tokenizer" / "tokenizer.json").read_text()
    mxjax(*tiny("train", relative))
    assert (folder / "tokenizer" / "tokenizer.json").read_text() == before[1]
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 2
    assert not (ROOT / "checkpoints").exists()


def test_a_run_of_another_kind_or_cold_start_is_refused(workdir, capsys):
    init = f"--config.init={workdir / 'cold_start'}"
    assert "mxjax sft" in fails(capsys, *tiny("train", workdir / "cold_start", init))
    assert "sft.steps" in fails(capsys, *tiny("sft", workdir / "cold_start", "--config.sft.steps=5"))
    assert cli.main([str(a) for a in tiny("sft", workdir / "cold_start")]) == 0
    assert "already trained" in capsys.readouterr().out


def test_a_workdir_of_other_settings_is_refused(workdir, capsys):
    init = f"--config.init={workdir / 'cold_start'}"
    printed = fails(capsys, *tiny("train", workdir, init, "--config.rl.clip_low=0.3"))
    assert "rl.clip_low" in printed and str(workdir) in printed


def test_a_checkpoint_of_another_model_is_refused(workdir, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    record = json.loads((copy / "config.json").read_text())
    record["model"]["hidden_size"] = 32
    (copy / "config.json").write_text(json.dumps(record))
    printed = fails(capsys, "solve", "1 + 1", "--checkpoint", copy)
    assert ", 64]" in printed and ", 32]" in printed and str(copy) in printed


DEBATE = """from workflow import *
a, b = AgentNode("Ann", "Solve it in words."), AgentNode("Bob", "Solve it with <b>algebra</b>.")
Workflow().add_node(DebateNode("Talk", [a, b], judge=AgentNode("Judge", "Decide."), num_rounds=2)).run(question)
"""


@pytest.mark.parametrize("text", [DEBATE, f"PATTERN: debate\n<code>\n```python\n{DEBATE}```\n</code>"])
def test_a_design_is_shown_as_text_and_drawn(text, tmp_path, capsys):
    script, drawing = tmp_path / "design.py", tmp_path / "design.svg"
    script.write_text(text)
    assert cli.main(["design", "show", str(script), "--svg", str(drawing)]) == 0
    printed = capsys.readouterr().out
    assert "pattern: debate" in printed and "Ann (AgentNode, line 2): Solve it in words." in printed
    assert "Ann --> Judge (certain)" in printed and "Ann -@> Bob (loop)" in printed
    root = ElementTree.fromstring(drawing.read_text())
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and {"Ann", "Bob", "Talk", "Judge"} <= texts


def test_what_cannot_be_shown_is_said_in_a_sentence(tmp_path, capsys):
    assert "no-such-file" in fails(capsys, "design", "show", tmp_path / "no-such-file")
    broken, empty = tmp_path / "broken.py", tmp_path / "empty.py"
    broken.write_text("x = (")
    assert cli.main(["design", "show", str(broken)]) == 1
    assert "no design that can run: line 1" in capsys.readouterr().out
    empty.write_text("x = 1")
    assert cli.main(["design", "show", str(empty)]) == 0 and "makes no agent" in capsys.readouterr().out
    assert cli.main(["design", "show", str(empty), "--svg", str(tmp_path / "x.svg")]) == 2
