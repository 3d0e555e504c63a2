"""The script language: a restricted Python, compiled to instructions and run on explicit stacks, metered and suspendable."""

from mxjax.mas.interpreter import containers, strings

__all__ = ["containers", "strings"]
