"""The notebooks: every cell but `install` runs, on a tiny run substituted through the `parameters` cell.

The install cell is run against commands of ours that write down what they are asked.
"""

import itertools
import json
import pathlib
import re
import subprocess
import tomllib

import pytest
from runs import ROOT, SMALLER, tiny_run
from support import optional

NOTEBOOKS = ("quickstart", "evaluate")
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def read(name):
    return json.loads((ROOT / "colab" / f"{name}.ipynb").read_text())


def tags(cell):
    return cell["metadata"].get("tags", [])


def source(notebook, key):
    """The source of the cell with this id."""
    return "".join(next(cell["source"] for cell in notebook["cells"] if cell["id"] == key))


class Executed:
    """A notebook that has run: text and pictures of its cells by id, and how often each was redrawn."""

    def __init__(self, name, parameters):
        for extra in ("matplotlib", "ipykernel"):
            optional(extra)
        nbclient, nbformat = optional("nbclient"), optional("nbformat")
        notebook = nbformat.from_dict(read(name))
        notebook.cells = [cell for cell in notebook.cells if "install" not in tags(cell)]
        for cell in notebook.cells:
            cell.source = "".join(cell.source)
            if "parameters" in tags(cell):
                cell.source = "".join(f"{key} = {value!r}\n" for key, value in parameters.items())
        redrawn = self.redrawn = {}

        class Client(nbclient.NotebookClient):
            def clear_output(self, outs, msg, cell_index):
                key = self.nb.cells[cell_index].id
                redrawn[key] = redrawn.get(key, 0) + 1
                super().clear_output(outs, msg, cell_index)

        resources = {"metadata": {"path": str(ROOT)}}
        done = Client(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
        self.outputs = {cell.id: cell.outputs for cell in done.cells if cell.cell_type == "code"}

    def text(self, key):
        return "".join(output.text for output in self.outputs[key] if output.output_type == "stream")

    def pictures(self, key):
        return [output for output in self.outputs[key] if "image/png" in output.get("data", {})]


@pytest.fixture
def on_cpu(monkeypatch):
    """The settings of `runs.mxjax`, for the kernel and its commands."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("MPLBACKEND", raising=False)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_badge_opens_this_notebook_of_the_packages_repository(name):
    (badge,) = re.findall(r"\[!\[Open in Colab\]\([^)]+\)\]\(([^)]+)\)", source(read(name), "title"))
    path = REPOSITORY.removeprefix("https://github.com/")
    assert badge == f"https://colab.research.google.com/github/{path}/blob/main/colab/{name}.ipynb"
    assert f'REPOSITORY = "{REPOSITORY}"' in source(read(name), "install")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_stored_clean_with_parameters_first_and_prose_before_each_step(name):
    optional("nbformat").validate(read(name))
    cells = read(name)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert [tags(cell) for cell in code] == [["parameters"], ["install"], *([[]] * (len(code) - 2))]
    for before, cell in itertools.pairwise(cells):
        assert cell["cell_type"] == "markdown" or before["cell_type"] == "markdown", cell["id"]


def test_both_install_the_same_way():
    assert source(read("quickstart"), "install") == source(read("evaluate"), "install")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A runtime with nothing in it; `asked` are the commands, `backend` what JAX then answers."""

    class Machine:
        def __init__(self):
            self.backend, self.asked, self.devices, self.programs = "cpu", [], [], []

        def run(self, command, **options):
            self.asked.append(command)
            if command[:2] == ["git", "clone"]:
                (pathlib.Path(command[-1]) / "configs").mkdir(parents=True)
                (pathlib.Path(command[-1]) / "configs" / "quickstart.py").touch()
            return subprocess.CompletedProcess(command, 0, f"{self.backend}\n", "")

        def install(self):
            exec(source(read("quickstart"), "install"), {})
            return next(word for command in self.asked if "install" in command for word in command if "[" in word)

    machine = Machine()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)
    monkeypatch.setattr("subprocess.run", machine.run)
    monkeypatch.setattr("glob.glob", lambda pattern: [d for d in machine.devices if pattern[:8] == d[:8]])
    monkeypatch.setattr("shutil.which", lambda program: program if program in machine.programs else None)
    return machine


def test_install_takes_the_parts_of_the_runtime(machine, monkeypatch, tmp_path):
    assert machine.install() == ".[code,data]"
    assert pathlib.Path.cwd() == tmp_path / "mxjax"
    assert ["git", "clone", "--quiet", "--depth", "1", REPOSITORY, "mxjax"] in machine.asked
    machine.asked.clear()
    machine.programs, machine.backend = ["nvidia-smi"], "gpu"
    assert machine.install() == ".[code,data,cuda]"
    assert pathlib.Path.cwd() == tmp_path / "mxjax" and not any("git" in command for command in machine.asked)
    machine.asked.clear()
    machine.programs, machine.devices, machine.backend = [], ["/dev/accel0"], "tpu"
    assert machine.install() == ".[code,data,tpu]"
    machine.asked.clear()
    machine.devices = []
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5e-1")
    assert machine.install() == ".[code,data,tpu]"


def test_the_extras_that_install_names_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r'extras, expected = "([a-z,]+)"', source(read("quickstart"), "install"))
    assert len(named) == 3 and all(extra in extras for names in named for extra in names.split(","))


@pytest.mark.parametrize(("backend", "said"), [("cpu", "has a GPU, but JAX finds CPU"), ("", "finds no device")])
def test_install_stops_when_jax_does_not_use_the_device(machine, backend, said):
    machine.programs, machine.backend = ["nvidia-smi"], backend
    with pytest.raises(SystemExit, match=said):
        machine.install()


def test_the_plots_show_the_metrics(monkeypatch):
    for extra in ("matplotlib", "IPython"):
        optional(extra)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    optional("matplotlib").use("Agg")
    tools = {}
    exec(source(read("quickstart"), "tools"), tools)
    loss = [{"step": step, "phase": "sft", "sft/loss": 3.0 - step} for step in range(3)]
    (line,) = tools["draw_cold_start"](loss).axes[0].lines
    assert line.get_xydata().tolist() == [[0, 3], [1, 2], [2, 1]]
    shares = {"correct": 0.5, "valid_designs": 0.75, "reward": 0.25}
    rows = [{"step": step, "phase": "rl", "stage": ("executor", "designer")[step], **shares} for step in (0, 1)]
    test = {"step": 0, "phase": "eval", "system": "single", "when": "step 0", "accuracy": 0.6, "ci95": [0.5, 0.8]}
    left, right = tools["draw_rl"]([*rows, test]).axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[share] * 2 for share in shares.values()]
    assert [(patch.get_x(), patch.get_width()) for patch in left.patches] == [(0.5, 1.0)]
    assert [bar.get_height() for bar in right.patches] == [0.6]
    (whisker,) = right.collections[0].get_segments()
    assert whisker[:, 1].tolist() == pytest.approx([0.5, 0.8])
    for draw in ("draw_cold_start", "draw_rl"):
        tools[draw]([])
    tools["plt"].close("all")


def test_a_line_that_is_being_written_is_not_read(tmp_path):
    for extra in ("matplotlib", "IPython"):
        optional(extra)
    tools = {}
    exec(source(read("quickstart"), "tools"), tools)
    assert tools["read_metrics"](tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 2, "patterns": {}')
    assert tools["read_metrics"](tmp_path) == [{"step": 0}, {"step": 1}]


@pytest.mark.slow
def test_quickstart(on_cpu, tmp_path):
    optional("reasoning_gym")
    workdir = tmp_path / "run"
    parameters = {"CONFIG": "configs/tiny.py", "WORKDIR": str(workdir), "FLAGS": list(SMALLER), "QUESTION": "3 + 4"}
    executed = Executed("quickstart", parameters)
    assert "cold start: loss" in executed.text("cold-start")
    for key in ("cold-start", "rl"):
        assert len(executed.pictures(key)) == 1 and executed.redrawn[key] >= 2, key
    table = executed.text("table")
    assert all(word in table for word in ("accuracy", "single", "designed", "step 0", "step 2"))
    assert (workdir / "results.json").exists()
    solved = executed.text("solve")
    assert "answer:" in solved or "cannot run" in solved or "did not finish" in solved


@pytest.mark.slow
def test_evaluate(on_cpu, tmp_path):
    optional("reasoning_gym")
    parameters = {
        "CHECKPOINT": str(tiny_run()),
        "BENCHMARKS": "held_out",
        "SYSTEMS": "single,designed",
        "LIMIT": 2,
        "OUTPUT": str(tmp_path),
    }
    executed = Executed("evaluate", parameters)
    assert "step 2: sound" in executed.text("doctor")
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [(row["system"], row["n"]) for row in rows] == [("single", 2), ("designed", 2)]
    lines = executed.text("evaluate").splitlines()
    assert [line.split()[0] for line in lines] == ["when", "single", "designed"] and executed.redrawn["evaluate"] == 2
    assert len(executed.pictures("plot")) == 1
    episode = executed.text("episode")
    assert all(f"{part}\n" in episode for part in ("QUESTION", "DESIGN", "RETURNED")) and "expected" in episode
    trees = [json.loads(line) for line in (tmp_path / "episodes" / "designed_held_out.jsonl").read_text().splitlines()]
    assert any(tree["question"]["text"] in episode for tree in trees)


def test_a_mistake_in_the_parameters_stops_with_the_commands_sentence(on_cpu, tmp_path):
    parameters = {"CONFIG": "configs/tiny.py", "WORKDIR": str(tmp_path), "FLAGS": ["--config.rl.stepz=1"]}
    with pytest.raises(Exception, match=r"mxjax sft: the config has no key rl\.stepz: did you mean rl\.steps\?"):
        Executed("quickstart", parameters)
