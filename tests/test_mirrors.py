"""TensorBoard and Weights & Biases show each metrics line once, however often a run is killed and continued.

Both are stand-ins here, with the behaviour of theirs that matters: files that lose what was not flushed, and a server
that has what had arrived, ignores a step it has, and says where a resumed run stands.
"""

import json
import types

import pytest

from mxjax import cli
from mxjax.errors import MissingPackage
from mxjax.mirrors import WANDB, check_mirrors
from mxjax.workdir import Workdir


class Writer:
    """Points reach the file when they are flushed."""

    def __init__(self, folder, files):
        self.file, self.waiting = files.setdefault(folder, []), []

    def add_scalar(self, name, value, step):
        self.waiting.append((name, step))

    def flush(self):
        self.file += self.waiting
        self.waiting = []

    close = flush


class Server:
    """Runs by id; `late` lines are on their way and lost with the process that sent them."""

    def __init__(self, late=0):
        self.runs, self.late, self.asked = {}, late, []

    def init(self, **options):
        assert options["resume"] == "allow"
        self.asked.append(options)
        resumed = options["id"] in self.runs
        lines = self.runs.setdefault(options["id"], {})
        step = max(lines, default=-1) + 1
        sent = []

        def log(row, step, commit):
            sent.append((step, row["step"]))
            arrived = sent[: len(sent) - self.late]
            assert commit and all(number not in lines or lines[number] == value for number, value in arrived)
            lines.update(arrived)

        return types.SimpleNamespace(resumed=resumed, step=step, log=log, finish=lambda: lines.update(sent))


def start(path, modules, steps, dropped=None, **asked):
    """One start of a run that takes `steps`; the process ends without closing anything."""
    workdir = Workdir(path)
    if dropped is not None:
        workdir.drop_metrics_from(dropped)
    workdir.mirror(**asked)
    for step in steps:
        workdir.log(step, "", "rl", {"reward": 0.5, "patterns": {"vote": 1.0}})
    return workdir


@pytest.fixture
def files(monkeypatch):
    files = {}
    module = types.SimpleNamespace(SummaryWriter=lambda folder: Writer(folder, files))
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", module)
    return files


def test_tensorboard_has_every_line_of_a_killed_run_once(files, tmp_path):
    start(tmp_path, files, range(4), tensorboard=True)
    (points,) = files.values()
    assert [step for name, step in points if name == "rl/reward"] == [0, 1, 2, 3]
    assert not [name for name, _ in points if "patterns" in name or "stage" in name]
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.of.the.first.start").touch()
    Workdir(tmp_path).log(4, "", "rl", {"reward": 0.5})  # killed between the line and its points
    files.clear()
    start(tmp_path, files, range(3, 6), dropped=3, tensorboard=True)
    (points,) = files.values()
    assert [step for name, step in points if name == "rl/reward"] == [0, 1, 2, 3, 4, 5]
    assert not (tmp_path / "tensorboard" / "events.of.the.first.start").exists()


@pytest.mark.parametrize("late", [0, 1, 3])
def test_wandb_continues_one_run_and_lacks_no_line(late, tmp_path, monkeypatch):
    server = Server(late)
    monkeypatch.setitem(__import__("sys").modules, "wandb", server)
    start(tmp_path, None, range(4), wandb="project")
    start(tmp_path, None, range(2, 6), dropped=2, wandb="project")
    start(tmp_path, None, range(6, 8), dropped=6, wandb="project").close()
    (id,) = {options["id"] for options in server.asked}
    assert json.loads((tmp_path / WANDB).read_text()) == {"project": "project", "id": id}
    assert server.runs == {id: {number: number for number in range(8)}}
    start(tmp_path, None, (), wandb="another").close()  # which gets the lines so far
    assert len(server.runs) == 2 and all(len(lines) == 8 for lines in server.runs.values())


@pytest.mark.parametrize("asked", [{"tensorboard": True, "wandb": ""}, {"tensorboard": False, "wandb": "project"}])
def test_an_absent_mirror_is_named_before_any_work(asked, monkeypatch, tmp_path, capsys):
    for name in ("tensorboardX", "wandb"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingPackage, match=r"telemetry needs (tensorboardX|wandb); pip install 'mxjax\[log\]'"):
        check_mirrors(**asked)
    flags = [f"--config.telemetry.{name}={value}" for name, value in asked.items() if value]
    workdir = tmp_path / "a" / "run"
    assert cli.main(["sft", "--config", "configs/tiny.py", "--workdir", str(workdir), *flags]) == 2
    assert "pip install 'mxjax[log]'" in capsys.readouterr().err and not (tmp_path / "a").exists()
    check_mirrors(False, "")
