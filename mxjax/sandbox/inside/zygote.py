"""The warm process that jobs are forked from: interpreter started, numpy and sympy imported, nothing of any job seen.

For each job it forks a supervisor, which forks the job itself behind the walls of `jail`, keeps its wall clock and
reports how it ended. Programs and inputs go straight from the trainer to the job, so that no job can find another's in
memory that it inherited.

Descriptors of a job, in the order in which they arrive: status socket, payload, stdin, stdout, stderr[, channel].
"""

import fcntl
import gc
import json
import os
import random
import select
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import jail
import runner

_FIRST_UID, _UIDS = 60_000, 4_096
_SETUP_S = 30
_TICK_S = 0.005
_CPUCLOCK_SCHED = 2  # the kernel's clock of a process's run time, to be combined with its id
_SPARE = 64  # descriptors are moved beyond this one before they are put in place


def main() -> None:
    """Serves jobs until the trainer closes the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    policy = json.loads(control.recv(1 << 18))
    sys.path += policy["paths"]
    for name in policy["preload"]:
        try:
            __import__(name)
        except Exception:  # what is absent or broken here is absent or broken in jobs
            continue
    del sys.path[-len(policy["paths"]) :]  # jobs have what is loaded by now
    policy["seccomp"] = bytes.fromhex(policy["seccomp"])
    ruleset = jail.landlock_ruleset(policy["readable"], policy["listable"]) if policy["level"] == "B" else None
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    number = 0
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not message:
            return
        number += 1
        if os.fork() == 0:
            control.close()
            try:
                _supervise(policy, ruleset, json.loads(message), fds, _FIRST_UID + number % _UIDS)
            finally:
                os._exit(1)
        for fd in fds:
            os.close(fd)
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _supervise(policy: dict, ruleset: int | None, limits: dict, fds: list[int], uid: int) -> None:
    """Starts the job, waits for its end, reports it on the status socket, and exits."""
    status = socket.socket(fileno=fds[0])
    report, job_report = os.pipe()
    if policy["level"] == "A":
        jail.unshare()
    job = os.fork()
    if job == 0:
        _become_job(policy, ruleset, limits, fds[1:], job_report, uid if policy["own_uid"] else None)
    for fd in (*fds[1:], job_report):
        os.close(fd)
    stage = _stage(report)
    started = time.monotonic()
    why = _watch(status, job, limits) if stage == "S" else stage
    if why:
        os.kill(job, signal.SIGKILL)
    _, code, usage = os.wait4(job, 0)
    if not why and os.read(report, 1) != b"R":  # what compiles says so, on a descriptor that it then gives up
        why = "compile"
    ended = {
        "why": why,
        "code": os.waitstatus_to_exitcode(code),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - started,
    }
    status.send(json.dumps(ended).encode())
    os._exit(0)


def _stage(report: int) -> str:
    """ "S" once the walls stand, else why they do not."""
    ready, _, _ = select.select([report], [], [], _SETUP_S)
    text = os.read(report, 1).decode() if ready else ""
    if text in ("", "S"):
        return text or "setup: the job did not start"
    return text + os.read(report, 500).decode(errors="replace")


def _watch(status: socket.socket, job: int, limits: dict) -> str:
    """Waits until the job ends by itself (""), its time is over ("wall", "cpu"), or the trainer hangs up ("asked").

    The trainer may also stop the job (b"T") and let it go on (b"C"); stopped time counts as wall time.
    """
    ended = os.pidfd_open(job)
    deadline = time.monotonic() + limits["wall_s"]
    while True:
        wall_left, cpu_left = deadline - time.monotonic(), limits["cpu_s"] - _cpu_s(job)
        if min(wall_left, cpu_left) <= 0:
            return "cpu" if cpu_left <= 0 else "wall"
        ready, _, _ = select.select([status, ended], [], [], min(wall_left, max(cpu_left, _TICK_S)))
        if ended in ready:
            return ""
        if ready:
            try:
                order = status.recv(1)
            except OSError:
                order = b""
            if not order:
                return "asked"
            os.kill(job, signal.SIGSTOP if order == b"T" else signal.SIGCONT)


def _cpu_s(job: int) -> float:
    """Processor time that all threads of the process `job` have used so far."""
    try:
        return time.clock_gettime((~job << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _become_job(policy: dict, ruleset: int | None, limits: dict, fds: list[int], report: int, uid: int | None) -> None:
    """Raises the walls and runs the payload; never returns."""
    try:
        if policy["level"] == "A":
            jail.mount_private(limits["disk_mb"], os.getuid() if uid is None else uid)
        payload = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
        report, *rest = _place([*fds[1:], report, *([] if ruleset is None else [ruleset])], len(fds) - 1)
        jail.limit(limits, writes=policy["level"] == "A", own_uid=uid is not None)
        _reseed()
        if policy["level"] != "none":
            jail.drop_privileges(uid, policy["keep_reading"])
            os.chdir(jail.SCRATCH if policy["level"] == "A" else "/")
            if ruleset is not None:
                jail.restrict_files(rest[0])
            jail.filter_syscalls(policy["seccomp"])
        os.write(report, b"S")
    except BaseException as error:
        os.write(report, f"setup: {type(error).__name__}: {error}".encode()[:500])
        os._exit(1)
    runner.main(payload, report)


def _place(fds: list[int], first: int) -> list[int]:
    """Makes `fds` descriptors 0, 1, 2, ... and closes all others; the numbers from place `first` on."""
    spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, _SPARE) for fd in fds]
    for place, fd in enumerate(spare):
        os.dup2(fd, place, inheritable=True)
    os.closerange(len(fds), 4096)
    return list(range(first, len(fds)))


def _reseed() -> None:
    """The same program draws the same numbers in every job."""
    random.seed(0)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(0)


if __name__ == "__main__":
    main()
