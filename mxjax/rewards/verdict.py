"""The verdict of a grader, and the error for a failed machine."""

from __future__ import annotations

import dataclasses

from mxjax.sandbox.outcome import InfrastructureError

__all__ = ["InfrastructureError", "Verdict"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One grading decision, truthy iff `correct`.

    `how` names the rule that decided ("integer", "tuple", "no_answer", ...); `passed` of `total` unit tests passed,
    0 of 0 where there are none, and `statuses` says of each that was run how it ended.
    """

    correct: bool
    how: str
    passed: int = 0
    total: int = 0
    statuses: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.correct
