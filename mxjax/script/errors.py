"""Refusal before a run and stop at a limit; neither is catchable."""

from __future__ import annotations


class CompileError(Exception):
    """A text that is no program of the language.

    Attributes:
      line, column: where, counted from 1.
      kind: a short stable word: "syntax", "unsupported", "forbidden", "too_large", ...
      reason: a sentence for people.
    """

    def __init__(self, line: int, column: int, kind: str, reason: str):
        super().__init__(f"line {line}, column {column}: {reason}")
        self.line = line
        self.column = column
        self.kind = kind
        self.reason = reason


class LimitExceeded(Exception):
    """A running script reached the limit `name`, a field of `Limits`.

    No `except` or `finally` of a script sees it.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name
