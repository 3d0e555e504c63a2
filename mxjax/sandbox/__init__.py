"""Isolated Python for what models write.

Programs that are graded, and code that agents run as a tool. Three levels, the strongest that passes its self-test is
used: A, namespaces by bubblewrap, a user, mounts and a pid space of each job's own, seccomp; B, a plain process behind
Landlock, seccomp and a user of its own; C, WebAssembly. At every level bytes go in, bytes come out, and there is no
network, no other process and no file of the machine's.
"""

from mxjax.sandbox.outcome import Outcome, SandboxLimits, SandboxUnavailable
from mxjax.sandbox.pool import LEVELS, Sandbox, Session

__all__ = ["LEVELS", "Outcome", "Sandbox", "SandboxLimits", "SandboxUnavailable", "Session"]
