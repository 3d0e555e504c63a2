"""Warm processes of levels A and B, which fork the jobs.

Level A is inside bubblewrap, level B a plain process. What level A can see of the file system is built up from nothing:
the interpreter, its standard library, the shared libraries that these load, numpy, sympy, mpmath and sortedcontainers,
all read-only, and four devices. Installed packages are left out, since data sets, tests among them, are shipped in
packages.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence

from mxjax.sandbox.libraries import shared_libraries
from mxjax.sandbox.outcome import InfrastructureError
from mxjax.sandbox.syscalls import compiled_filter

_INSIDE = pathlib.Path(__file__).parent / "inside"
_PACKAGES = ("numpy", "sympy", "mpmath", "sortedcontainers")
_PRELOAD = (
    "numpy numpy.linalg numpy.random sympy sortedcontainers array bisect cmath collections.abc copy dataclasses"
    " datetime decimal enum fractions functools hashlib heapq inspect io itertools json math operator queue random re"
    " statistics string struct textwrap threading timeit types typing unicodedata"
)
_BUBBLEWRAP = (
    "bwrap --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try --hostname job --cap-drop ALL"
    " --tmpfs / --proc /proc --dir /tmp --perms 0755 --dir /dev"
)
_ENVIRONMENT = {
    "HOME": "/tmp",
    "PATH": "/usr/bin",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",  # another arena for each thread would take 64 MiB of a job's address space
}
_START_S = 120
_DESCRIPTORS = 1 << 16
_FLAGS = ("-s", "-S", "-B", "-P")
_MOUNTED, _SITE = "/inside", "/site"
_UNNEEDED = ("test", "idlelib", "turtledemo", "ensurepip")


class ZygoteLost(InfrastructureError):
    """The warm process ended, or would not start."""


class Zygote:
    """A warm process that forks jobs.

    Of level "A", "B" or "none". Thread-safe.
    """

    def __init__(self, level: str):
        """Start it and wait until it is warm.

        Raises ZygoteLost with the reason.
        """
        if sys.platform != "linux":
            raise ZygoteLost("it needs Linux")
        _raise_descriptor_limit()
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        policy = _policy(level)
        inside = _MOUNTED if level == "A" else _INSIDE
        command = [_python(), *_FLAGS, f"{inside}/zygote.py", str(theirs.fileno())]
        if level == "A":
            command = [*_bubblewrap(), *command]
        try:
            self.process = subprocess.Popen(
                command,
                env=_ENVIRONMENT,
                pass_fds=[theirs.fileno()],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            raise ZygoteLost(f"cannot start {command[0]}: {error}") from error
        finally:
            theirs.close()
        try:
            self._control.settimeout(_START_S)
            self._control.send(json.dumps(policy).encode())
            warm = self._control.recv(16) == b"ready"
        except OSError:
            warm = False
        if not warm:
            lost = self.lost("it did not start")
            self.close()
            raise lost

    def lost(self, what: str) -> ZygoteLost:
        """The error `what`, with the last line of standard error."""
        try:
            size = os.fstat(self._errors.fileno()).st_size
            text = os.pread(self._errors.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").strip()
        except ValueError:  # closed, since another thread found it lost
            text = ""
        return ZygoteLost(f"{what}: {text.splitlines()[-1]}" if text else what)

    def fork(self, limits: dict, fds: Sequence[int]) -> None:
        """Start a job over these descriptors.

        Raises ZygoteLost if the process is gone.
        """
        try:
            with self._lock:
                socket.send_fds(self._control, [json.dumps(limits).encode()], list(fds))
        except OSError as error:
            raise self.lost(f"the warm process is gone ({error})") from error

    def alive(self, patience_s: float = 0.0) -> bool:
        """Whether the process is still there.

        One that is just ending is given `patience_s` to do so.
        """
        try:
            self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self) -> None:
        """End the process and every job.

        None of them can leave its process group.
        """
        with self._lock:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and every job, and close the descriptors."""
        self.kill()
        self._control.close()
        self.process.wait()
        self._errors.close()


def _raise_descriptor_limit() -> None:
    """Raise the limit of descriptors.

    A job takes five here and as many in the warm process, which inherits this limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _python() -> str:
    """The interpreter itself, not the link to it in a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _package_folders() -> list[pathlib.Path]:
    """Folders of numpy and the others, with their wheels' libraries."""
    folders = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            folder = pathlib.Path(spec.submodule_search_locations[0])
            folders += [path for path in (folder, folder.with_name(f"{name}.libs")) if path.is_dir()]
    return folders


def _policy(level: str) -> dict:
    """What the warm process needs to know to build the walls."""
    is_root = os.geteuid() == 0
    stdlib = pathlib.Path(sysconfig.get_path("stdlib"))
    folders = _package_folders()
    readable = [*(entry for entry in stdlib.iterdir() if not _hidden(entry)), *folders, _INSIDE, *_libraries()]
    others_may_read = all(path.stat().st_mode & 1 for path in (stdlib, *stdlib.parents))
    return {
        "level": level,
        "preload": _PRELOAD.split(),
        "paths": [_SITE] if level == "A" else sorted({str(folder.parent) for folder in folders}),
        "seccomp": "" if level == "none" else compiled_filter().hex(),
        "readable": [str(path) for path in readable],
        "listable": [str(stdlib)],
        "own_uid": is_root and level != "none",
        "keep_reading": is_root and level == "B" and not others_may_read,
    }


def _hidden(entry: pathlib.Path) -> bool:
    """Whether a part of the standard library is none that programs need.

    Installed packages, tests, build files.
    """
    return entry.name.endswith("-packages") or entry.name.startswith("config-") or entry.name in _UNNEEDED


def _libraries() -> dict[str, tuple[str, ...]]:
    return shared_libraries(_python(), tuple(_package_folders()))


def _bubblewrap() -> list[str]:
    """The command in front of the interpreter.

    Namespaces, and a file system that holds what a job may read.
    """
    command = _BUBBLEWRAP.split()
    for capability in ("SYS_ADMIN", "SETUID", "SETGID", "SETPCAP", "KILL"):
        command += ["--cap-add", f"CAP_{capability}"]
    if os.geteuid() != 0:
        command.append("--unshare-user")
    for device in ("null", "zero", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        command += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    for path in ("/lib", "/lib64"):
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
    stdlib = sysconfig.get_path("stdlib")
    command += [*_parents(stdlib), "--ro-bind", stdlib, stdlib]
    for entry in filter(_hidden, pathlib.Path(stdlib).iterdir()):
        command += ["--tmpfs", str(entry)] if entry.is_dir() else []
    for file, links in _libraries().items():
        command += [*_parents(file), "--ro-bind", file, file]
        for link in links:
            command += [*_parents(link), "--symlink", file, link]
    command += [*_parents(_python()), "--ro-bind", _python(), _python(), "--ro-bind", str(_INSIDE), _MOUNTED]
    command += ["--perms", "0755", "--dir", _SITE]
    for folder in _package_folders():
        command += ["--ro-bind", str(folder), f"{_SITE}/{folder.name}"]
    return [*command, "--remount-ro", "/", "--"]


def _parents(path: str) -> list[str]:
    """Options that make the folders above `path`.

    bubblewrap would close them to other users than its own.
    """
    folders = [str(folder) for folder in reversed(pathlib.Path(path).parents)][1:]
    return [option for folder in folders for option in ("--perms", "0755", "--dir", folder)]
