"""Sampling: a continuously batched engine of two jitted programs."""

from mxjax.sampling.engine import Engine, Handle
from mxjax.sampling.params import Completion, Request, SamplingParams

__all__ = ["Completion", "Engine", "Handle", "Request", "SamplingParams"]
