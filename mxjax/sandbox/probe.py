"""The self-test of a level.

A program that tries what a job must not do, and does what it must. A level counts as present only where every attempt
fails on this machine, whatever its kernel says of itself.
"""

from __future__ import annotations

import json
import os
import pathlib

from mxjax.sandbox.outcome import Outcome, SandboxLimits

_LIMITS = SandboxLimits(cpu_s=10, wall_s=60)
_PROGRAM = r"""
import ctypes, fcntl, json, os, resource, socket, sys
asked = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def others():
    if not [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:
        raise OSError


def must(result):
    if result == -1:
        raise OSError


ATTEMPTS = {
    "read " + path: (lambda path=path: open(path).read(1)) for path in asked["private"]
} | {
    "list " + path: (lambda path=path: os.listdir(path)) for path in asked["folders"]
} | {
    "write " + path: (lambda path=path: open(path, "w")) for path in asked["writes"]
} | {
    "see another process": others,
    "open a socket": lambda: socket.socket(),
    "open a socket pair": lambda: socket.socketpair(),
    "fork": fork,
    "run another program": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "signal a process": lambda: os.kill(asked["pid"], 0),
    "signal its group": lambda: os.killpg(0, 0),
    "have signals sent": lambda: fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getpid()),
    "be spared when memory runs out": lambda: open("/proc/self/oom_score_adj", "w").write("0"),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
    "change its user": lambda: must(libc.setuid(0)) if os.getuid() else None,
    "make a namespace": lambda: must(libc.unshare(0x10000000)),
    "mount": lambda: must(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "make shared memory": lambda: must(libc.shmget(0, 4096, 0o1600)),
    "be traced": lambda: must(libc.ptrace(0, 0, None, None)),  # last: from here on any signal stops it
}
done = []
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
        done.append(name)
    except (OSError, ValueError, AttributeError, TypeError):
        pass
import numpy, sympy
assert numpy.ones(3).sum() == 3 and sympy.Integer(2) ** 10 == 1024
print(json.dumps(done))
"""


def probe() -> tuple[str, bytes, SandboxLimits]:
    """(program, standard input, limits) of the self-test."""
    home = str(pathlib.Path.home())
    targets = {
        "private": ["/etc/passwd", "/etc/hostname", __file__],
        "folders": ["/etc", "/var", "/home", os.getcwd()],
        "writes": [f"{folder}/mxjax-probe" for folder in (home, "/var/tmp", "/dev/shm", "/usr/lib", "/")],
        "pid": os.getppid(),
    }
    return _PROGRAM, (json.dumps(targets) + "\n").encode(), _LIMITS


def verdict(outcome: Outcome) -> str:
    """What the self-test found wrong, "" if nothing."""
    if not outcome.ok:
        words = outcome.stderr.decode(errors="replace").strip().splitlines()
        return f"its self-test ended with {outcome.status}" + (f" ({words[-1]})" if words else "")
    done = json.loads(outcome.stdout)
    return f"a job could {', '.join(done)}" if done else ""
