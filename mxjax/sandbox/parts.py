"""Software that the levels of isolation need, and what is missing here.

Level A needs bubblewrap and pyseccomp, level B pyseccomp alone; the kernel may still refuse either, which only the
self-test of a level finds out.
"""

from __future__ import annotations

import shutil

from mxjax.sandbox.syscalls import compiled_filter

BUBBLEWRAP, PYSECCOMP, LIBSECCOMP = "bubblewrap", "pyseccomp", "libseccomp"
_FROM = {
    BUBBLEWRAP: "make system-deps, or apt-get install bubblewrap",
    PYSECCOMP: "pip install 'mxjax[code]'",
    LIBSECCOMP: "apt-get install libseccomp2",
}


def missing_parts() -> tuple[str, ...]:
    """Which of bubblewrap, pyseccomp and the library behind it are not installed."""
    missing = () if shutil.which("bwrap") else (BUBBLEWRAP,)
    try:
        compiled_filter()
    except ImportError:
        return (*missing, PYSECCOMP)
    except (OSError, RuntimeError):
        return (*missing, LIBSECCOMP)
    return missing


def to_install(parts: tuple[str, ...]) -> str:
    """What a sentence says to install, and from where.

    Returns "" for no parts.
    """
    named = " and ".join(f"{part} ({_FROM[part]})" for part in parts)
    return f"install {named}" if named else ""


def what_sessions_need() -> str:
    """What to do where Python has no sessions.

    The end of a sentence.
    """
    return to_install(missing_parts()) or "mxjax doctor says what keeps level B from working"
