"""What tests share: optional parts (skipped with a reason, or a failure where they are required)."""

import importlib
import os

import pytest

from mxjax.config import default_config
from mxjax.sandbox import Sandbox, SandboxUnavailable


def optional(name: str):
    """The module `name`; absent, the test skips, or fails when MXJAX_REQUIRE (comma separated) names it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(name, f"{name} is not installed")


def missing(name: str, why: str):
    """Skips the test, or fails it when MXJAX_REQUIRE names the part that is missing."""
    if name in os.environ.get("MXJAX_REQUIRE", "").split(","):
        pytest.fail(f"{name} is required here (MXJAX_REQUIRE): {why}")
    pytest.skip(why)


def optimizer_settings(**changes) -> dict:
    """The default `rl.optimizer`, with changes."""
    return {**default_config().rl.optimizer, **changes}


def sandbox(level: str, workers: int = 2) -> Sandbox:
    """A sandbox of that level; where there is none, the test skips, or fails when MXJAX_REQUIRE names "sandbox"."""
    try:
        return Sandbox(level, workers=workers)
    except SandboxUnavailable as error:
        missing("sandbox", f"level {level} is not available here: {error}")
