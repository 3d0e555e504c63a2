"""A whole tiny run, shared by the tests that need trained checkpoints and workdirs."""

import atexit
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent
SMALLER = (
    "--config.sft.steps=4",
    "--config.sft.optimizer.warmup_steps=1",
    "--config.sft.questions=40",
    "--config.rl.steps=2",
    "--config.rl.stage_length=1",
    "--config.data.validation_size=4",
    "--config.data.train_size=400",
)


def mxjax(*args, check=True, **environment):
    """Runs the command line in a process of its own, as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "mxjax", *map(str, args)], cwd=ROOT, text=True, capture_output=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", **environment}, timeout=600,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


def tiny(verb, workdir, *flags):
    """Arguments of a tiny `sft` or `train`."""
    return (verb, "--config", "configs/tiny.py", "--workdir", workdir, *SMALLER, "--quiet", *flags)


@functools.cache
def tiny_run() -> pathlib.Path:
    """The workdir of a finished tiny run (its cold start in `cold_start/`), made once per test session."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mxjax-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    mxjax(*tiny("sft", folder / "cold_start"))
    mxjax(*tiny("train", folder, f"--config.init={folder / 'cold_start'}"))
    return folder
