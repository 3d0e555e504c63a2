"""Record an execution so that it can be rebuilt elsewhere.

A record that was changed is refused.

The outcome of a run is a function of its script, question, settings and replies by call. A record holds these and what
they led to; rebuilding runs the script again, gives it the recorded replies, and compares every call, the fuel and the
result on the way.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from mxjax.mas.check import check
from mxjax.mas.execution import ScriptRun, start
from mxjax.mas.limits import Limits
from mxjax.mas.prompts import Prompts
from mxjax.mas.records import AgentCall, Reply, Result, Tool, ToolCall


def record(run: ScriptRun) -> dict[str, Any]:
    """The record of a run, finished or not, as plain JSON data."""
    host = run.host
    body = {
        "source": run.checked.source,
        "question": run.question,
        "task_type": host.task_type,
        "seed": run.seed,
        "examples": list(host.examples),
        "limits": dataclasses.asdict(run.limits),
        "prompts": dataclasses.asdict(host.prompts),
        "tools": {
            name: {"description": tool.description, "parameters": dict(tool.parameters)}
            for name, tool in host.tools.items()
        },
        "calls": [
            {"id": call.id, "digest": digest(_shown(call)), "reply": dataclasses.asdict(reply)}
            for call, reply in run.answered
        ],
        "pending": [call.id for call in run.pending],
        "result": None if run.result is None else dataclasses.asdict(run.result),
    }
    return {**body, "digest": digest(body)}


def replay(recorded: dict[str, Any]) -> ScriptRun:
    """Rebuild the run of a record.

    The run can be advanced from where the record ends.

    Raises ValueError with a sentence for a record that is incomplete, was changed, or leads elsewhere.
    """
    try:
        body = {key: value for key, value in recorded.items() if key != "digest"}
        if recorded["digest"] != digest(body):
            raise ValueError("the record was changed: its digest does not fit; use the record as it was written")
        replies = {entry["id"]: (entry["digest"], Reply(**entry["reply"])) for entry in body["calls"]}
        run = start(
            check(body["source"], Limits(**body["limits"])),
            body["question"],
            body["task_type"],
            {name: Tool(None, **told) for name, told in body["tools"].items()},
            body["seed"],
            Prompts(**body["prompts"]),
            examples=tuple(body["examples"]),
        )
        expected, pending = body["result"] and Result(**body["result"]), body["pending"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no record of a run: {type(error).__name__} {error}") from None
    _answer(run, replies)
    if [call.id for call in run.pending] != pending or run.result != expected or replies:
        raise ValueError("the record leads elsewhere: it holds other calls or another result than its script gives")
    return run


def _answer(run: ScriptRun, replies: dict[str, tuple[str, Reply]]):
    """Give a run the recorded replies that it asks for.

    Those are taken out of `replies`.
    """
    while batch := [call for call in run.pending if call.id in replies]:
        taken = {call.id: replies.pop(call.id) for call in batch}
        for call in batch:
            if taken[call.id][0] != digest(_shown(call)):
                raise ValueError(f"the record leads elsewhere: call {call.id} asks something else than it did")
        run.advance({call_id: reply for call_id, (_, reply) in taken.items()})


def _shown(call: AgentCall | ToolCall) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(call)]
    return {name: getattr(call, name) for name in names}


def digest(value: Any) -> str:
    """The seal of a record or call: SHA-256 of its canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()
