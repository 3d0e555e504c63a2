"""A folder has one writer: of real processes that begin at once one wins, and no dead one keeps the others out."""

import contextlib
import json
import logging
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import time

import pytest
from runs import ROOT

from mxjax import cli, lock
from mxjax.command_line import running
from mxjax.errors import RunStopped, UserError
from mxjax.lock import LOCK, only_writer

HOLD = """
import sys, time
from mxjax.errors import UserError
from mxjax.lock import only_writer
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
try:
    with only_writer(sys.argv[1]):
        print("won", flush=True)
        sys.stdin.read()
except UserError as error:
    print(error, flush=True)
"""


def start(folder, at=0.0):
    """A process that takes the lock at that time and holds it until its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(at)], cwd=ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def elsewhere(monkeypatch):
    """No kernel locks, as on an object store, and little patience."""
    monkeypatch.setattr(lock, "_kernel_lock", lambda path: None)
    monkeypatch.setattr(lock, "SETTLE_S", 0.2)
    monkeypatch.setattr(lock, "BEAT_S", 0.05)


def left_behind(folder, **changes):
    """The lock file of a writer on another machine, with these fields changed."""
    other = {"boot": "another", "host": "node-7", "pid": 17, "command": "mxjax train", "since": "2026-11-30T00:00:00"}
    record = {"token": "t", "heartbeat": time.time(), **other, **changes}
    folder.mkdir(exist_ok=True)
    (folder / LOCK).write_text(json.dumps(record))


def test_of_processes_that_begin_at_once_exactly_one_writes(tmp_path):
    folder, at = tmp_path / "run", time.time() + 2
    started = [start(folder, at) for _ in range(4)]
    said = [process.stdout.readline().strip() for process in started]
    (winner,) = (process for process, line in zip(started, said) if line == "won")
    for line in said:
        assert line == "won" or f"is being written by process {winner.pid} on " in line
    for process in started:
        process.communicate()
    assert not folder.exists()  # it stayed empty


def test_a_killed_writer_lets_the_next_one_in(tmp_path, caplog):
    first = start(tmp_path)
    assert first.stdout.readline() == "won\n"
    with pytest.raises(
        UserError, match=rf"(?s)process {first.pid} on .*, since 20.*\(.*-c.*\); wait for it, end it, or"
    ):
        only_writer(tmp_path).__enter__()
    first.kill()
    first.wait()
    with caplog.at_level(logging.WARNING), only_writer(tmp_path):
        assert f"was left behind by process {first.pid}" in caplog.text
    assert not (tmp_path / LOCK).exists()


def test_an_error_releases_the_lock_and_leaves_no_empty_folder(tmp_path):
    with contextlib.suppress(KeyError), only_writer(tmp_path / "a" / "b"):
        raise KeyError
    assert not (tmp_path / "a").exists()
    with only_writer(tmp_path / "a"):
        (tmp_path / "a" / "file").touch()
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "file"]


@pytest.mark.parametrize("command", ["sft", "train"])
def test_a_second_start_is_refused_and_writes_nothing(tmp_path, capsys, command):
    with only_writer(tmp_path):
        held = (tmp_path / LOCK).read_text()
        assert cli.main([command, "--config", f"{ROOT}/configs/tiny.py", "--workdir", str(tmp_path)]) == 2
        assert f"{tmp_path} is being written by process {os.getpid()} on " in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == [LOCK] and (tmp_path / LOCK).read_text() == held


@pytest.mark.parametrize("kernel", [True, False])
def test_a_writer_on_another_machine_counts_as_alive_while_its_heart_beats(tmp_path, kernel, request, caplog):
    if not kernel:
        request.getfixturevalue("elsewhere")
    left_behind(tmp_path)
    with pytest.raises(UserError, match=r"process 17 on node-7, since 2026-11-30T00:00:00 \(mxjax train\)"):
        only_writer(tmp_path).__enter__()
    left_behind(tmp_path, heartbeat=time.time() - 2 * lock.STALE_S)
    with only_writer(tmp_path):
        assert "was left behind by process 17 on node-7" in caplog.text


def test_a_dead_process_of_this_machine_needs_no_patience(tmp_path, elsewhere):
    mine = lock._me()
    left_behind(tmp_path, **mine | {"heartbeat": time.time()})
    with pytest.raises(UserError, match=f"process {os.getpid()}"):
        only_writer(tmp_path).__enter__()
    for gone in ({"pid": 2**22 + 1}, {"pid_started": "another process had the number"}):
        left_behind(tmp_path, **mine | {"heartbeat": time.time()} | gone)
        with only_writer(tmp_path):
            pass


def test_without_a_kernel_lock_the_last_of_those_who_wrote_at_once_has_it(tmp_path, elsewhere, monkeypatch):
    """All have found the folder free before the first of them writes."""
    outcomes, barrier, write = [], threading.Barrier(4), lock._write

    def write_together(held):
        if not held.record["heartbeat"]:
            barrier.wait()
        write(held)

    monkeypatch.setattr(lock, "_write", write_together)
    monkeypatch.setattr(lock, "SETTLE_S", 2.0)  # longer than a busy machine takes for four writes

    def compete():
        try:
            with only_writer(tmp_path):
                outcomes.append("won")
                time.sleep(0.5)
        except UserError:
            outcomes.append("refused")

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 3 + ["won"]


@pytest.mark.parametrize("left", [b'{"token": "a", "ho', b"", None])
def test_without_a_kernel_lock_nobody_wins_with_a_record_that_cannot_be_read(tmp_path, elsewhere, monkeypatch, left):
    """A record that another's has mixed with, or that is gone, says of nobody that the lock is theirs."""

    def spoil(held):
        held.path.write_bytes(left) if left is not None else held.path.unlink(missing_ok=True)

    monkeypatch.setattr(lock, "_write", spoil)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is being written by another process that has only just begun"):
        only_writer(tmp_path).__enter__()


def test_without_a_kernel_lock_a_reader_always_finds_a_whole_record(tmp_path, elsewhere):
    """Two that write records of different lengths at once, as fast as they can."""
    locks = [lock.Lock(lock.absolute(tmp_path / LOCK), {**lock._me(), "command": "x" * 10**n}) for n in (1, 5)]
    lock._write(locks[0])
    until = time.monotonic() + 1.5

    def write(held):
        while time.monotonic() < until:
            lock._write(held)

    threads = [threading.Thread(target=write, args=(held,)) for held in locks]
    for thread in threads:
        thread.start()
    found = []
    while time.monotonic() < until:
        found.append(lock._read(tmp_path / LOCK))
    for thread in threads:
        thread.join()
    assert None not in found and {held["token"] for held in found} == {held.record["token"] for held in locks}
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_long_command_line_is_named_whole(tmp_path):
    arguments = ["train", "--config", "a b.py", "--config.init=" + "é" * 3000]
    with running(arguments), only_writer(tmp_path):
        with pytest.raises(UserError) as caught:
            only_writer(tmp_path).__enter__()
        assert shlex.join(["mxjax", *arguments]) in str(caught.value)
        assert (tmp_path / LOCK).stat().st_size % lock.WIDTH == 0
    (tmp_path / LOCK).write_bytes(b"x" * 3 * lock.WIDTH)  # left behind, and longer than the next record
    (tmp_path / "file").touch()
    with only_writer(tmp_path) as held:
        assert lock._read(tmp_path / LOCK) == held.record


def test_the_heart_beats_and_a_lock_that_was_taken_over_stops_the_writer(tmp_path, elsewhere):
    read = lambda: json.loads(pathlib.Path(tmp_path / LOCK).read_text())
    with only_writer(tmp_path) as held:
        first = read()["heartbeat"]
        while read()["heartbeat"] == first:
            time.sleep(0.01)
        held.check()
        left_behind(tmp_path)
        while not held.lost:
            time.sleep(0.01)
        with pytest.raises(RunStopped, match="was taken over by another writer"):
            held.check()
    assert read()["host"] == "node-7"  # it is theirs, and stays
