"""The wheel as a user installs it: whole, and enough for a run."""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
from runs import ROOT, SMALLER
from support import missing

import mxjax

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "mxjax", "configs")


def version_of(name: str) -> str:
    """The installed version of a package, "0" without one."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "0"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The wheel, built without the network.

    From a copy of the sources, since building leaves files beside them.
    """
    for name, least in (("setuptools", 77), ("pip", 23)):
        if int(version_of(name).partition(".")[0]) < least:
            missing(name, f"building without the network needs {name} {least} or newer")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "-w", built, source], capture_output=True, text=True, cwd=built)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = built.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs a program of a venv with the wheel, and its folder.

    The dependencies are those of this Python.
    """
    env, folder = tmp_path_factory.mktemp("env"), tmp_path_factory.mktemp("empty")
    venv.create(env, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", env / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", wheel], check=True)
    (site,) = env.glob("lib/python*/site-packages")
    others = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("\n".join(others) + "\n")  # lines of a .pth there are not read again
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def run(program, *args, fails=False):
        done = subprocess.run(
            [env / "bin" / program, *map(str, args)], cwd=folder, text=True, capture_output=True, timeout=600,
            env={**clean, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    assert pathlib.Path(run("python", "-c", "import mxjax; print(mxjax.__file__)").strip()).is_relative_to(site)
    return run, folder


def test_the_wheel_has_every_file_of_the_package_and_of_the_configs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = lambda folder: (path for path in (ROOT / folder).rglob("*") if path.is_file())
    wanted = {path.relative_to(ROOT).as_posix() for path in files("mxjax") if "__pycache__" not in path.parts}
    configs = (path.relative_to(ROOT / "configs") for path in files("configs") if "__pycache__" not in path.parts)
    assert packed == wanted | {f"mxjax/_configs/{path.as_posix()}" for path in configs}


def test_the_version_and_the_configs_are_told_anywhere(installed):
    run, folder = installed
    assert run("mxjax", "--version") == f"mxjax {mxjax.__version__}\n"
    listed = [line.split()[0] for line in run("mxjax", "configs").splitlines()]
    assert listed == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
    assert run("mxjax", "configs", "--show", "quickstart") == (ROOT / "configs" / "quickstart.py").read_text()
    said = run("mxjax", "sft", "--config", "tini", "--workdir", "runs/a", fails=True)
    assert "did you mean tiny?" in said and "Traceback" not in said
    assert not any(folder.iterdir())


@pytest.mark.slow
def test_a_whole_run_needs_nothing_but_the_wheel(installed):
    run, folder = installed
    run("mxjax", "sft", "--config", "tiny", "--workdir", "runs/a/cold_start", "--quiet", *SMALLER)
    table = run(
        "mxjax", "train", "--config", "configs/tiny.py", "--workdir", "runs/a", "--quiet", *SMALLER,
        "--config.init=runs/a/cold_start",
    )  # fmt: skip
    assert "designed" in table and (folder / "runs" / "a" / "report.html").stat().st_size > 10_000
    results = json.loads((folder / "runs" / "a" / "results.json").read_text())
    assert results["versions"]["mxjax"] == mxjax.__version__ and len(results["rows"]) == 6
    assert (folder / "runs" / "a" / "prompts" / "designer.toml").is_file()
    assert [path.name for path in folder.iterdir()] == ["runs"]
