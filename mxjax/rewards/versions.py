"""The versions of what grades.

With other ones the same answer may get another reward.
"""

from __future__ import annotations

import functools
import importlib.metadata

RULES = 2
"""The rules by which this package itself grades; raised by every change that can give an answer another reward."""
PACKAGES = ("math-verify", "latex2sympy2-extended", "sympy")


@functools.cache
def grader_versions() -> dict[str, str]:
    """Versions of the grading rules and of the packages that grade.

    A package that is not installed is "absent".
    """
    return {"grading rules": str(RULES), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
