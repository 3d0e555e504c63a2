"""Behaviour of a program on a question's public examples, for votes.

Only what the question shows anyway is run here; the hidden tests are the grader's (`rewards.code`). The program runs
in the sandbox, as everything that a model wrote.
"""

from __future__ import annotations

import hashlib
from typing import Any

from mxjax.mas.records import Reply, Tool
from mxjax.rewards.code import CALLED, PASSED, call_candidate, canonical, known, run_check
from mxjax.sandbox import Sandbox, SandboxLimits

SHOWN_CHARS = 2_000
"""A longer output is told by its beginning and a digest: outputs are only ever compared."""


def program_tool(sandbox: Sandbox, limits: SandboxLimits | None = None) -> Tool:
    """The host tool `run_program`: `run_program(code, **example)` with an example of `Question.examples`.

    The reply is what the program printed, the value that its function returned, or that it passed the check that the
    question shows; an error, the outcome in a word, where there is nothing to compare.
    """
    limits = limits or SandboxLimits()

    def run(code: str, **example: Any) -> Reply:
        status, output = _behaviour(code, example, sandbox, limits)
        if status not in ("ok", CALLED, PASSED):
            return Reply("", error=status)
        if len(output) > SHOWN_CHARS:
            output = f"{output[:SHOWN_CHARS]} {hashlib.sha256(output.encode(errors='backslashreplace')).hexdigest()}"
        return Reply(output)

    return Tool(run, "Runs a program on a public example.", submit=sandbox.call)


def _behaviour(program: str, example: dict[str, Any], sandbox: Sandbox, limits: SandboxLimits) -> tuple[str, str]:
    """(status, what the program does on one example)."""
    setup = example.get("setup") or ""
    if "check" in example:
        status, _ = run_check(program, example, sandbox, limits)
        return status, PASSED
    if "args" in example:
        status, value = call_candidate(
            program, example["entry_point"], list(example["args"]), sandbox, limits, setup=setup
        )
        try:
            return status, canonical(value)
        except RecursionError:
            return "runtime_error", ""
    outcome = known(sandbox.run(program, example["stdin"].encode(), limits, setup))
    return outcome.status, "\n".join(line.rstrip() for line in outcome.stdout.decode(errors="replace").splitlines())
