"""The warm process that jobs are forked from: interpreter started, numpy and sympy imported, nothing of any job seen.

It forks each job, one ahead of need, which then raises the walls of `jail` around itself; keeps the clocks of all that
run; and reports how each ended. Programs and inputs go straight from the trainer to the job, so that no job can find
another's in memory that it inherited.

Descriptors of a job, in the order in which they arrive: status socket, payload, stdin, stdout, stderr[, channel].
"""

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

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import jail
import runner

_FIRST_UID, _UIDS = 60_000, 4_096
_TICK_S, _ENDING_S = 0.005, 60.0
_CPUCLOCK_SCHED = 2  # the kernel's clock of a process's run time, to be combined with its id
_HUGE = 2 << 20
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
    by_landlock = policy["level"] == "B"
    policy["ruleset"] = jail.landlock_ruleset(policy["readable"], policy["listable"]) if by_landlock else None
    if policy["level"] != "none":
        jail.bound_capabilities()
    _seed()
    gc.collect()
    gc.freeze()
    _use_huge_pages()
    control.send(b"ready")
    _serve(control, policy)


def _serve(control: socket.socket, policy: dict) -> None:
    """Takes jobs in, watches them, and reports their ends, until the trainer closes `control`."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    running, listening = {}, {}  # jobs by the descriptor that tells their end, and by the one that brings orders
    uids = itertools.cycle(range(_FIRST_UID, _FIRST_UID + _UIDS))
    spare = Job(policy, next(uids))
    while True:
        wait_s = min((job.patience_s() for job in running.values()), default=None)
        for fd, _ in poll.poll(None if wait_s is None else 1e3 * wait_s):
            if fd == control.fileno():
                message, fds, _, _ = socket.recv_fds(control, 1 << 16, 8)
                if not message:
                    return
                spare.begin(message, fds)
                running[spare.ended], listening[spare.status.fileno()] = spare, spare
                poll.register(spare.ended, select.POLLIN)
                poll.register(spare.status, select.POLLIN)
                spare = Job(policy, next(uids))
            elif fd in running:
                job = running.pop(fd)
                poll.unregister(fd)
                if listening.pop(job.status.fileno(), None):
                    poll.unregister(job.status)
                job.report()
            elif fd in listening and not listening[fd].obey():
                del listening[fd]
                poll.unregister(fd)


class Job:
    """A process behind the walls, seen from outside: `ended` becomes readable at its end, `status` at an order."""

    def __init__(self, policy: dict, uid: int):
        """Forks a process that waits for its job. Raises OSError when the machine does not let it."""
        self._why = ""
        self._told, tells = os.pipe()
        self._hands, takes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = jail.fork(own_pids=policy["level"] == "A")
        if self._pid == 0:
            self._hands.close()
            _become_job(policy, takes, tells, uid if policy["own_uid"] else None)
        takes.close()
        os.close(tells)
        self.ended = os.pidfd_open(self._pid)

    def begin(self, message: bytes, fds: list[int]) -> None:
        """Hands it its limits and descriptors; one that is dead by now is reported as one that did not start."""
        self.status = socket.socket(fileno=fds[0])
        self.status.setblocking(False)
        self._limits, self._started = json.loads(message), time.monotonic()
        with contextlib.suppress(OSError):
            socket.send_fds(self._hands, [message], fds[1:])
        self._hands.close()
        for fd in fds[1:]:
            os.close(fd)

    def patience_s(self) -> float:
        """Seconds until its clocks must be read again; ends it if one has run out."""
        if not self._why:
            wall_left = self._started + self._limits["wall_s"] - time.monotonic()
            cpu_left = self._limits["cpu_s"] - _cpu_s(self._pid)
            if min(wall_left, cpu_left) > 0:
                return min(wall_left, max(cpu_left, _TICK_S))
            self._end("cpu" if cpu_left <= 0 else "wall")
        return _ENDING_S

    def obey(self) -> bool:
        """Stops it at b"T", lets it go on at b"C" (stopped time counts as wall time); False if the trainer hung up."""
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
        """Tells how it ended, once `ended` says so, and gives up every descriptor."""
        _, code, usage = os.wait4(self._pid, 0)
        ended = {
            "why": self._fault() or self._why,
            "code": os.waitstatus_to_exitcode(code),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "wall_s": time.monotonic() - self._started,
        }
        with contextlib.suppress(OSError):  # the trainer may have hung up
            self.status.send(json.dumps(ended).encode())
        self.status.close()
        os.close(self._told)
        os.close(self.ended)

    def _fault(self) -> str:
        """What the job said before any line of its program ran: nothing is wrong if both walls and source stood."""
        said = os.read(self._told, 512).decode(errors="replace")
        if said.startswith("S"):
            return "" if self._why or said == "SR" else "compile"
        return said or "setup: the job did not start"


def _cpu_s(job: int) -> float:
    """Processor time that all threads of the process `job` have used so far."""
    try:
        return time.clock_gettime((~job << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _become_job(policy: dict, takes: socket.socket, report: int, uid: int | None) -> None:
    """Waits for the job, raises the walls and runs the payload; never returns."""
    ruleset = policy["ruleset"]
    try:
        message, fds, _, _ = socket.recv_fds(takes, 1 << 16, 8)
        if not message:
            os._exit(0)
        limits = json.loads(message)
        if policy["level"] == "A":
            jail.mount_private(limits["disk_mb"], os.getuid() if uid is None else uid)
        payload = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
        report, *rest = _place([*fds[1:], report, *([] if ruleset is None else [ruleset])], len(fds) - 1)
        jail.limit(limits, writes=policy["level"] == "A", own_uid=uid is not None)
        random.seed(0)  # forking has stirred it
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


def _seed() -> None:
    """The same program draws the same numbers in every job."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(0)


def _use_huge_pages() -> None:
    """Gathers this process's memory in huge pages where the kernel can: a fork copies an entry for each page."""
    with open("/proc/self/maps") as file:
        areas = [line.split() for line in file]
    for extent, access, *_, name in (area if len(area) == 6 else [*area, ""] for area in areas):
        if access == "rw-p" and name in ("", "[heap]"):
            start, end = (int(address, 16) for address in extent.split("-"))
            for page in range(-(-start // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE):
                jail.collapse(page, _HUGE)


if __name__ == "__main__":
    main()
