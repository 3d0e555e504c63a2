"""The two ways in which a design fails, apart from the errors that a script itself raises and may catch.

`DesignError` is what a caller sees for a text that cannot become a program; `LimitExceeded` stops a running program and
is, on purpose, no script exception: neither `except:` nor `finally` of a script ever sees it.
"""

from __future__ import annotations


class DesignError(Exception):
    """A text that is no runnable design: `kind` is a short stable word, `reason` a sentence for people."""

    def __init__(self, line: int, column: int, kind: str, reason: str):
        super().__init__(f"line {line}, column {column}: {reason}")
        self.line = line
        self.column = column
        self.kind = kind
        self.reason = reason


class LimitExceeded(Exception):
    """A running script reached the limit `name`, a field of `Limits`."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name
