"""The versions of what grades: with other ones the same answer may get another reward."""

from __future__ import annotations

import functools
import importlib.metadata

PACKAGES = ("math-verify", "latex2sympy2-extended", "sympy")


@functools.cache
def grader_versions() -> dict[str, str]:
    """Version of each package that a verdict may depend on, "absent" for one that is not installed."""
    return {name: _version(name) for name in ("mxjax", *PACKAGES)}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
