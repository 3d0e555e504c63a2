"""The script language: restricted Python on explicit stacks, metered and suspendable.

A script can be suspended at every call.

It knows nothing of agents: whoever embeds it compiles a text (`source.compile_source`), runs it on a `machine.Machine`
with the names and modules of `library` and its own, and answers what the script asks of its host (`frames.Ask`).
"""

from mxjax.script import library

__all__ = ["library"]
