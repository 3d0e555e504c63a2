"""MetaAgent-X in JAX.

One language model learns to design multi-agent systems and to be their agents.
"""

import importlib

__version__ = "0.1.0"

_PARTS = [
    "checkpoint",
    "cold_start",
    "config",
    "data",
    "evaluation",
    "mas",
    "models",
    "plan",
    "report",
    "rewards",
    "rl",
    "rollout",
    "sampling",
    "sandbox",
    "sharding",
    "train",
    "workdir",
]


def __getattr__(name: str):
    """`mxjax.models` and the other parts, imported when they are first used."""
    if name in _PARTS:
        return importlib.import_module(f"mxjax.{name}")
    raise AttributeError(f"module 'mxjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PARTS})
