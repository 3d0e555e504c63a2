"""Folders with odd names, full disks and disks that take nothing: one sentence, and what was there stays sound."""

import json
import os
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from runs import ROOT, mxjax, tiny

from mxjax import checkpoint
from mxjax.errors import FileError
from mxjax.files import check_can_write, matching, new_folder, write_text
from mxjax.workdir import Workdir

ODD = "a[1] *?{b}"


@pytest.fixture
def disk(tmp_path):
    """`disk(kilobytes)`: a small disk of its own, or `disk(kilobytes, "ro")` one that cannot be written."""
    mounted = []

    def make(kilobytes, mode="rw"):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,{mode}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a disk needs root")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def state(seed, size=100_000):
    values = np.random.default_rng(seed).normal(size=size)  # which no compression makes smaller
    return {"params": {"shared": {"w": jnp.asarray(values, jnp.float32)}}, "meta": {"step": seed}}


def test_a_pattern_is_for_names_and_not_for_the_folder(tmp_path):
    for name in (ODD, "a1 xyb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "eval_0.jsonl").touch()
    found = matching(tmp_path / ODD, "eval_*.jsonl")
    assert found == [tmp_path / ODD / "eval_0.jsonl"] and matching(tmp_path / "nowhere", "*") == []


def test_checkpoints_are_kept_in_a_folder_of_any_name(tmp_path):
    root = tmp_path / ODD / "checkpoints"
    with checkpoint.Checkpointer(root, keep=1) as checkpointer:
        for step in (1, 2):
            checkpointer.save(state(step, 10), step)
    assert checkpoint.steps(root) == [2] and not checkpoint.fault(root, 2)
    restored = checkpoint.restore(root, state(0, 10))
    assert np.array_equal(restored["params"]["shared"]["w"], state(2, 10)["params"]["shared"]["w"])


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(KeyError), new_folder(tmp_path / "old" / "a" / "b"):
        raise KeyError
    assert not (tmp_path / "old" / "a").exists() and (tmp_path / "old").exists()
    with pytest.raises(KeyError), new_folder(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
        raise KeyError
    assert (tmp_path / "new" / "file").exists()


def test_checkpoints_survive_a_full_disk(disk, caplog):
    root = disk(1600) / "checkpoints"
    full = pytest.raises(FileError, match=r"cannot write checkpoint step .*: No space left on device; the finished")
    with full, checkpoint.Checkpointer(root, keep=9) as checkpointer:
        for step in range(1, 9):
            checkpointer.save(state(step), step)
            checkpointer.wait()
    saved = checkpoint.steps(root)
    assert saved and saved[-1] < 8 and not any(checkpoint.fault(root, step) for step in saved)
    restored = checkpoint.restore(root, state(0))
    assert np.array_equal(restored["params"]["shared"]["w"], state(saved[-1])["params"]["shared"]["w"])
    assert "Traceback" not in caplog.text
    shutil.rmtree(root / "1")
    checkpoint.save(root, state(8), 8)  # what the failed save left is in nobody's way
    assert sorted(path.name for path in root.iterdir()) == sorted(map(str, [*saved[1:], 8]))


def test_files_survive_a_full_disk(disk):
    folder = disk(64)
    workdir = Workdir(folder / "run")
    workdir.write_json("results.json", {"rows": [1]})
    with pytest.raises(FileError, match=r"^cannot write .*results\.json: No space left on device$"):
        workdir.write_json("results.json", {"rows": list(range(20_000))})
    assert json.loads((folder / "run" / "results.json").read_text()) == {"rows": [1]}
    assert not (folder / "run" / "results.json.tmp").exists()
    with pytest.raises(FileError, match=r"^cannot write .*metrics\.jsonl: No space left on device$"):
        for step in range(1000):
            workdir.log(step, "", "rl", {"note": "x" * 500})
    rows = Workdir(folder / "run").metrics()
    assert [row["step"] for row in rows] == list(range(len(rows))) and rows
    with pytest.raises(FileError, match="No space left"):
        workdir.append("episodes.jsonl", [{"text": "x" * 100_000}])


@pytest.mark.parametrize("make", [
    lambda folder: Workdir(folder / "run").write_json("config.json", {}), lambda folder: write_text(folder / "x", "y"),
    lambda folder: checkpoint.Checkpointer(folder / "run" / "checkpoints"),
    lambda folder: Workdir(folder / "run").log(0, "", "rl", {}),
])  # fmt: skip
def test_a_disk_that_takes_nothing_is_named(disk, make):
    with pytest.raises(FileError, match=r"cannot (write|make the folder) .*: Read-only file system"):
        make(disk(64, "ro"))


def test_a_folder_that_cannot_be_made_is_refused_before_it_is_needed(tmp_path, disk):
    check_can_write(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot make the folder .*/file/run: .*/file is a file"):
        check_can_write(tmp_path / "file" / "run")
    with pytest.raises(FileError, match=r"cannot write to .*: Read-only file system"):
        check_can_write(disk(64, "ro") / "run")


# Whole commands


def sums(verb, workdir, *flags):
    return (*tiny(verb, workdir), "--config.data.train={'source': 'arithmetic:sums'}", *flags)


@pytest.mark.slow
def test_whole_runs_work_in_a_folder_of_any_name(tmp_path):
    run, output = tmp_path / ODD / "run", tmp_path / ODD / "evaluation"
    mxjax(*sums("sft", run / "cold_start"))
    mxjax(*sums("train", run, f"--config.init={run / 'cold_start'}", "--config.rl.steps=1"))
    asked = ("--benchmark", "held_out", "--system", "single", "--limit", "2", "--quiet")
    mxjax("evaluate", "--checkpoint", run, "--output", output, *asked)
    mxjax("evaluate", "--checkpoint", run, "--output", output, *asked, "--resume")
    mxjax("report", run)
    page = (run / "report.html").read_text()
    assert "before" in page.lower() and len(json.loads((output / "results.json").read_text())["rows"]) == 1
    assert "sound" in mxjax("doctor", run).stdout
    mxjax("convert", run, tmp_path / ODD / "hf")
    assert mxjax("solve", "1 + 1", "--checkpoint", tmp_path / ODD / "hf", check=False).returncode in (0, 1)
    questions = tmp_path / ODD / "q.jsonl"
    questions.write_text("".join(json.dumps({"question": f"{n} + 1", "answer": n + 1}) + "\n" for n in range(9)))
    mxjax("evaluate", "--checkpoint", run, "--output", output, "--benchmark", f"jsonl:{questions}", *asked[2:])


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_in_a_sentence_and_goes_on_with_more_room(disk):
    folder = disk(4_000)
    command = sums("sft", folder / "run", "--config.sft.checkpoint_every=1", "--config.sft.steps=8")
    done = mxjax(*command, check=False)
    assert done.returncode == 2 and "No space left on device" in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("mxjax sft: ")]
    # a thread of Orbax may print the traceback of its closed event loop, in which no line is ours
    assert len(said) == 1 and f"{ROOT}/mxjax/" not in done.stderr, done.stderr
    subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)
    saved = checkpoint.steps(folder / "run" / "checkpoints")
    assert not any(checkpoint.fault(folder / "run" / "checkpoints", step) for step in saved)
    mxjax(*command)
    rows = Workdir(folder / "run").metrics()
    assert [row["step"] for row in rows] == list(range(8)) and os.path.exists(folder / "run" / "results.json")


@pytest.mark.slow
def test_a_run_on_a_disk_that_takes_nothing_ends_in_a_sentence(disk):
    done = mxjax(*sums("sft", disk(4_000, "ro") / "run"), check=False)
    assert done.returncode == 2 and "Read-only file system" in done.stderr and "Traceback" not in done.stderr
