"""A lock that keeps a folder to one writer.

It names its holder, on local disks and object stores. Two runs in one folder would interleave their rows and delete
each other's checkpoints. On a local disk the kernel keeps the lock, so that it ends with its process; elsewhere, and
between hosts that share a disk, a heartbeat says that the writer is alive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import logging
import os
import pathlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from etils import epath

from mxjax.command_line import command_line
from mxjax.errors import RunStopped, UserError, file_errors
from mxjax.files import absolute, check_can_write, make_folder, read_json

LOCK = "writer.lock"
BEAT_S = 20.0  # between two heartbeats
STALE_S = 180.0  # without one, after which a writer elsewhere counts as dead
SETTLE_S = 3.0  # after which the last of several who wrote the lock at once has it, where no kernel decides
WIDTH = 4096  # bytes, or a multiple, of a record on a local disk, so that one write replaces it whole

_SPARE = 32  # bytes by which the time of a heartbeat may make a record longer

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Lock:
    """A lock that is held.

    `lost` is set once another process has taken it over.
    """

    path: epath.Path
    record: dict[str, Any]
    fd: int | None = None  # of the file that the kernel keeps locked
    lost: bool = False

    def check(self) -> None:
        """Raise RunStopped once another process writes here."""
        if self.lost:
            raise RunStopped(f"{self.path.parent} was taken over by another writer while this one stood still")


@contextlib.contextmanager
def only_writer(folder: epath.PathLike) -> Iterator[Lock]:
    """Hold the lock on a folder, creating the folder if needed.

    Parents are created too; what was created is removed if it stays empty. A lock whose writer is dead is taken over,
    which is logged. Raises UserError, naming the other writer, if there is one.
    """
    folder = absolute(folder)
    check_can_write(folder)
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    with file_errors("write", folder / LOCK):
        lock = _acquire(folder / LOCK)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(lock, ended), daemon=True, name="heartbeat")
    beating.start()
    try:
        yield lock
    finally:
        ended.set()
        beating.join()
        _release(lock)
        with contextlib.suppress(OSError):
            for path in created:
                if not any(path.iterdir()):
                    path.rmdir()


def _acquire(path: epath.Path) -> Lock:
    lock = Lock(path, _me())
    is_local = "://" not in str(path)
    if is_local:
        lock.fd = _kernel_lock(path)
    held = _read(path)
    if held and not _is_dead(held, by_kernel=lock.fd is not None):
        if lock.fd is not None:
            os.close(lock.fd)
        raise _refusal(path, held)
    if held:
        _log.warning("%s was left behind by %s; this process takes over", path, _who(held))
    _write(lock)
    if lock.fd is None:
        time.sleep(SETTLE_S)
        held = _read(path)
        if held is None or held["token"] != lock.record["token"]:  # without a record of its own no writer has won
            raise _refusal(path, held)
    return lock


def _kernel_lock(path: epath.Path) -> int | None:
    """A descriptor of the locked file.

    Returns None where the file system knows no locks. Raises UserError if it is taken.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise _refusal(path, _living(path)) from None
        except OSError as error:
            _log.warning("%s cannot be locked by the system (%s); a heartbeat stands for it", path, error.strerror)
            os.close(fd)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        os.close(fd)  # it was removed by its last holder between our two calls


def _living(path: epath.Path) -> dict[str, Any] | None:
    """The record of the writer with the kernel's lock.

    That writer may not have written it yet.
    """
    for _ in range(20):
        if (held := _read(path)) and not _is_dead(held, by_kernel=False):
            return held
        time.sleep(0.05)
    return None


def _beat(lock: Lock, ended: threading.Event) -> None:
    """Write the heartbeat until the lock is released or lost."""
    while not ended.wait(BEAT_S):
        try:
            held = _read(lock.path)
            if held and held["token"] != lock.record["token"]:
                lock.lost = True
                _log.error("%s was taken over by %s", lock.path, _who(held))
                return
            _write(lock)
        except Exception as error:  # of a store that is out of reach for a while: it is tried again
            _log.warning("no heartbeat could be written to %s: %s", lock.path, error)


def _release(lock: Lock) -> None:
    with contextlib.suppress(OSError):
        held = _read(lock.path)
        if held and held["token"] == lock.record["token"]:
            lock.path.unlink()
    if lock.fd is not None:
        os.close(lock.fd)


def _write(lock: Lock) -> None:
    lock.record["heartbeat"] = time.time()
    data = json.dumps(lock.record).encode()
    if lock.fd is not None:
        width = -(-(len(data) + _SPARE) // WIDTH) * WIDTH
        os.pwrite(lock.fd, data.ljust(width), 0)
        os.ftruncate(lock.fd, width)
    elif "://" in str(lock.path):
        lock.path.write_bytes(data)  # a store shows a file once it is whole
    else:
        _replace(lock, data)


def _replace(lock: Lock, data: bytes) -> None:
    """Replace the record as a whole.

    Concurrent writes cannot mix.
    """
    temporary = lock.path.parent / f".{lock.path.name}.{lock.record['token']}"
    try:
        temporary.write_bytes(data)
        temporary.replace(lock.path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _read(path: epath.Path) -> dict[str, Any] | None:
    """The record of the lock's present or last holder.

    Returns None if there is no readable one.
    """
    try:
        held = read_json(path)
    except (OSError, ValueError):
        return None
    return held if {"token", "host", "pid", "since", "command", "heartbeat"} <= held.keys() else None


def _me() -> dict[str, Any]:
    return {
        "token": secrets.token_hex(8),
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "pid_started": _started(os.getpid()),
        "command": command_line(),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "heartbeat": 0.0,
    }


def _boot() -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


def _started(pid: int) -> str:
    """Start time of a process as the kernel counts it.

    Returns "" if it is not known.
    """
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _is_dead(held: dict[str, Any], by_kernel: bool) -> bool:
    """Whether a lock's writer is gone.

    `by_kernel` says that this process now has the kernel's lock on the same file.
    """
    same_kernel = held.get("boot") == _boot()
    if same_kernel and by_kernel:
        return True
    if same_kernel and held["host"] == socket.gethostname():
        return not _runs(held)
    return time.time() - held["heartbeat"] > STALE_S


def _runs(held: dict[str, Any]) -> bool:
    """Whether the process of a record of this host still runs.

    Its number may have been given to another process.
    """
    try:
        os.kill(held["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return _started(held["pid"]) == held.get("pid_started")


def _who(held: dict[str, Any]) -> str:
    return f"process {held['pid']} on {held['host']}, since {held['since']} ({held['command']})"


def _refusal(path: epath.Path, held: dict[str, Any] | None) -> UserError:
    who = _who(held) if held else "another process that has only just begun"
    return UserError(f"{path.parent} is being written by {who}; wait for it, end it, or choose another folder")
