"""The warm process that jobs are forked from.

Interpreter started, numpy and sympy imported, nothing of any job seen. It forks each job, one ahead of need, which then
raises the walls of `jail` around itself; keeps the clocks of all that run; and reports how each ended. Programs and
inputs go straight from the trainer to the job, so that no job can find another's in memory that it inherited.

Descriptors of a job, in the order in which they arrive: status socket, payload, stdin, stdout, stderr[, channel].
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import itertools
import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import jail
import runner

_TICK_S, _WAIT_S = 0.005, 60.0
_CPUCLOCK_SCHED = 2  # the kernel's clock of a process's run time, to be combined with its id
_HUGE = 2 << 20
_SPARE = 16  # descriptors are moved to this one and beyond before they are put in place


def main() -> None:
    """Serve jobs until the trainer closes the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    policy = json.loads(control.recv(1 << 18))
    sys.path += policy["paths"]
    for name in policy["preload"]:
        try:
            __import__(name)
        except Exception:  # what is absent or broken here is absent or broken in jobs
            continue
    runner.prepare()
    del sys.path[-len(policy["paths"]) :]  # jobs have what is loaded by now
    policy["seccomp"] = bytes.fromhex(policy["seccomp"])
    policy["scratch"] = jail.SCRATCH if policy["level"] == "A" else None
    by_landlock = policy["level"] == "B"
    policy["pids"] = os.open("/proc/self/ns/pid", os.O_RDONLY) if policy["level"] == "A" else None
    policy["ruleset"] = None
    if by_landlock:
        policy["scratch"] = jail.SCRATCH_B if jail.prepare_scratch() else None
        os.environ["TMPDIR"] = policy["scratch"] or "/"
        policy["ruleset"] = jail.landlock_ruleset(policy["readable"], policy["listable"], bool(policy["scratch"]))
    if policy["level"] != "none":
        jail.bound_capabilities()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory runs out, it is a job that the kernel ends and not the trainer
    _seed()
    gc.collect()
    gc.freeze()
    _use_huge_pages()
    control.send(b"ready")
    _serve(control, policy)


def _serve(control: socket.socket, policy: dict) -> None:
    """Take in jobs, watch them and report their ends.

    Until the trainer closes `control`.
    """
    poll = select.poll()
    poll.register(control, select.POLLIN)
    running: dict[int, Job] = {}  # by the descriptor that tells their end
    listening: dict[int, Job] = {}  # by the one that brings orders
    uids = _uids()
    spare = _ahead(policy, uids, running)
    while True:
        wait_s = min((job.patience_s() for job in running.values()), default=_WAIT_S)
        for fd, _ in poll.poll(1e3 * min(wait_s, _WAIT_S)):
            if fd == control.fileno():
                message, fds, flags, _ = socket.recv_fds(control, 1 << 16, 8)
                if not message:
                    return
                spare = spare or _ahead(policy, uids, running)
                if spare is None or flags & socket.MSG_CTRUNC:
                    _refuse(fds)
                    continue
                spare.begin(message, fds)
                running[spare.ended], listening[spare.status.fileno()] = spare, spare
                poll.register(spare.ended, select.POLLIN)
                poll.register(spare.status, select.POLLIN)
                spare = _ahead(policy, uids, running)
            elif fd in running:
                job = running.pop(fd)
                poll.unregister(fd)
                if listening.pop(job.status.fileno(), None):
                    poll.unregister(job.status)
                job.report()
            elif fd in listening and not listening[fd].obey():
                del listening[fd]
                poll.unregister(fd)


def _uids() -> Iterator[int]:
    """User ids for jobs, over and over.

    Far from everybody else's, or the last ones of a container that has few. The kernel counts a user's threads over all
    sandboxes, so each begins somewhere else.
    """
    with open("/proc/self/uid_map") as file:
        end = max(int(first) + int(count) for first, _, count in map(str.split, file))
    free = range(1 << 30, 1 << 31) if end > 1 << 31 else range(60_000, min(end, 65_534))
    first = int.from_bytes(os.urandom(6), "little")
    return (free[number % len(free)] for number in itertools.count(first))


def _ahead(policy: dict, uids: Iterator[int], running: dict) -> Job | None:
    """A process for the next job.

    Returns None when the machine has no room for one now.
    """
    busy = {job.uid for job in running.values()}
    uid = next(uid for uid in uids if uid not in busy) if policy["own_uid"] else None
    try:
        return Job(policy, uid)
    except OSError:
        return None


def _refuse(fds: list[int]) -> None:
    """Report a job that cannot be started: a fault of the machine."""
    ended = {"why": "setup: the machine has no room for a job", "code": -1, "cpu_s": 0.0, "wall_s": 0.0}
    with contextlib.suppress(OSError, IndexError):
        os.write(fds[0], json.dumps(ended).encode())
    for fd in fds:
        os.close(fd)


class Job:
    """A process behind the walls, seen from outside.

    `ended` becomes readable at its end, `status` at an order.
    """

    def __init__(self, policy: dict, uid: int | None):
        """Fork a process that waits for its job.

        Raises OSError when the machine does not let it.
        """
        self._why, self.uid, parent = "", uid, os.getpid()
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            self._told, tells = os.pipe()
            theirs.callback(os.close, tells)
            ours.callback(os.close, self._told)
            self._hands, takes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            theirs.callback(takes.close)
            ours.callback(self._hands.close)
            self._pid = jail.fork(policy["pids"])
            if self._pid == 0:
                try:
                    self._hands.close()
                    _become_job(policy, takes, tells, uid, parent)
                finally:
                    os._exit(1)  # whatever fails in it, a job never goes on as the warm process
            ours.callback(os.waitpid, self._pid, 0)
            ours.callback(os.kill, self._pid, signal.SIGKILL)
            self.ended = os.pidfd_open(self._pid)
            ours.pop_all()

    def begin(self, message: bytes, fds: list[int]) -> None:
        """Hand it its limits and descriptors.

        One that is dead by now is reported as one that did not start.
        """
        self.status = socket.socket(fileno=fds[0])
        self.status.setblocking(False)
        self._limits, self._started = json.loads(message), time.monotonic()
        with contextlib.suppress(OSError):
            socket.send_fds(self._hands, [message], fds[1:])
        self._hands.close()
        for fd in fds[1:]:
            os.close(fd)

    def patience_s(self) -> float:
        """Seconds until its clocks must be read again.

        Ends it if one has run out.
        """
        if not self._why:
            wall_left = self._started + self._limits["wall_s"] - time.monotonic()
            cpu_left = self._limits["cpu_s"] - _cpu_s(self._pid)
            if min(wall_left, cpu_left) > 0:
                return min(wall_left, max(cpu_left, _TICK_S))
            self._end("cpu" if cpu_left <= 0 else "wall")
        return _WAIT_S

    def obey(self) -> bool:
        """Stop the job at b"T", let it go on at b"C".

        Stopped time counts as wall time. Returns False if the trainer hung up.
        """
        try:
            order = self.status.recv(1)
        except OSError:
            order = b""
        if not order:
            self._end("asked")
            return False
        os.kill(self._pid, signal.SIGSTOP if order == b"T" else signal.SIGCONT)
        return True

    def _end(self, why: str) -> None:
        self._why = self._why or why
        os.kill(self._pid, signal.SIGKILL)

    def report(self) -> None:
        """Report the end of the job, and give up every descriptor.

        Called once `ended` says that it ended.
        """
        _, status, usage = os.wait4(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != -signal.SIGKILL:
            self._why = ""  # it had ended by itself before the clock was looked at
        ended = {
            "why": self._fault() or self._why,
            "code": code,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "wall_s": time.monotonic() - self._started,
        }
        with contextlib.suppress(OSError):  # the trainer may have hung up
            self.status.send(json.dumps(ended).encode())
        self.status.close()
        os.close(self._told)
        os.close(self.ended)

    def _fault(self) -> str:
        """What the job said before any line of its program ran.

        Nothing is wrong if both walls and source stood.
        """
        message = os.read(self._told, 512).decode(errors="replace")
        if message.startswith("S"):
            return "" if self._why or message == "SR" else "compile"
        return message or "setup: the job did not start"


def _cpu_s(job: int) -> float:
    """Seconds of processor time of all threads of a process."""
    try:
        return time.clock_gettime((~job << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _become_job(policy: dict, takes: socket.socket, report: int, uid: int | None, parent: int) -> None:
    """Wait for the job, raises the walls and runs the payload.

    Never returns.
    """
    ruleset = policy["ruleset"]
    try:
        message, fds, flags, _ = socket.recv_fds(takes, 1 << 16, 8)
        if not message:
            os._exit(0)
        if flags & socket.MSG_CTRUNC:
            raise OSError("descriptors were lost")
        limits = json.loads(message)
        if policy["scratch"]:
            mount = jail.mount_private if policy["level"] == "A" else jail.mount_alone
            mount(limits["disk_mb"], os.getuid() if uid is None else uid)
        payload = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
        report, *rest = _place([*fds[1:], report, *([] if ruleset is None else [ruleset])], len(fds) - 1)
        jail.limit(limits, writes=bool(policy["scratch"]), own_uid=uid is not None)
        random.seed(0)  # forking has stirred it
        if policy["level"] != "none":
            jail.drop_privileges(uid, policy["keep_reading"])
        jail.die_with(parent)
        if policy["level"] != "none":
            os.chdir(policy["scratch"] or "/")
            if ruleset is not None:
                jail.restrict_files(rest[0])
            jail.filter_syscalls(policy["seccomp"])
        os.write(report, b"S")
    except BaseException as error:
        os.write(report, f"setup: {type(error).__name__}: {error}".encode()[:500])
        os._exit(1)
    runner.main(payload, report)


def _place(fds: list[int], first: int) -> list[int]:
    """Make `fds` descriptors 0, 1, 2, ...

    And closes all others; the numbers from place `first` on.
    """
    spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, _SPARE) for fd in fds]
    for place, fd in enumerate(spare):
        os.dup2(fd, place, inheritable=True)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd >= len(fds):
            with contextlib.suppress(OSError):  # the listing's own is closed by now
                os.close(fd)
    return list(range(first, len(fds)))


def _seed() -> None:
    """The same program draws the same numbers in every job."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(0)


def _use_huge_pages() -> None:
    """Gather this process's memory in huge pages where the kernel can.

    A fork copies an entry for each page.
    """
    with open("/proc/self/maps") as file:
        areas = [line.split() for line in file]
    for extent, access, *_, name in (area if len(area) == 6 else [*area, ""] for area in areas):
        if access == "rw-p" and name in ("", "[heap]"):
            start, end = (int(address, 16) for address in extent.split("-"))
            for page in range(-(-start // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE):
                jail.collapse(page, _HUGE)


if __name__ == "__main__":
    main()
