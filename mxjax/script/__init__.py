"""The script language: a restricted Python, run on explicit stacks, metered, and suspendable at every call."""

from mxjax.script import containers, dunders, strings

__all__ = ["containers", "dunders", "strings"]
