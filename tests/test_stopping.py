"""SIGTERM and Ctrl-C: seen in every phase, obeyed only where state and files agree, and nothing is lost by them."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from rollout.scripted import ScriptedEngine
from rollout.test_tree import GOOD, QUESTIONS, SINGLE, is_designer
from runs import ROOT, mxjax, tiny, tiny_run
from support import optional

from mxjax import stopping
from mxjax.rewards import make_reward
from mxjax.rollout import Role, collect

FLAGS = ("--config.rl.steps=4", "--config.rl.stage_length=2", "--config.checkpoint.every=3", "--config.eval.every=2")


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python runs handlers between two bytecodes


def test_a_signal_ends_at_once_what_has_nothing_to_lose():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        with pytest.raises(stopping.Stopped) as stopped, stopping.on_signals():
            send(number)
        assert stopped.value.code == code and stopped.value.signal == number
        assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
        stopping.poll()  # forgotten with the handlers


def test_a_signal_during_an_import_waits_for_its_end(tmp_path, monkeypatch):
    """Compiled modules turn an exception there into an ImportError, which would end the run as a failure."""
    (tmp_path / "interrupted.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\n"
                                             "time.sleep(0.3)\nwhole = True\n")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(stopping.Stopped), stopping.on_signals():
        import interrupted

        assert interrupted.whole
        time.sleep(20)
    assert sys.modules.pop("interrupted").whole


def test_a_deferred_signal_waits_for_the_next_poll_and_a_second_one_is_safe():
    with pytest.raises(stopping.Stopped), stopping.on_signals(), stopping.deferred():
        stopping.poll()
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        done = True
        stopping.poll()
    assert done


def test_a_second_ctrl_c_aborts_at_once(capfd):
    with pytest.raises(KeyboardInterrupt), stopping.on_signals(), stopping.deferred():
        send(signal.SIGINT)
        assert "Ctrl-C again stops at once" in capfd.readouterr().err
        send(signal.SIGINT)


def test_what_is_done_before_anyone_asks_again_counts_as_done():
    with stopping.on_signals(), stopping.deferred():
        send(signal.SIGTERM)


def test_other_threads_and_inner_uses_leave_the_handlers_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def elsewhere():
        with stopping.on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]
    with stopping.on_signals():
        outer = signal.getsignal(signal.SIGTERM)
        with stopping.on_signals():
            assert signal.getsignal(signal.SIGTERM) == outer
        assert signal.getsignal(signal.SIGTERM) == outer


STUCK = """
import sys, time
from mxjax import stopping
stopping.PATIENCE_S = 0.5
with stopping.on_signals(), stopping.deferred():
    stopping.owe(sys.argv[1] == "owes")
    print("stuck", flush=True)
    time.sleep(2.0)
    stopping.poll()
"""


@pytest.mark.parametrize("state", ["free", "owes"])
def test_a_stuck_process_is_ended_unless_it_has_work_to_save(state):
    process = subprocess.Popen([sys.executable, "-c", STUCK, state], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0 and ("ended at once" in said) == (state == "free")


@pytest.mark.parametrize("by_designer", [True, False])
def test_a_rollout_stops_at_its_next_turn_and_leaves_no_request(by_designer):
    replies = []

    def reply(prompt, request):
        if is_designer(prompt) == by_designer or replies:
            replies.append(prompt)
            os.kill(os.getpid(), signal.SIGTERM)
        return SINGLE if is_designer(prompt) else GOOD

    engine = ScriptedEngine(reply)
    roles = {"designer": Role(engine), "executor": Role(engine)}
    with pytest.raises(stopping.Stopped), stopping.on_signals(), stopping.deferred():
        collect(QUESTIONS, roles, make_reward(), designs=4, executions=4)
    assert engine.live == 0 and 1 <= len(replies) <= 3  # as many as the engine gives in a turn


def rows(workdir):
    """Its metrics lines, without what the clock says."""
    of_time = lambda key: key.endswith("_s") or key in ("seconds", "seconds_per_question", "engine_host_share")
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if not of_time(key)} for line in lines]


def state_bits(workdir, step):
    """Every array of a checkpoint, parameters and optimiser states, as bytes."""
    import orbax.checkpoint as ocp

    from mxjax import checkpoint

    root = workdir / "checkpoints"
    found = {item: ocp.PyTreeCheckpointer().restore(root / str(step) / item) for item in checkpoint.leaves(root, step)}
    import jax

    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(found)]


@pytest.mark.slow
def test_a_run_stopped_at_random_moments_ends_in_the_same_bits(tmp_path):
    optional("reasoning_gym")
    init = f"--config.init={tiny_run() / 'cold_start'}"
    before = time.monotonic()
    mxjax(*tiny("train", tmp_path / "unbroken", init, *FLAGS))
    longest, draw, workdir = time.monotonic() - before, random.Random(0), tmp_path / "stopped"
    command = [sys.executable, "-m", "mxjax", *map(str, tiny("train", workdir, init, *FLAGS))]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    stops = 0
    while stops < 6:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.5, longest))
        stops += process.poll() is None
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        assert process.wait() == 0 and time.monotonic() - asked < 60
        assert not (workdir / "writer.lock").exists()
        if (workdir / "results.json").exists() and stops < 6:  # it came to its end: once more from the start
            assert rows(workdir) == rows(tmp_path / "unbroken")
            (workdir / "results.json").unlink()
            for step in (workdir / "checkpoints").iterdir():
                step.rename(tmp_path / f"{step.name}-{stops}-{time.monotonic()}")
    mxjax(*command[3:])
    assert rows(workdir) == rows(tmp_path / "unbroken")
    assert state_bits(workdir, 4) == state_bits(tmp_path / "unbroken", 4)


@pytest.mark.slow
def test_an_evaluation_that_was_stopped_resumes_with_the_answers_that_it_has(tmp_path):
    asked = ("evaluate", "--checkpoint", str(tiny_run()), "--benchmark", "reasoning_gym:chain_sum", "--limit", "48",
             "--system", "single,designed", "--max_tokens", "64", "--slots", "4", "--quiet")  # fmt: skip
    mxjax(*asked, "--output", tmp_path / "unbroken")
    stopped = tmp_path / "stopped"
    command = [sys.executable, "-m", "mxjax", *asked, "--output", str(stopped), "--resume"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    answered = lambda: [line for file in stopped.glob("episodes/*.jsonl") for line in file.read_text().splitlines()]
    while not answered() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM and "the same command with --resume continues" in said
    kept = answered()
    assert 1 <= len(kept) < 2 * 48 and not (stopped / "writer.lock").exists()
    mxjax(*command[3:])
    assert set(kept) <= set(answered())
    made = [json.loads((folder / "results.json").read_text())["rows"] for folder in (stopped, tmp_path / "unbroken")]
    clock = ("seconds", "seconds_per_question")
    a, b = ([{key: row[key] for key in row if key not in clock} for row in found] for found in made)
    assert a == b
