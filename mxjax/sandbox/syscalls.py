"""The system calls that a job may make.

An allow-list, compiled to a seccomp program by libseccomp. There is no way to start a process, to signal one, to open a
socket, or to change mounts, namespaces, users or limits; `fcntl` is allowed by command, since some of its commands make
the kernel send signals to any process of the same user. Calls that are not listed fail with EPERM; the few that
libraries fall back from when a kernel lacks them, with ENOSYS.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import tempfile

_FILES = (
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat close close_range lseek "
    "stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents64 "
    "getdents getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat link linkat symlink "
    "symlinkat chmod fchmod fchmodat umask truncate ftruncate fallocate fsync fdatasync flock utimensat fadvise64 "
    "dup dup2 dup3 pipe pipe2 sendfile copy_file_range splice tee"
)
_WAITING = (
    "select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 "
    "nanosleep clock_nanosleep pause restart_syscall alarm setitimer getitimer timerfd_create timerfd_settime "
    "timerfd_gettime wait4 waitid futex futex_wait futex_wake sched_yield membarrier rseq"
)
_MEMORY = "mmap munmap mremap mprotect madvise brk msync mincore mlock munlock get_mempolicy"
_SELF = (
    "exit exit_group getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid "
    "getsid set_tid_address set_robust_list get_robust_list arch_prctl getrlimit getrusage times sysinfo uname getcpu "
    "sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority "
    "clock_gettime clock_getres gettimeofday time getrandom rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending "
    "rt_sigtimedwait rt_sigsuspend sigaltstack"
)
_ABSENT = "clone3 io_uring_setup io_uring_enter io_uring_register memfd_create openat2"
_FCNTL = (
    "F_DUPFD F_DUPFD_CLOEXEC F_GETFD F_SETFD F_GETFL F_GETLK F_SETLK F_SETLKW F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW "
    "F_GETPIPE_SZ"
)
_CLONE_THREAD = 0x00010000
_IOCTLS = (0x5401, 0x541B, 0x5450, 0x5451, 0x5421)  # TCGETS, FIONREAD, FIONCLEX, FIOCLEX, FIONBIO


@functools.lru_cache(maxsize=1)
def compiled_filter() -> bytes:
    """The filter as the kernel takes it (an array of `struct sock_filter`).

    Raises:
        ImportError, OSError or RuntimeError: pyseccomp or libseccomp is not here.
    """
    import pyseccomp

    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in f"{_FILES} {_WAITING} {_MEMORY} {_SELF}".split():
        _add(rules, pyseccomp.ALLOW, name)
    for name in _ABSENT.split():
        _add(rules, pyseccomp.ERRNO(errno.ENOSYS), name)
    thread = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD)
    _add(rules, pyseccomp.ALLOW, "clone", thread)
    for request in _IOCTLS:
        _add(rules, pyseccomp.ALLOW, "ioctl", pyseccomp.Arg(1, pyseccomp.EQ, request))
    for command in _FCNTL.split():
        _add(rules, pyseccomp.ALLOW, "fcntl", pyseccomp.Arg(1, pyseccomp.EQ, getattr(fcntl, command)))
    without_signals = pyseccomp.Arg(2, pyseccomp.MASKED_EQ, fcntl.FASYNC, 0)
    _add(rules, pyseccomp.ALLOW, "fcntl", pyseccomp.Arg(1, pyseccomp.EQ, fcntl.F_SETFL), without_signals)
    own_limits = (pyseccomp.Arg(0, pyseccomp.EQ, 0), pyseccomp.Arg(2, pyseccomp.EQ, 0))
    _add(rules, pyseccomp.ALLOW, "prlimit64", *own_limits)  # reading them
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _add(rules, action: int, name: str, *conditions) -> None:
    try:
        rules.add_rule(action, name, *conditions)
    except (OSError, ValueError):  # a call that this architecture or libseccomp does not know stays refused
        return
