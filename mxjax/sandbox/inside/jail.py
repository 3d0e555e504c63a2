"""The walls around one job.

What the kernel is told, in order, before a line of the job's program is read. Every step raises OSError when the kernel
refuses it, so a job never starts with a wall missing.
"""

import ctypes
import os
import resource

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 32, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_SECCOMP = 1, 4, 8, 22
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CAP_DAC_READ_SEARCH = 2
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
_MAKE_AND_REMOVE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 14  # folders and files; 14: truncating them
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many file rights each version of Landlock knows
_MADV_COLLAPSE = 25
SCRATCH, _SHARED = "/tmp", "/dev/shm"
SCRATCH_B = f"{_SHARED}/job"
_INODES = 1024
_SAFE = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC


def _check(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, *values: int) -> None:
    _check(_libc.prctl(option, *map(ctypes.c_ulong, (*values, 0, 0, 0, 0)[:4])), f"prctl {option}")


def fork(pids: int | None) -> int:
    """`os.fork`, with `pids` into a new pid namespace.

    `pids` is a descriptor of this process's own; the child is the first process of a new one. The namespace of this
    process's own children is put back, since the kernel lets each be left once only.
    """
    if pids is None:
        return os.fork()
    _check(_libc.unshare(CLONE_NEWPID), "unshare")
    child = None
    try:
        child = os.fork()
    finally:
        if child != 0:
            _check(_libc.setns(pids, CLONE_NEWPID), "setns")
    return child


def mount_private(disk_mb: int, uid: int) -> None:
    """Mount and IPC of its own.

    A scratch directory of limited bytes and inodes, a /proc that shows this job alone. /proc is read-only: a job that
    lowered its `oom_score_adj` would have the kernel end the trainer in its place.
    """
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWIPC), "unshare")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE, "")
    _mount_scratch(SCRATCH, disk_mb, uid)
    _mount("proc", "/proc", "proc", _MS_RDONLY | _SAFE, "subset=pid")


def mount_alone(disk_mb: int, uid: int) -> None:
    """Mount of its own with the scratch directory of level B.

    Needs `prepare_scratch`.
    """
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount_scratch(SCRATCH_B, disk_mb, uid)


def prepare_scratch() -> bool:
    """Mount a place for the scratch directories of level B.

    It lies over the shared memory of the machine. Returns False where there can be none. It takes the right to mount,
    which root has on a machine and mostly not in a container.
    """
    try:
        _check(_libc.unshare(CLONE_NEWNS), "unshare")
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE, "")
        _mount("tmpfs", _SHARED, "tmpfs", _SAFE, "size=4k,nr_inodes=8,mode=755")
        os.mkdir(SCRATCH_B)
        _mount("none", _SHARED, None, _MS_REMOUNT | _MS_RDONLY | _SAFE, "")
    except OSError:
        return False
    return True


def _mount_scratch(path: str, disk_mb: int, uid: int) -> None:
    _mount("tmpfs", path, "tmpfs", _SAFE, f"size={disk_mb}m,nr_inodes={_INODES},mode=700,uid={uid},gid={uid}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str) -> None:
    encoded = [text and text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def limit(limits: dict, writes: bool, own_uid: bool) -> None:
    """Resource limits that the job cannot raise again.

    Memory counts from what the warm process already maps. The warm process watches the time; the kernel's own limit is
    for one that is kept from it. The kernel counts threads per user, so they are limited for a user of the job's own
    only; elsewhere memory for their stacks limits them.
    """
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    disk = limits["disk_mb"] << 20 if writes else 0
    values = {
        resource.RLIMIT_AS: mapped + (limits["memory_mb"] << 20),
        resource.RLIMIT_CPU: int(limits["cpu_s"]) + 2,
        resource.RLIMIT_FSIZE: disk,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if own_uid:
        values[resource.RLIMIT_NPROC] = limits["processes"]
    for name, value in values.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def bound_capabilities() -> None:
    """Keep programs executed from here on from gaining capabilities."""
    if os.geteuid() == 0:
        for capability in range(int(_read("/proc/sys/kernel/cap_last_cap") or 40) + 1):
            _prctl(_PR_CAPBSET_DROP, capability)


def drop_privileges(uid: int | None, keep_reading: bool) -> None:
    """Become another user without capabilities.

    `uid` None keeps the user; `keep_reading` keeps what it takes to read what Landlock leaves. `keep_reading` is for an
    interpreter inside a home directory where nothing can be mounted.
    """
    kept = 1 << _CAP_DAC_READ_SEARCH if keep_reading else 0
    if uid is not None:
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    data = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable: low and high words
    _check(_libc.capset(header, data), "capset")
    _prctl(_PR_SET_DUMPABLE, 1)  # so that /proc/self, and with it /dev/stdin, is the job's own
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with(parent: int) -> None:
    """End this process when `parent` ends.

    To be called after a change of user, which would undo it.

    Raises OSError if it has ended already. A parent outside a pid namespace has the number 0 in it, and takes the
    namespace along.
    """
    _prctl(_PR_SET_PDEATHSIG, 9)
    if os.getppid() not in (0, parent):
        raise OSError("the warm process has ended")


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def landlock_ruleset(readable: list[str], listable: list[str], scratch: bool) -> int:
    """A Landlock rule set, as a descriptor.

    `readable` trees may be read, `listable` ones only listed, nothing more. With `scratch`, what is mounted below the
    place that `prepare_scratch` made may be written.

    Raises OSError where the kernel has no Landlock.
    """
    version = _check(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1), "landlock")
    handled_fs = (1 << _FS_RIGHTS.get(version, 16)) - 1
    handled_net = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0  # no abstract sockets, no signals out of the domain
    attributes = (ctypes.c_uint64 * 3)(handled_fs, handled_net, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _check(_libc.syscall(_LANDLOCK_CREATE, attributes, size, 0), "landlock_create_ruleset")
    writing = (_READ_FILE | _READ_DIR | _WRITE_FILE | _MAKE_AND_REMOVE) & handled_fs
    writable = [_SHARED] if scratch else []
    for paths, rights in ((readable, _READ_FILE | _READ_DIR), (listable, _READ_DIR), (writable, writing)):
        for path in paths:
            _allow(ruleset, path, rights)
    for device in ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        _allow(ruleset, device, _READ_FILE | (_WRITE_FILE if device == "/dev/null" else 0))
    return ruleset


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= ~_READ_DIR
    rule = rights.to_bytes(8, "little") + beneath.to_bytes(4, "little", signed=True)  # a packed struct
    if rights:
        _check(_libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0), f"landlock rule for {path}")
    os.close(beneath)


def restrict_files(ruleset: int) -> None:
    """Confine this process to a Landlock rule set for good."""
    _check(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def filter_syscalls(program: bytes) -> None:
    """Install a compiled seccomp program.

    The last wall, since the others need calls that it refuses.
    """
    loaded = _Program(len(program) // 8, program)
    _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(loaded))


def collapse(address: int, size: int) -> None:
    """Ask the kernel to put memory into one huge page.

    Nothing is lost where it cannot.
    """
    _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), _MADV_COLLAPSE)
