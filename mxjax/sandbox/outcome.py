"""What goes into the sandbox and what comes out.

Limits, outcomes, and the error for when there is none.
"""

from __future__ import annotations

import dataclasses

from mxjax.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Caps of one job.

    Reaching one ends the job with the status in brackets.

    Attributes:
      cpu_s: seconds of processor time [time].
      wall_s: seconds of wall time; None: three times `cpu_s` [time].
      memory_mb: MiB of address space beyond the warm interpreter's [memory, if the program does not handle it].
      output_bytes: bytes of standard output, and as many of standard error [output].
      processes: threads; there is never a second process.
      disk_mb: MiB of the scratch directory, which only level A has.
    """

    cpu_s: float = 5.0
    wall_s: float | None = None
    memory_mb: int = 512
    output_bytes: int = 1 << 20
    processes: int = 32
    disk_mb: int = 16

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "wall_s" and value is None:
                continue
            kinds = (int, float) if field.name.endswith("_s") else (int,)
            if type(value) not in kinds or not 0 < value < 1e9:
                raise UserError(f"SandboxLimits.{field.name} must be a positive number, got {value!r}.")

    @property
    def wall(self) -> float:
        """Seconds of wall time after which the job is killed."""
        return 3 * self.cpu_s if self.wall_s is None else self.wall_s


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    `status`: "ok" (exit status 0), "runtime_error", "time", "memory", "output", "compile", or "infrastructure": the
    machine failed, twice, and the program is neither right nor wrong. `exit_code` is negative for a signal, None if
    there was none to read. Output is cut at the limit. `cpu_s`, `wall_s` in seconds.
    """

    status: str
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the program ended with exit status 0."""
        return self.status == "ok"


class InfrastructureError(RuntimeError):
    """The machine failed (a worker died, a pipe broke).

    What was under way is void, neither right nor wrong.
    """


class SandboxUnavailable(RuntimeError):
    """No level of isolation passes its self-test here.

    The message says what each lacks.
    """
