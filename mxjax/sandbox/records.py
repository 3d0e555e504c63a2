"""The former name of `mxjax.sandbox.outcome`, until its last users import that."""

from mxjax.sandbox.outcome import InfrastructureError

__all__ = ["InfrastructureError"]
